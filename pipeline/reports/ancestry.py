"""Everything a model was made from, found again from one of its artifacts.

export or checkpoint -> manifests' inputs, back to the documents -> Ancestry -> RunFacts
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline.artifacts import (
    Artifact,
    BaselineReport,
    Checkpoint,
    CleanedCorpus,
    EvalReport,
    EvalSet,
    ExampleSet,
    ExportedModel,
    TokenShards,
    TrainedTokenizer,
    seek_artifact,
)
from pipeline.reports.facts import RunFacts
from pipeline.store.manifest import MANIFEST

Noun = TypeVar("Noun", bound=Artifact)


@dataclass(frozen=True)
class Ancestry:
    """A model and what is left under the root of everything it was made from."""

    model: Artifact
    found: tuple[Artifact, ...]
    """The model first, then its inputs, breadth first; each once."""
    missing: tuple[str, ...]
    """References that lead nowhere any more; parts of raw text are not counted."""

    def of(self, kind: type[Noun], stage: str | None = None) -> list[Noun]:
        """Those of a kind, nearest first."""
        return [one for one in self.found if isinstance(one, kind) and stage in (None, one.stage)]

    def first(self, kind: type[Noun], stage: str | None = None) -> Noun | None:
        """The nearest of a kind."""
        return next(iter(self.of(kind, stage)), None)

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The weights that the model is."""
        return self.first(Checkpoint)


def ancestry_of(model: Artifact) -> Ancestry:
    """Follow the inputs of `model` as far as its root holds them."""
    found: dict[str, Artifact] = {model.ref: model}
    missing: dict[str, None] = {}
    waiting = [model]
    while waiting:
        for reference in waiting.pop(0).manifest.inputs:
            if reference in found or reference in missing:
                continue
            parent = seek_artifact(model.root, reference)
            if parent is not None:
                found[reference] = parent
                waiting.append(parent)
            elif reference.partition("@")[0] not in ("read", "file"):
                missing[reference] = None
    return Ancestry(model, tuple(found.values()), tuple(missing))


def facts_of(ancestry: Ancestry) -> RunFacts:
    """The same as the facts of a run, so that the sections of a run's report can be told of it."""
    checkpoint = ancestry.checkpoint
    tuned = checkpoint if checkpoint is not None and checkpoint.stage == "finetune" else None
    base = ancestry.first(Checkpoint, "pretrain")
    report = ancestry.first(EvalReport) or _report_on(checkpoint, None)
    eval_set = ancestry.first(EvalSet)
    masked = report is not None and not {"masked", "targets"}.isdisjoint(report.manifest.config)
    classes = report is not None and "classes" in report.manifest.config
    exported = ancestry.model if isinstance(ancestry.model, ExportedModel) else None
    return RunFacts(
        run_id=ancestry.model.ref,
        eval_set=eval_set,
        corpus=ancestry.first(CleanedCorpus),
        tokenizer=ancestry.first(TrainedTokenizer),
        shards=ancestry.first(TokenShards),
        # What a base model was only measured with it did not learn from.
        examples=ancestry.first(ExampleSet) if tuned is not None else None,
        base=base,
        tuned=tuned,
        baselines=_baselines_of(base, eval_set),
        base_eval=None if masked or classes else _of_base(base, tuned, report),
        tuned_eval=report if tuned is not None and not masked else None,
        masked_eval=report if masked else None,
        class_evals=(report,) if report is not None and classes else (),
        base_hf=exported if tuned is None else None,
        tuned_hf=exported if tuned is not None else None,
    )


def _of_base(
    base: Checkpoint | None, tuned: Checkpoint | None, report: EvalReport | None
) -> EvalReport | None:
    """The report about the base model: the model's own, unless it was tuned."""
    return report if tuned is None else _report_on(base, report)


def _report_on(checkpoint: Checkpoint | None, like: EvalReport | None) -> EvalReport | None:
    """A report about the checkpoint; measured on the same things as `like`, where that is given."""
    if checkpoint is None:
        return None
    same: set[str] = set()
    if like is not None:
        inputs = like.manifest.inputs
        same = {r for r in inputs if r.partition("@")[0] in ("eval_set", "examples")}
    for path in _finished(checkpoint.root / "eval"):
        report = EvalReport.open(path)
        if {checkpoint.ref, *same} <= set(report.manifest.inputs):
            return report
    return None


def _baselines_of(base: Checkpoint | None, eval_set: EvalSet | None) -> BaselineReport | None:
    if base is None or eval_set is None:
        return None
    for path in _finished(base.root / "baselines"):
        report = BaselineReport.open(path)
        if {base.ref, eval_set.ref} <= set(report.manifest.inputs):
            return report
    return None


def _finished(home: Path) -> Iterator[Path]:
    yield from (path.parent for path in sorted(home.glob(f"*/{MANIFEST}")))
