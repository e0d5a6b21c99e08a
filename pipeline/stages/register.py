"""Put an export on the shelf, and let it answer only if it is better than what answers now.

    export, report -> version of NAME-base (base) or NAME (tuned) -> challenger -> gate -> champion

Never cached, always safe to repeat: the version is found by the export's fingerprint.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from pipeline.artifacts import Checkpoint, EvalReport, EvalSet, ExportedModel, seek_artifact
from pipeline.serving import gate
from pipeline.serving.gate import Verdict
from pipeline.serving.masked_gate import masked_gate
from pipeline.store.errors import ArtifactError, MillError, NotBuilt
from pipeline.store.fingerprint import plain, short
from pipeline.store.manifest import MANIFEST
from pipeline.store.runtime import Runtime
from pipeline.tracking.config import TrackingConfig, sync_command, tracking_uri
from pipeline.tracking.ledger import Ledger
from pipeline.tracking.versions import (
    CHALLENGER,
    CHAMPION,
    GATE_TAG,
    REASON_TAG,
    ROLLED_BACK,
    Version,
)

if TYPE_CHECKING:
    from pipeline.tracking.registry import Registry

logger = logging.getLogger(__name__)

EvaluateChampion = Callable[[ExportedModel], EvalReport]
"""Measures a champion's export on the eval set of the run; given by the flow."""


class RegistryConfig(BaseModel):
    """Under which name, and what a tuned model may forget."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        "gristmill", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,93}$", title="Registered name",
        description="of the tuned model; the base model's has -base added",
    )  # fmt: skip
    max_forgetting: float = Field(
        0.10, ge=0, title="Bounded forgetting",
        description="a tuned champion's bits per byte on held-out text may exceed its base "
        "model's by this fraction, unless the champion before was no better",
    )  # fmt: skip


@dataclass(frozen=True)
class Registration:
    """Where the model stands now."""

    name: str
    version: int | None
    """None when no registry could be reached; `mill store sync` registers it later."""
    aliases: tuple[str, ...]
    uri: str
    promoted: bool
    """Whether it is the champion now."""
    reason: str
    one_liner: str
    """Python that loads and asks the model."""

    @property
    def summary(self) -> str:
        """One line for people."""
        version = "not registered" if self.version is None else f"version {self.version}"
        return f"{self.name} {version} ({', '.join(self.aliases) or 'no alias'}): {self.reason}"


def register(
    config: RegistryConfig,
    exported: ExportedModel,
    report: EvalReport,
    eval_set: EvalSet,
    *,
    root: Path,
    runtime: Runtime,
    tracking: TrackingConfig | None = None,
    parent_run_id: str | None = None,
    evaluate_champion: EvaluateChampion | None = None,
) -> Registration:
    """Log the version if it is not there, call it challenger, and let the gate decide on champion.

    A champion without a report on this eval set, measured like `report`, is measured by
    `evaluate_champion`; where that is impossible it stays. ArtifactError if `report` is not about
    this export and this eval set. An unreachable server is a warning; the registration waits in the
    ledger.
    """
    _check(exported, report, eval_set)
    if not runtime.may_build:
        raise NotBuilt(f"{exported.ref} is not registered by a run that may not build")
    # mlflow costs a second, which a plan or a run that ends earlier need not pay.
    from pipeline.tracking.registry import opened
    from pipeline.tracking.store import UNAVAILABLE

    root = root.resolve()
    tracking = tracking or TrackingConfig()
    name = registered_name(config, exported)
    try:
        with opened(root, tracking) as registry:
            version = registry.find(name, exported.fingerprint)
            if version is None:
                version = registry.log(
                    name, exported, tags=_tags(exported, report, eval_set),
                    metrics=gate.measured(report), parent_run_id=parent_run_id,
                )  # fmt: skip
            else:
                version = registry.tag(version, _tags(exported, report, eval_set))
            registry.point(CHALLENGER, version)
            verdict = _decide(config, registry, version, report, eval_set, evaluate_champion, root)
            if verdict.promote:
                registry.crown(version)
            if version.tags.get(GATE_TAG) != ROLLED_BACK:
                state = "promoted" if verdict.promote else "refused"
                version = registry.tag(version, {GATE_TAG: state, REASON_TAG: verdict.reason})
            version = registry.get(name, version.number)
            Ledger(root, registry.uri).settled(exported.fingerprint)
    except UNAVAILABLE as error:
        return _postponed(config, exported, report, eval_set, root, tracking, runtime, error)
    registration = Registration(
        name=name,
        version=version.number,
        aliases=version.aliases,
        uri=version.uri,
        promoted=CHAMPION in version.aliases,
        reason=verdict.reason,
        one_liner=one_liner(
            name,
            CHAMPION if CHAMPION in version.aliases else CHALLENGER,
            tracking_uri(tracking, root),
            fills=exported.facts["prompt_form"] == "fill",
        ),
    )
    facts = {key: value for key, value in vars(registration).items()}
    runtime.journal.event("registered", facts)
    runtime.progress.event("registered", facts)
    return registration


def register_pending(
    config: RegistryConfig,
    *,
    root: Path,
    runtime: Runtime,
    tracking: TrackingConfig | None = None,
    evaluate_champion: EvaluateChampion | None = None,
) -> list[Registration]:
    """Register what found no server before; part of `mill store sync`."""
    root = root.resolve()
    uri = tracking_uri(tracking or TrackingConfig(), root)
    done = []
    for facts in Ledger(root, uri).state().pending:
        exported = seek_artifact(root, f"export@{facts['export']}")
        report = seek_artifact(root, f"evaluate@{facts['report']}")
        eval_set = seek_artifact(root, f"eval_set@{facts['eval_set']}")
        if not (
            isinstance(exported, ExportedModel)
            and isinstance(report, EvalReport)
            and isinstance(eval_set, EvalSet)
        ):
            logger.warning(
                "export@%s cannot be registered: it or its report is gone", short(facts["export"])
            )
            Ledger(root, uri).settled(facts["export"])
            continue
        settings = RegistryConfig.model_validate(facts.get("config", plain(config)))
        done.append(
            register(
                settings,
                exported,
                report,
                eval_set,
                root=root,
                runtime=runtime,
                tracking=tracking,
                evaluate_champion=evaluate_champion,
            )  # fmt: skip
        )
    return done


def registered_name(config: RegistryConfig, exported: ExportedModel) -> str:
    """NAME for a tuned model or an encoder, NAME-base for one that only continues text."""
    base = exported.facts["prompt_form"] == "continue"
    return f"{config.name}-base" if base else config.name


def one_liner(name: str, alias: str, uri: str, *, fills: bool = False) -> str:
    """A line of Python that works anywhere mlflow, torch and transformers are installed."""
    prompt = "... <|mask|> ..." if fills else "..."
    return (
        f"import mlflow; mlflow.set_tracking_uri({uri!r}); "
        f"print(mlflow.pyfunc.load_model('models:/{name}@{alias}').predict("
        f"{{'prompt': {prompt!r}}}))"
    )


def _check(exported: ExportedModel, report: EvalReport, eval_set: EvalSet) -> None:
    if report.ref not in exported.manifest.inputs:
        raise ArtifactError(
            f"{exported.ref} was exported with {', '.join(exported.manifest.inputs)}, not with "
            f"{report.ref}; export it with this report"
        )
    if eval_set.ref not in report.manifest.inputs:
        raise ArtifactError(
            f"{report.ref} was measured on {', '.join(report.manifest.inputs)}, not on "
            f"{eval_set.ref}; evaluate the checkpoint on this eval set"
        )


def _tags(exported: ExportedModel, report: EvalReport, eval_set: EvalSet) -> dict[str, str]:
    made = exported.manifest.provenance
    figures = {f"gristmill.{name}": f"{value:.6f}" for name, value in gate.measured(report).items()}
    return {
        "gristmill.checkpoint": str(exported.facts["checkpoint"]),
        "gristmill.report": report.fingerprint,
        "gristmill.eval_set": eval_set.fingerprint,
        "gristmill.prompt_form": str(exported.facts["prompt_form"]),
        "gristmill.git_commit": str(made.get("git_commit")),
        **figures,
    }


def _decide(
    config: RegistryConfig,
    registry: "Registry",
    version: Version,
    report: EvalReport,
    eval_set: EvalSet,
    evaluate_champion: EvaluateChampion | None,
    root: Path,
) -> Verdict:
    """The gate's verdict on `version`, whose `report` is on `eval_set`."""
    champion = registry.at(version.name, CHAMPION)
    tuned = version.tags.get("gristmill.prompt_form") == "answer"
    if champion is not None and champion.number == version.number:
        return Verdict(True, version.tags.get(REASON_TAG, "it is the champion already"))
    if version.tags.get(GATE_TAG) == ROLLED_BACK:
        return Verdict(False, "it was rolled back by hand; only `registry promote` brings it back")
    fills = version.tags.get("gristmill.prompt_form") == "fill"
    if champion is None:
        needed = "masked_nats_per_token" if fills else "response_loss" if tuned else "bits_per_byte"
        return gate.first_champion(report, needed)
    if fills != (champion.tags.get("gristmill.prompt_form") == "fill"):
        return Verdict(
            False,
            f"the champion of {version.name}, version {champion.number}, is of the other kind "
            "(encoder or decoder); choose another registry.name",
        )
    theirs = _champion_report(champion, report, eval_set, evaluate_champion, root)
    if theirs is None:
        return Verdict(
            False,
            f"the champion, version {champion.number}, has no report on {eval_set.ref} and could "
            "not be measured on it; it stays",
        )
    if fills:
        return masked_gate(report, theirs)
    if tuned:
        bits = _base_bits(report, eval_set, root)
        return gate.tuned_gate(report, theirs, bits, max_forgetting=config.max_forgetting)
    return gate.base_gate(report, theirs)


def _champion_report(
    champion: Version,
    report: EvalReport,
    eval_set: EvalSet,
    evaluate_champion: EvaluateChampion | None,
    root: Path,
) -> EvalReport | None:
    """The champion's report on this eval set: kept, found beside others, or made now."""
    if champion.tags.get("gristmill.eval_set") == eval_set.fingerprint:
        kept = seek_artifact(root, f"evaluate@{champion.tags.get('gristmill.report', '-')}")
        if isinstance(kept, EvalReport) and gate.comparable(kept, report):
            return kept
    wanted = {champion.tags.get("gristmill.checkpoint", "-"), eval_set.ref}
    wanted |= set(gate.inputs_of(report, "examples"))
    found = _find_report(wanted, report, root)
    if found is not None or evaluate_champion is None:
        return found
    exported = seek_artifact(root, f"export@{champion.fingerprint or '-'}")
    if not isinstance(exported, ExportedModel):
        return None
    try:
        return evaluate_champion(exported)
    except MillError as error:  # its checkpoint is gone, or the settings do not fit it
        logger.warning("%s cannot be measured on %s: %s", exported.ref, eval_set.ref, error)
        return None


def _find_report(inputs: set[str], like: EvalReport, root: Path) -> EvalReport | None:
    """A report under the root with all of `inputs` among its own, measured as `like` was."""
    for manifest in sorted((root / "eval").glob(f"*/{MANIFEST}")):
        report = EvalReport.open(manifest.parent)
        if inputs <= set(report.manifest.inputs) and gate.comparable(report, like):
            return report
    return None


def _base_bits(report: EvalReport, eval_set: EvalSet, root: Path) -> float | None:
    """Bits per byte of the base model that the tuned checkpoint in `report` started from."""
    for reference in gate.inputs_of(report, "finetune"):
        checkpoint = seek_artifact(root, reference)
        if not isinstance(checkpoint, Checkpoint):
            continue
        for base in checkpoint.manifest.inputs:
            if not base.startswith("pretrain@"):
                continue
            found = _find_report({base, eval_set.ref}, report, root)
            if found is not None:
                return gate.measured(found).get("bits_per_byte")
    return None


def _postponed(
    config: RegistryConfig,
    exported: ExportedModel,
    report: EvalReport,
    eval_set: EvalSet,
    root: Path,
    tracking: TrackingConfig,
    runtime: Runtime,
    error: Exception,
) -> Registration:
    """Write down what could not be registered, warn once, go on."""
    uri = tracking_uri(tracking, root)
    name = registered_name(config, exported)
    cause = (str(error).splitlines() or [type(error).__name__])[0][:300]
    reason = (
        f"the registry at {uri} cannot be reached ({cause}); `{sync_command(uri, root)}` "
        "registers it later"
    )
    Ledger(root, uri).pending({
        "export": exported.fingerprint,
        "report": report.fingerprint,
        "eval_set": eval_set.fingerprint,
        "config": plain(config),
    })  # fmt: skip
    runtime.progress.event("warning", {"message": reason})
    return Registration(
        name, None, (), str(exported.hf_path), False, reason, one_liner(name, CHAMPION, uri)
    )
