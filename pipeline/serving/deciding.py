"""What the gate is asked, and with which reports: the candidate against the champion of its name.

champion's report on this eval set: kept, found beside others, or made before -> gate -> Decision
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import AnyEvalSet, Checkpoint, EvalReport, ExportedModel, seek_artifact
from pipeline.serving import gate
from pipeline.serving.class_gate import class_gate
from pipeline.serving.gate import Limits, Verdict
from pipeline.serving.masked_gate import masked_gate
from pipeline.store.errors import MillError
from pipeline.store.manifest import MANIFEST
from pipeline.tracking.versions import GATE_TAG, REASON_TAG, ROLLED_BACK, Version

logger = logging.getLogger(__name__)

EvaluateChampion = Callable[[ExportedModel], EvalReport]
"""Measures a champion's export on the eval set of the run; given by the flow."""
FORM_TAG = "gristmill.prompt_form"
NEEDED = {
    "fill": "masked_nats_per_token", "rewrite": "target_nats_per_token",
    "answer": "response_loss", "classify": "accuracy",
}  # fmt: skip
"""What a model of each form is judged by; bits per byte of all others."""


@dataclass(frozen=True)
class Candidate:
    """A version that wants to be champion, with its report on the eval set."""

    version: Version
    report: EvalReport
    eval_set: AnyEvalSet

    @property
    def form(self) -> str:
        """`continue`, `answer`, `fill`, `classify` or `rewrite`."""
        return self.version.tags.get(FORM_TAG, "")


@dataclass(frozen=True)
class Decision:
    """The verdict, and what it compared the candidate with."""

    verdict: Verdict
    champion_report: EvalReport | None = None
    """The champion's on the same eval set; None where nothing was compared."""


def decide(
    candidate: Candidate, champion: Version | None, limits: Limits, *, root: Path
) -> Decision:
    """The gate's verdict; a champion without a report on this eval set stays."""
    version, report = candidate.version, candidate.report
    if champion is not None and champion.number == version.number:
        reason = version.tags.get(REASON_TAG, "it is the champion already")
        return Decision(Verdict(True, reason))
    if version.tags.get(GATE_TAG) == ROLLED_BACK:
        reason = "it was rolled back by hand; only `mill registry promote` brings it back"
        return Decision(Verdict(False, reason))
    if champion is None:
        return Decision(gate.first_champion(report, NEEDED.get(candidate.form, "bits_per_byte")))
    if not _same_kind(candidate, champion):
        reason = (
            f"the champion of {version.name}, version {champion.number}, is of the other kind "
            "(encoder, decoder or both); choose another registry.name"
        )
        return Decision(Verdict(False, reason))
    theirs = _champion_report(candidate, champion, root)
    if theirs is None:
        reason = (
            f"the champion, version {champion.number}, has no report on {candidate.eval_set.ref} "
            "and could not be measured on it; it stays"
        )
        return Decision(Verdict(False, reason))
    if candidate.form in ("fill", "rewrite"):
        return Decision(masked_gate(report, theirs, limits, NEEDED[candidate.form]), theirs)
    if candidate.form == "classify":
        return Decision(class_gate(report, theirs, limits), theirs)
    if candidate.form == "answer":
        bits = _base_bits(candidate, root)
        return Decision(gate.tuned_gate(report, theirs, bits, limits), theirs)
    return Decision(gate.base_gate(report, theirs, limits), theirs)


def to_measure(candidate: Candidate, champion: Version | None, root: Path) -> ExportedModel | None:
    """The champion's export, where it must be measured before the two can be compared.

    None where nothing is to be compared, where a report is there, or where the export is gone.
    """
    if champion is None or champion.number == candidate.version.number:
        return None
    if candidate.version.tags.get(GATE_TAG) == ROLLED_BACK or not _same_kind(candidate, champion):
        return None
    if _champion_report(candidate, champion, root) is not None:
        return None
    exported = seek_artifact(root, f"export@{champion.fingerprint or '-'}")
    return exported if isinstance(exported, ExportedModel) else None


def measured_now(candidate: Candidate, exported: ExportedModel, evaluate: EvaluateChampion) -> None:
    """Measure a champion on the candidate's eval set; what cannot be measured is a warning."""
    report, eval_set = candidate.report, candidate.eval_set
    try:
        made = evaluate(exported)
    except MillError as error:  # its checkpoint is gone, or the settings do not fit it
        logger.warning("%s cannot be measured on %s: %s", exported.ref, eval_set.ref, error)
        return
    if not gate.comparable(made, report):
        logger.warning(
            "%s was measured in an older way than %s can be now; evaluate the candidate again",
            report.ref, exported.ref,
        )  # fmt: skip


def _same_kind(candidate: Candidate, champion: Version) -> bool:
    """Whether both are encoders, classifiers, encoder-decoders or decoders."""
    ours, theirs = candidate.form, champion.tags.get(FORM_TAG)
    return ours == theirs or not {ours, theirs} & {"fill", "rewrite", "classify"}


def _champion_report(candidate: Candidate, champion: Version, root: Path) -> EvalReport | None:
    """The champion's report on this eval set, measured as the candidate's; None without one."""
    report, eval_set = candidate.report, candidate.eval_set
    if champion.tags.get("gristmill.eval_set") == eval_set.fingerprint:
        kept = seek_artifact(root, f"evaluate@{champion.tags.get('gristmill.report', '-')}")
        if isinstance(kept, EvalReport) and gate.comparable(kept, report):
            return kept
    wanted = {champion.tags.get("gristmill.checkpoint", "-"), eval_set.ref}
    wanted |= set(gate.inputs_of(report, "examples"))
    return _find_report(wanted, report, root)


def _find_report(inputs: set[str], like: EvalReport, root: Path) -> EvalReport | None:
    """A report under the root with all of `inputs` among its own, measured as `like` was."""
    for manifest in sorted((root / "eval").glob(f"*/{MANIFEST}")):
        report = EvalReport.open(manifest.parent)
        if inputs <= set(report.manifest.inputs) and gate.comparable(report, like):
            return report
    return None


def _base_bits(candidate: Candidate, root: Path) -> float | None:
    """Bits per byte of the base model that the tuned checkpoint in the report started from."""
    report = candidate.report
    for reference in gate.inputs_of(report, "finetune"):
        checkpoint = seek_artifact(root, reference)
        if not isinstance(checkpoint, Checkpoint):
            continue
        for base in checkpoint.manifest.inputs:
            if not base.startswith("pretrain@"):
                continue
            found = _find_report({base, candidate.eval_set.ref}, report, root)
            if found is not None:
                return gate.measured(found).get("bits_per_byte")
    return None
