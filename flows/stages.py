"""Every stage of the project as the flows use it: retries, tags and what Prefect shows of it."""

import os
from functools import partial
from pathlib import Path
from typing import Any

from flows import show
from flows.rescoring import Measures, measure_champion
from flows.run import Run
from flows.stage import Stage
from pipeline.artifacts import EvalReport, ExportedModel
from pipeline.reports.certificate import write_certificate
from pipeline.stages import blend_shards as _blend
from pipeline.stages import clean_corpus as _clean
from pipeline.stages import evaluate as _evaluate
from pipeline.stages import evaluate_classes as _evaluate_classes
from pipeline.stages import evaluate_masked as _evaluate_masked
from pipeline.stages import evaluate_targets as _evaluate_targets
from pipeline.stages import export_model as _export
from pipeline.stages import finetune as _finetune
from pipeline.stages import freeze_eval_set as _freeze
from pipeline.stages import measure_baselines as _baselines
from pipeline.stages import prepare_examples as _examples
from pipeline.stages import prepare_labels as _labels
from pipeline.stages import pretrain as _pretrain
from pipeline.stages import register as _register
from pipeline.stages import tokenize_corpus as _tokenize
from pipeline.stages import train_classifier as _classifier
from pipeline.stages import train_tokenizer as _tokenizer
from pipeline.store.runtime import Silent


def _tracked(run: Run, inputs: tuple[Any, ...]) -> dict[str, Any]:
    """The run's own MLflow store, its run id, and how to score an old champion again and
    write a version's birth certificate.
    """
    _exported, report, eval_set = inputs
    parent = run.tracking.mlflow_run_id() if run.tracking is not None else None

    def evaluate_champion(champion: ExportedModel) -> EvalReport:
        """Score a champion that has no report on this run's eval set, from its own checkpoint."""
        runtime = run.config.runtime.build(
            device=run.device, journal=Silent(), progress=Silent(), may_build=True
        )
        return measure_champion(
            champion, report, eval_set, _measures(run), root=run.root, runtime=runtime,
        )  # fmt: skip

    return {
        "tracking": run.config.tracking,
        "parent_run_id": parent,
        "evaluate_champion": evaluate_champion,
        "certify": partial(write_certificate, root=run.root),
    }


def _measures(run: Run) -> Measures:
    c = run.config
    return Measures(c.evaluate, c.evaluate_masked, c.evaluate_targets)


def _ranks_folders(run: Run, inputs: tuple[Any, ...]) -> dict[str, Any]:
    """Where tiktoken was told to keep its files, as tiktoken itself looks there first."""
    named = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    return {"ranks_folders": (Path(named),)} if named else {}


freeze_eval_set = Stage("eval_set", _freeze.freeze_eval_set, retries=2)
clean_corpus = Stage("clean", _clean.clean_corpus, retries=2, show=show.funnel)
train_tokenizer = Stage("tokenizer", _tokenizer.train_tokenizer, retries=2, extras=_ranks_folders)
tokenize_corpus = Stage("tokenize", _tokenize.tokenize_corpus, retries=2)
blend_shards = Stage("blend", _blend.blend_shards, retries=2)
prepare_examples = Stage("examples", _examples.prepare_examples, retries=2)
pretrain = Stage("pretrain", _pretrain.pretrain, show=show.loss_curve, tags=("training",))
finetune = Stage("finetune", _finetune.finetune, show=show.loss_curve, tags=("training",))
measure_baselines = Stage("baselines", _baselines.measure_baselines)
prepare_labels = Stage("labels", _labels.prepare_labels, retries=2)
train_classifier = Stage(
    "classify", _classifier.train_classifier, show=show.loss_curve, tags=("training",)
)
evaluate = Stage("evaluate", _evaluate.evaluate, show=show.evaluation)
evaluate_classes = Stage("evaluate", _evaluate_classes.evaluate_classes, show=show.evaluation)
evaluate_masked = Stage("evaluate", _evaluate_masked.evaluate_masked, show=show.evaluation)
evaluate_targets = Stage("evaluate", _evaluate_targets.evaluate_targets, show=show.evaluation)
export_model = Stage("export", _export.export_model)
register = Stage("registry", _register.register, show=show.registration, extras=_tracked)

NAMES = (
    "eval_set", "clean", "tokenizer", "tokenize", "examples", "pretrain", "finetune",
    "labels", "classify", "baselines", "evaluate", "export", "registry",
)  # fmt: skip
"""In the order of the graph; also what `--only` takes."""
