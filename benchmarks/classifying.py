"""What pre-training is worth to a classifier: the encoder's weights against drawn ones.

    pydocs-bert.yaml: encoder -> per task and seed: from its weights | from drawn ones -> accuracy

Same shape, labels, tuning and seed; only the weights to start from differ. A root in which the
preset has run is reused, otherwise its stages are built first.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.results_file import (
    CHECKOUT,
    Claim,
    Result,
    Row,
    here,
    median,
    require_clean,
    today,
    write_result,
)
from pipeline.config import RunConfig, load
from pipeline.stages.clean_corpus import clean_corpus
from pipeline.stages.evaluate_classes import evaluate_classes
from pipeline.stages.freeze_eval_set import freeze_eval_set
from pipeline.stages.prepare_labels import prepare_labels
from pipeline.stages.pretrain import pretrain
from pipeline.stages.tokenize_corpus import tokenize_corpus
from pipeline.stages.train_classifier import train_classifier
from pipeline.stages.train_tokenizer import train_tokenizer
from pipeline.store.errors import MillError
from pipeline.store.runtime import Runtime
from pipeline.training.config import Scratch

PRESET = CHECKOUT / "flows" / "configs" / "pydocs-bert.yaml"


def measured(
    config: RunConfig, root: Path, seeds: Sequence[int]
) -> tuple[tuple[Row, ...], tuple[Claim, ...]]:
    """Accuracy and macro F1 on the held-out labels, per task: one figure per seed."""
    runtime = Runtime()
    eval_set = freeze_eval_set(config.eval_set, config.clean.sources, root=root, runtime=runtime)
    corpus = clean_corpus(config.clean, eval_set, root=root, runtime=runtime)
    tokenizer = train_tokenizer(config.tokenizer, corpus, root=root, runtime=runtime)
    shards = tokenize_corpus(config.tokenize, corpus, tokenizer, root=root, runtime=runtime)
    encoder = pretrain(config.pretrain, shards, tokenizer, root=root, runtime=runtime)
    rows, claims = [], []
    for name, task in config.classify.items():
        labels = prepare_labels(task.labels, name, eval_set, corpus, root=root, runtime=runtime)

        def facts(start: Scratch | None, seed: int, task: Any = task, of: Any = labels) -> Any:
            training = replace(task.training, seed=seed, start=start)
            made = train_classifier(training, encoder, of, tokenizer, root=root, runtime=runtime)
            report = evaluate_classes(
                task.evaluation, made, tokenizer, of, root=root, runtime=runtime
            )
            print(f"{of.ref} {seed} {start}: {report.facts['accuracy']:.4f}", flush=True)
            return report.facts

        pairs = [(facts(None, seed), facts(Scratch(), seed)) for seed in seeds]
        for measure in ("accuracy", "macro_f1"):
            ours = tuple(float(one[measure]) for one, _ in pairs)
            theirs = tuple(float(other[measure]) for _, other in pairs)
            rows.append(
                Row(f"{name}: {measure}", "", ours, "higher", "the same from drawn weights", theirs,
                    detail=measure != "accuracy")
            )  # fmt: skip
        errors = [(1 - float(a["accuracy"])) / (1 - float(b["accuracy"])) for a, b in pairs]
        share = median(errors)
        claims.append(
            Claim(f"{name}: fewer errors than from drawn weights", 1.0, share, share < 1.0)
        )
    return tuple(rows), tuple(claims)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classifying", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="where the artifacts are or go")
    parser.add_argument("--rounds", type=int, default=2, help="seeds per task and arm")
    parser.add_argument("--quick", action="store_true", help="print only, one seed")
    given = parser.parse_args(arguments)
    try:
        code = here()
        if not given.quick:
            require_clean(code)
        config = load(PRESET, [f"root={given.root}"])
        seeds = range(1 if given.quick else given.rounds)
        result = Result("classifying", today(), code, *measured(config, given.root, seeds))
        for row in result.rows:
            print(f"{row.case:<24} {median(row.ours):.3f}  {row.peer} {median(row.theirs):.3f}")
        if not given.quick:
            print(write_result(result))
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
