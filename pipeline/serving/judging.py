"""A verdict carried out: aliases, tags, figures and our ledger say the same afterwards.

candidate, champion -> decide -> champion moved or not -> tags, metrics, ledger
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import AnyEvalSet, EvalReport
from pipeline.serving import gate
from pipeline.serving.deciding import Candidate, Decision, decide
from pipeline.serving.gate import Limits
from pipeline.tracking.ledger import Judgement, Ledger
from pipeline.tracking.versions import (
    CHAMPION,
    EVAL_SET_USES_TAG,
    GATE_TAG,
    REASON_TAG,
    RESCORED_TAG,
    ROLLED_BACK,
    Version,
)

if TYPE_CHECKING:  # it imports mlflow: a second
    from pipeline.tracking.registry import Registry


def judged(
    registry: "Registry", ledger: Ledger, candidate: Candidate, limits: Limits, *, root: Path
) -> tuple[Version, Decision, int]:
    """Ask the gate, move the alias, and write the verdict into tags, metrics and ledger.

    The version as it stands then, the decision, and how often the eval set has judged.
    """
    version, report, eval_set = candidate.version, candidate.report, candidate.eval_set
    champion = registry.at(version.name, CHAMPION)
    decision = decide(candidate, champion, limits, root=root)
    verdict = decision.verdict
    uses = _counted(ledger, version, report, eval_set, decision)
    if champion is not None and champion.number != version.number:
        _rescored(registry, champion, decision, eval_set)
    if verdict.promote:
        registry.crown(version)
    tags = {f"gristmill.gate.{name}": f"{value:.6f}" for name, value in verdict.figures.items()}
    tags[EVAL_SET_USES_TAG] = f"{uses} candidates were judged on {eval_set.name}"
    if version.tags.get(GATE_TAG) != ROLLED_BACK:
        tags[GATE_TAG] = "promoted" if verdict.promote else "refused"
        tags[REASON_TAG] = verdict.reason
    version = registry.tag(version, tags)
    if verdict.figures:
        figures = {f"gate/{name}": value for name, value in verdict.figures.items()}
        registry.measured(version, figures, eval_set)
    return registry.get(version.name, version.number), decision, uses


def _counted(
    ledger: Ledger, version: Version, report: EvalReport, eval_set: AnyEvalSet, decision: Decision
) -> int:
    """Write the judgement down where it is new; how many candidates the eval set has judged."""
    theirs = decision.champion_report
    judgement = Judgement(
        version.name, version.fingerprint, eval_set.fingerprint, eval_set.name, report.fingerprint,
        theirs.fingerprint if theirs is not None else None, decision.verdict.promote,
        decision.verdict.reason,
    )  # fmt: skip
    known = ledger.judgements(eval_set.fingerprint)
    if all((one.name, one.export) != (version.name, version.fingerprint) for one in known):
        ledger.judged(judgement)
    elif theirs is not None and judgement not in known:
        ledger.judged(judgement)
    return ledger.uses(eval_set.fingerprint)


def _rescored(
    registry: "Registry", champion: Version, decision: Decision, eval_set: AnyEvalSet
) -> None:
    """A champion measured on another set than it was registered with shows those figures too."""
    theirs = decision.champion_report
    known = {champion.tags.get("gristmill.report"), champion.tags.get(RESCORED_TAG)}
    if theirs is None or theirs.fingerprint in known:
        return
    figures = gate.measured(theirs)
    registry.measured(champion, {f"{eval_set.name}/{k}": v for k, v in figures.items()}, eval_set)
    registry.tag(champion, {
        RESCORED_TAG: theirs.fingerprint,
        **{f"gristmill.on.{eval_set.name}.{k}": f"{v:.6f}" for k, v in figures.items()},
    })  # fmt: skip


def worn(eval_set: AnyEvalSet, uses: int) -> str:
    """What to say of a frozen set that has judged too often."""
    return (
        f"{uses} candidates were judged on the eval set {eval_set.name!r}: choosing that often by "
        "one set fits the models to it; freeze a new one (another eval_set.name), on which the "
        "champion is measured again before it is compared"
    )
