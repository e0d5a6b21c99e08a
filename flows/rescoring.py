"""A champion without a report on an evaluation set is measured on it, as the candidate was.

In a run by the run's own settings; in `mill store sync`, which has none, by those in the manifest
of the candidate's report. Either way the gate decides with two reports made alike.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pipeline.artifacts import (
    AnyEvalSet,
    Checkpoint,
    EvalReport,
    ExampleSet,
    ExportedModel,
    LabelSet,
    TrainedTokenizer,
    parents_of,
)
from pipeline.stages.evaluate import EvaluateConfig, evaluate
from pipeline.stages.evaluate_classes import ClassesEvaluationConfig, evaluate_classes
from pipeline.stages.evaluate_masked import MaskedEvaluationConfig, evaluate_masked
from pipeline.stages.evaluate_targets import TargetEvaluationConfig, evaluate_targets
from pipeline.store.errors import ArtifactError
from pipeline.store.runtime import Runtime


@dataclass(frozen=True)
class Measures:
    """How reports are made: of decoders, of encoders, of models with both, and of classifiers."""

    evaluate: EvaluateConfig
    masked: MaskedEvaluationConfig
    targets: TargetEvaluationConfig
    classes: ClassesEvaluationConfig = ClassesEvaluationConfig()


def measure_champion(
    champion: ExportedModel,
    report: EvalReport,
    eval_set: AnyEvalSet,
    measures: Measures,
    *,
    root: Path,
    runtime: Runtime,
) -> EvalReport:
    """Score a champion from its own checkpoint on the set and questions of `report`.

    ArtifactError where its checkpoint, tokenizer or the questions are no longer under the root.
    """
    parents = parents_of(champion)
    checkpoints = [a for a in parents if isinstance(a, Checkpoint)]
    tokenizers = [a for a in parents if isinstance(a, TrainedTokenizer)]
    examples = [a for a in parents_of(report) if isinstance(a, ExampleSet)]
    masked, targets = (name in report.manifest.config for name in ("masked", "targets"))
    labels = isinstance(eval_set, LabelSet)
    if not (checkpoints and tokenizers and (examples or masked or targets or labels)):
        raise ArtifactError(f"{champion.ref} has no checkpoint under {root} to score again")
    if isinstance(eval_set, LabelSet):
        return evaluate_classes(
            measures.classes, checkpoints[0], tokenizers[0], eval_set, root=root, runtime=runtime
        )
    if masked:
        return evaluate_masked(
            measures.masked, checkpoints[0], tokenizers[0], eval_set, root=root, runtime=runtime
        )
    if targets:
        return evaluate_targets(
            measures.targets, checkpoints[0], tokenizers[0], eval_set, *examples[:1],
            root=root, runtime=runtime,
        )  # fmt: skip
    return evaluate(
        measures.evaluate, checkpoints[0], tokenizers[0], eval_set, examples[0],
        root=root, runtime=runtime,
    )  # fmt: skip


def measures_of(report: EvalReport) -> Measures:
    """The settings a report was made with; ArtifactError for those of another version of ours.

    Files of tasks and pairs are left out: the gate does not ask for them, and they may be gone.
    """
    config = dict(report.manifest.config)
    masked, targets = config.pop("masked", {}), config.pop("targets", {})
    classes = config.pop("classes", {})
    try:
        if masked or targets or classes:
            return Measures(
                EvaluateConfig(),
                MaskedEvaluationConfig.model_validate(masked),
                TargetEvaluationConfig.model_validate(targets),
                ClassesEvaluationConfig.model_validate(classes),
            )
        kept = {name: value for name, value in config.items() if name not in ("tasks", "pairs")}
        return Measures(
            EvaluateConfig.model_validate(kept), MaskedEvaluationConfig(), TargetEvaluationConfig()
        )
    except ValidationError as error:
        raise ArtifactError(
            f"{report.ref} was made with settings this version does not know "
            f"({error.errors()[0]['msg']}); evaluate its checkpoint again"
        ) from error
