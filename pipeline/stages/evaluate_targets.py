"""What an encoder-decoder is worth: how well it writes what was cut out of held-out text, or, once
tuned on pairs, the answers of examples that were held out.

report.json         targets, examples
places.arrow        one row per target token, for paired comparison
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from model.checkpoint_io import load_model
from model.encoder_decoder import EncoderDecoder
from model.errors import WeightsError
from model.language_model import LanguageModel
from model.objectives import SpanCorruption
from pipeline.artifacts import Checkpoint, EvalReport, EvalSet, ExampleSet, TrainedTokenizer
from pipeline.conversations.example import Example, read_examples
from pipeline.evals.held_out_text import frozen_documents
from pipeline.evals.pseudo_perplexity import write_places
from pipeline.evals.target_loss import Pair, score_pairs, span_pairs, summarise_targets
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import ArtifactError, ConfigError, DataError
from pipeline.store.files import write_json
from pipeline.store.fingerprint import plain, short
from pipeline.store.runtime import Runtime
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.training.rewriting import shown, source_ids, write_targets

VERSION = 1
EXAMPLE_TOKENS = 48
ANSWERED_AT_ONCE = 32


class TargetEvaluationConfig(BaseModel):
    """How an encoder-decoder is measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_targets: int = Field(
        2_000, ge=1, le=10_000_000, title="Targets",
        description="windows of the held-out text whose cut-out spans are to be written",
    )  # fmt: skip
    window: int | None = Field(
        None, ge=8, title="Window",
        description="tokens of text before spans are cut out; null: the model's context",
    )  # fmt: skip
    noise_share: float = Field(
        0.15, gt=0, le=0.5, title="Cut out", description="share of the tokens (T5: 0.15)"
    )
    mean_span: float = Field(
        3.0, ge=1, le=64, title="Span", description="mean length of what is cut out (T5: 3)"
    )
    prompts: tuple[str, ...] = Field(
        (), title="Prompts", description="texts with <extra_id_0> for which targets are shown"
    )
    bootstrap_draws: int = Field(
        1_000, title="Bootstrap draws", description="resamples of the documents for the interval",
        ge=100, le=100_000,
    )  # fmt: skip
    max_answers: int = Field(
        200, ge=1, le=1_000_000, title="Answers",
        description="held-out pairs whose target a tuned model writes, for the exact matches",
    )  # fmt: skip
    seed: int = Field(0, title="Seed", description="draws the spans and the resamples", ge=0)


def evaluate_targets(
    config: TargetEvaluationConfig,
    checkpoint: Checkpoint,
    tokenizer: TrainedTokenizer,
    eval_set: EvalSet,
    examples: ExampleSet | None = None,
    *,
    root: Path,
    runtime: Runtime,
) -> EvalReport:
    """Measure in float32; the report depends on nothing but its inputs and `config`.

    With `examples`, which a tuned model needs, the targets are the answers of those held out, not
    spans of the eval set. ArtifactError for a checkpoint that is no encoder-decoder or of another
    vocabulary, ConfigError for a window beyond its context or too few sentinels, DataError where
    there is nothing to write.
    """
    inputs = [checkpoint.key, tokenizer.key, eval_set.key]
    inputs += [examples.key] if examples is not None else []
    key = artifact_key("evaluate", VERSION, {"targets": plain(config)}, inputs)
    directory = root / "eval" / short(key.fingerprint)

    def work(directory: Path) -> Outcome:
        if runtime.threads is not None:
            torch.set_num_threads(runtime.threads)
        model, words = _open(checkpoint, tokenizer, runtime.device)
        window = config.window or model.config.context_length
        if window > model.config.context_length:
            raise ConfigError(
                f"evaluate_targets.window={window} exceeds the model's context of "
                f"{model.config.context_length}; lower it"
            )
        names, pairs, more = _asked(config, words, eval_set, examples, window)
        scored = score_pairs(model, names, pairs, start=words.bos)
        write_places(directory / "places.arrow", scored)
        summary = summarise_targets(
            scored, pairs=len(pairs), draws=config.bootstrap_draws, seed=config.seed
        )
        report: dict[str, Any] = {
            "checkpoint": checkpoint.ref,
            "eval_set": eval_set.ref,
            "targets": {**summary, "window": window, **more},
            "examples": _examples(config, model, words),
        }  # fmt: skip
        if examples is not None:
            report["targets"]["exact_match"] = _exact_match(config, model, words, examples, window)
        write_json(directory / "report.json", report)
        facts = headline(report)
        runtime.journal.event("evaluated", facts)
        runtime.journal.metrics(
            {k: v for k, v in facts.items() if isinstance(v, int | float)}, step=0
        )
        return Outcome(facts)

    build(key, directory, work, root=root, runtime=runtime)
    return EvalReport(directory, key.fingerprint)


def headline(report: dict[str, Any]) -> dict[str, Any]:
    """The figures of report.json that go into the manifest and the tracker, named as what they are.

    Nothing here is called perplexity or bits per byte.
    """
    targets = report["targets"]
    return {
        "target_nats_per_token": targets["nats_per_token"],
        "target_accuracy": targets["accuracy"],
        "target_tokens": targets["tokens"],
        "targets": targets["targets"],
        "documents": targets["documents"],
        **({"target_exact_match": targets["exact_match"]} if "exact_match" in targets else {}),
    }


def _asked(
    config: TargetEvaluationConfig,
    words: Tokenizer,
    eval_set: EvalSet,
    examples: ExampleSet | None,
    window: int,
) -> tuple[list[str], list[Pair], dict[str, Any]]:
    """What is to be written: names of documents or examples, pairs, and what the report adds."""
    if examples is not None:
        names: list[str] = []
        pairs: list[Pair] = []
        too_long = 0
        for example in _held_out(examples):
            source = np.array(source_ids(words, example.prompt), np.int64)
            target = np.array(source_ids(words, example.answer), np.int64)
            if max(len(source), len(target)) > window + 1:
                too_long += 1
                continue
            pairs.append(Pair(len(names), source, target))
            names.append(example.id)
        if not pairs:
            raise DataError(
                f"{examples.ref} holds no held-out pair of at most {window} tokens; add examples "
                "or train with a longer context"
            )
        return names, pairs, {"of": "held-out examples", "too_long": too_long}
    documents = frozen_documents(eval_set)
    if not documents["doc_id"]:
        raise DataError(
            f"{eval_set.ref} holds no document; raise eval_set.max_bytes or add documents"
        )
    objective = SpanCorruption(noise_share=config.noise_share, mean_span=config.mean_span)
    pairs = span_pairs(
        objective, words, documents["doc_id"], documents["text"],
        window=window, max_pairs=config.max_targets, seed=config.seed,
    )  # fmt: skip
    told = {"noise_share": config.noise_share, "mean_span": config.mean_span}
    return documents["doc_id"], pairs, {"of": "spans of held-out text", **told}


def _held_out(examples: ExampleSet) -> Iterator[Example]:
    """Pairs only; the stage that tunes refuses conversations."""
    for example in read_examples(examples.path / "held_out.jsonl"):
        if not example.messages:
            yield example


def _exact_match(
    config: TargetEvaluationConfig,
    model: LanguageModel,
    words: Tokenizer,
    examples: ExampleSet,
    window: int,
) -> float:
    """Share of the first held-out pairs whose greedy target is the answer to the letter."""
    asked = [
        example
        for example in islice(_held_out(examples), config.max_answers)
        if len(source_ids(words, example.prompt)) <= window + 1
    ]
    right = 0
    for start in range(0, len(asked), ANSWERED_AT_ONCE):
        part = asked[start : start + ANSWERED_AT_ONCE]
        written = write_targets(
            model, words, [example.prompt for example in part], max_tokens=window - 1
        )
        right += sum(
            target.text.strip() == example.answer.strip()
            for target, example in zip(written, part, strict=True)
        )
    return right / len(asked) if asked else 0.0


def _examples(
    config: TargetEvaluationConfig, model: LanguageModel, words: Tokenizer
) -> list[dict[str, Any]]:
    if not config.prompts:
        return []
    written = write_targets(model, words, config.prompts, max_tokens=EXAMPLE_TOKENS)
    return [
        {"text": text, "target": target.text, "filled": shown(text, target.text),
         "ended": target.ended}
        for text, target in zip(config.prompts, written, strict=True)
    ]  # fmt: skip


def _open(
    checkpoint: Checkpoint, tokenizer: TrainedTokenizer, device: str
) -> tuple[LanguageModel, Tokenizer]:
    words = Tokenizer.load(tokenizer.path)
    try:
        model = load_model(checkpoint.weights_path.parent, device=device).eval()
    except WeightsError as error:
        raise ArtifactError(f"{checkpoint.ref} cannot be loaded: {error}") from error
    if not isinstance(model, EncoderDecoder):
        raise ArtifactError(
            f"{checkpoint.ref} has no encoder beside its decoder and writes no targets; evaluate "
            "it with `evaluate`"
        )
    if words.vocab_size > model.config.vocab_size:
        raise ArtifactError(
            f"{tokenizer.ref} has {words.vocab_size} ids, the model of {checkpoint.ref} only "
            f"{model.config.vocab_size}; evaluate it with the tokenizer it was trained with"
        )
    return model, words
