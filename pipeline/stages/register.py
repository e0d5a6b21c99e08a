"""Put an export on the shelf, and let it answer only if it is better than what answers now.

    export, report -> version of NAME-base (base) or NAME (tuned) -> challenger -> gate -> champion

Never cached, always safe to repeat: the version is found by the export's fingerprint.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from pipeline.artifacts import (
    AnyEvalSet,
    EvalReport,
    EvalSet,
    ExportedModel,
    LabelSet,
    seek_artifact,
)
from pipeline.serving import gate
from pipeline.serving.deciding import (
    Candidate,
    EvaluateChampion,
    measured_now,
    to_measure,
)
from pipeline.serving.gate import Limits
from pipeline.serving.judging import judged, worn
from pipeline.store.errors import ArtifactError, NotBuilt
from pipeline.store.fingerprint import plain, short
from pipeline.store.runtime import Runtime
from pipeline.tracking.config import TrackingConfig, sync_command, tracking_uri
from pipeline.tracking.ledger import Judgement, Ledger
from pipeline.tracking.versions import CHALLENGER, CHAMPION, Version

if TYPE_CHECKING:
    from pipeline.tracking.registry import Registry

logger = logging.getLogger(__name__)


EvaluateFor = Callable[[EvalReport, AnyEvalSet], EvaluateChampion]
"""How to measure a champion as a candidate's report was, on its set; given by the flow."""
Certify = Callable[[ExportedModel, Version, Sequence[Judgement]], list[Path]]
"""Writes the birth certificate of a version, the page first; given by the flow."""


class RegistryConfig(BaseModel):
    """Under which name, and what a version must reach to become champion."""

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
    confidence: float = Field(
        0.95, ge=0.5, le=0.999, title="Confidence",
        description="of the paired interval that must exclude no difference before a version is "
        "promoted",
    )  # fmt: skip
    max_worsening: float | None = Field(
        0.01, ge=0, title="Bounded worsening",
        description="fraction by which any one source or language of the held-out text may be "
        "worse than the champion's; null: the whole decides alone",
    )  # fmt: skip
    renew_eval_set_after: int = Field(
        100, ge=1, title="Uses of an eval set",
        description="candidates judged on one frozen eval set after which a warning asks for a new "
        "one: who chooses often by one set fits it",
    )  # fmt: skip

    @property
    def limits(self) -> Limits:
        """What the gate asks for."""
        return Limits(self.confidence, self.max_worsening, self.max_forgetting)


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
    eval_set: str = ""
    """Name of the frozen set it was judged on."""
    eval_set_uses: int = 0
    """How many candidates were judged on that set so far, this one included."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What the gate decided by."""

    @property
    def summary(self) -> str:
        """One line for people."""
        version = "not registered" if self.version is None else f"version {self.version}"
        return f"{self.name} {version} ({', '.join(self.aliases) or 'no alias'}): {self.reason}"


def register(
    config: RegistryConfig,
    exported: ExportedModel,
    report: EvalReport,
    eval_set: AnyEvalSet,
    *,
    root: Path,
    runtime: Runtime,
    tracking: TrackingConfig | None = None,
    parent_run_id: str | None = None,
    evaluate_champion: EvaluateChampion | None = None,
    certify: Certify | None = None,
) -> Registration:
    """Log the version if it is not there, call it challenger, and let the gate decide on champion.

    A champion without a report on this eval set, measured like `report`, is measured by
    `evaluate_champion`; where that is impossible it stays. What `certify` writes is shown with the
    version. ArtifactError if `report` is not about
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
    tried: set[str] = set()
    while True:
        try:
            with opened(root, tracking) as registry:
                version = _shelved(registry, name, exported, report, eval_set, parent_run_id)
                candidate = Candidate(version, report, eval_set)
                champion = to_measure(candidate, registry.at(name, CHAMPION), root)
                if evaluate_champion is None or champion is None or champion.fingerprint in tried:
                    ledger = Ledger(root, registry.uri)
                    version, decision, uses = judged(
                        registry, ledger, candidate, config.limits, root=root
                    )
                    if certify is not None and version.tags != candidate.version.tags:
                        page, *manifests = certify(exported, version, ledger.judgements())
                        registry.attach(version, [page], "certificate")
                        registry.attach(version, manifests, "certificate/manifests")
                    registry.explain(version, parent_run_id)
                    ledger.settled(exported.fingerprint)
                    break
        except UNAVAILABLE as error:
            return _postponed(config, exported, report, eval_set, root, tracking, runtime, error)
        # With the registry closed: it takes minutes, in which others look models up and register.
        tried.add(champion.fingerprint)
        measured_now(candidate, champion, evaluate_champion)
    registration = Registration(
        name=name,
        version=version.number,
        aliases=version.aliases,
        uri=version.uri,
        promoted=CHAMPION in version.aliases,
        reason=decision.verdict.reason,
        one_liner=one_liner(
            name,
            CHAMPION if CHAMPION in version.aliases else CHALLENGER,
            tracking_uri(tracking, root),
            form=exported.facts["prompt_form"],
        ),
        eval_set=eval_set.name,
        eval_set_uses=uses,
        figures=dict(decision.verdict.figures),
    )
    if uses > config.renew_eval_set_after:
        runtime.progress.event("warning", {"message": worn(eval_set, uses)})
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
    evaluate_for: EvaluateFor | None = None,
    certify: Certify | None = None,
) -> list[Registration]:
    """Register what found no server before; part of `mill store sync`.

    The gate is that of a run: a champion that was never measured on the candidate's eval set is
    measured on it by `evaluate_for(report, eval_set)`.
    """
    root = root.resolve()
    uri = tracking_uri(tracking or TrackingConfig(), root)
    done = []
    for facts in Ledger(root, uri).state().pending:
        exported = seek_artifact(root, f"export@{facts['export']}")
        report = seek_artifact(root, f"evaluate@{facts['report']}")
        found = (seek_artifact(root, f"{s}@{facts['eval_set']}") for s in ("eval_set", "labels"))
        eval_set = next((one for one in found if one is not None), None)
        if not (
            isinstance(exported, ExportedModel)
            and isinstance(report, EvalReport)
            and isinstance(eval_set, EvalSet | LabelSet)
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
                evaluate_champion=evaluate_for(report, eval_set) if evaluate_for else None,
                certify=certify,
            )  # fmt: skip
        )
    return done


def registered_name(config: RegistryConfig, exported: ExportedModel) -> str:
    """NAME for a tuned model or one with an encoder, NAME-base for one that only continues text.

    A classifier's is NAME-TASK.
    """
    if exported.facts["prompt_form"] == "classify":
        return f"{config.name}-{exported.facts['task']}"
    base = exported.facts["prompt_form"] == "continue"
    return f"{config.name}-base" if base else config.name


def one_liner(name: str, alias: str, uri: str, *, form: str = "answer") -> str:
    """A line of Python that works anywhere mlflow, torch and transformers are installed."""
    prompt = {"fill": "... <|mask|> ...", "rewrite": "... <extra_id_0> ..."}.get(form, "...")
    column = "text" if form == "classify" else "prompt"
    return (
        f"import mlflow; mlflow.set_tracking_uri({uri!r}); "
        f"print(mlflow.pyfunc.load_model('models:/{name}@{alias}').predict("
        f"{{{column!r}: {prompt!r}}}))"
    )


def _check(exported: ExportedModel, report: EvalReport, eval_set: AnyEvalSet) -> None:
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


def _shelved(
    registry: "Registry",
    name: str,
    exported: ExportedModel,
    report: EvalReport,
    eval_set: AnyEvalSet,
    parent_run_id: str | None,
) -> Version:
    """The challenger: the version of this export, logged if it is not there."""
    version = registry.find(name, exported.fingerprint)
    tags = _tags(exported, report, eval_set)
    if version is None:
        version = registry.log(
            name,
            exported,
            tags=tags,
            metrics=gate.measured(report),
            dataset=eval_set,
            parent_run_id=parent_run_id,
        )
    else:
        version = registry.tag(version, tags)
    registry.point(CHALLENGER, version)
    return version


def _tags(exported: ExportedModel, report: EvalReport, eval_set: AnyEvalSet) -> dict[str, str]:
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


def _postponed(
    config: RegistryConfig,
    exported: ExportedModel,
    report: EvalReport,
    eval_set: AnyEvalSet,
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
        name,
        None,
        (),
        str(exported.hf_path),
        False,
        reason,
        one_liner(name, CHAMPION, uri, form=exported.facts["prompt_form"]),
    )
