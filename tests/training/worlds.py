"""A tokenizer and token shards from real text, small enough to train on within a second."""

import codecs
import contextlib
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.architectures import Qwen3Config
from model.optim import AdamWConfig
from model.schedule import CosineSchedule
from pipeline.artifacts import ExampleSet, TokenShards, TrainedTokenizer
from pipeline.conversations.example import Example, write_examples
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.fingerprint import short
from pipeline.store.runtime import Runtime
from pipeline.tokens.shard_writer import TokenRow, write_shard
from pipeline.tokens.shards import shard_paths
from pipeline.tokens.tokenizer import Tokenizer, with_more_specials, with_our_specials
from pipeline.training.config import PretrainConfig, Steps
from pipeline.training.job import TrainingJob, write_job

PATTERN = r"\s?\w+|\s?[^\s\w]+|\s+"
SHAPE = Qwen3Config(width=32, layers=2, heads=2, kv_heads=1, head_width=16, hidden_width=64)
MODEL = replace(SHAPE, vocab_size=263, context_length=32)
RUNTIME = Runtime(threads=1, log_every_seconds=0.0, checkpoint_every_seconds=1e6)
CONFIG = PretrainConfig(
    model=SHAPE,
    context_length=32,
    batch_rows=4,
    horizon=Steps(12),
    optimizer=AdamWConfig(learning_rate=3e-3),
    dtype="float32",
    validation_every=5,
    validation_tokens=256,
    prompts=("Beautiful is",),
    sample_tokens=8,
)


def zen() -> str:
    """The Zen of Python: 856 characters that never change."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this

    return codecs.decode(this.s, "rot13")


def make_tokenizer(
    root: Path, *more: str, mask: bool = False, sentinels: int = 0
) -> TrainedTokenizer:
    """Every byte a token, plus our special tokens: 263 ids, and those asked for."""
    plain = with_our_specials("bytes", PATTERN, {bytes([i]): i for i in range(256)})
    tokenizer = with_more_specials(plain, more, mask=mask, sentinels=sentinels)
    asked = {"more": list(more), "mask": mask, "sentinels": sentinels}
    settings = {"bytes": True, **{name: value for name, value in asked.items() if value}}
    key = artifact_key("tokenizer", 1, settings, [])

    def work(directory: Path) -> Outcome:
        tokenizer.save(directory)
        return Outcome({"vocab_size": tokenizer.vocab_size, "sha256": tokenizer.sha256})

    directory = root / "tokenizer" / short(key.fingerprint)
    build(key, directory, work, root=root, runtime=RUNTIME)
    return TrainedTokenizer(directory, key.fingerprint)


def make_shards(
    root: Path, tokenizer: TrainedTokenizer, train: Sequence[str], validation: Sequence[str]
) -> TokenShards:
    """One part with a training and, unless empty, a validation shard."""
    vocabulary = Tokenizer.load(tokenizer.path)
    settings = {"train": list(train), "validation": list(validation)}
    part_key = artifact_key("tokenize_part", 1, settings, [tokenizer.key])
    part = root / "parts" / "tokenize" / short(part_key.fingerprint)
    counts: dict[str, int] = {"train": 0, "validation": 0}

    def write(directory: Path) -> Outcome:
        for split, texts in settings.items():
            rows = [
                TokenRow(f"{split}/{i}", "test", vocabulary.encode_array(text))
                for i, text in enumerate(texts)
            ]
            if rows:
                path = directory / f"{split}-00000.arrow"
                counts[split] = write_shard(path, rows, vocabulary)
        return Outcome({f"{split}_tokens": count for split, count in counts.items()})

    build(part_key, part, write, root=root, runtime=RUNTIME, quiet=True)
    key = artifact_key("tokenize", 1, settings, [tokenizer.key])
    directory = root / "tokens" / short(key.fingerprint)
    facts = {
        "train_tokens": sum(len(t.encode()) + 2 for t in train),
        "validation_tokens": sum(len(t.encode()) + 2 for t in validation),
        "tokenizer_sha256": vocabulary.sha256,
    }
    parts = (str(part.relative_to(root)),)
    build(key, directory, lambda _: Outcome(facts, parts), root=root, runtime=RUNTIME)
    return TokenShards(directory, key.fingerprint)


def zen_world(
    root: Path, *, mask: bool = False, sentinels: int = 0
) -> tuple[TrainedTokenizer, TokenShards]:
    """The Zen's lines as documents; the last four are for validation."""
    tokenizer = make_tokenizer(root, mask=mask, sentinels=sentinels)
    lines = [line for line in zen().splitlines() if line]
    return tokenizer, make_shards(root, tokenizer, lines[:-4], lines[-4:])


def make_examples(root: Path, count: int = 24, *, long_validation: bool = False) -> ExampleSet:
    """Questions whose answer is their last letter, twice."""
    examples = [
        Example(id=str(i), prompt=f"say {chr(97 + i % 7)}", answer=chr(97 + i % 7) * 2)
        for i in range(count)
    ]
    validation = examples[:4]
    if long_validation:
        validation = [replace(example, prompt="say a " * 1000) for example in validation]
    identity = {"count": count, **({"long": True} if long_validation else {})}
    key = artifact_key("examples", 1, identity, [])

    def work(directory: Path) -> Outcome:
        write_examples(directory / "train.jsonl", examples[4:])
        write_examples(directory / "validation.jsonl", validation)
        write_examples(directory / "held_out.jsonl", [])
        return Outcome({"train": count - 4})

    directory = root / "examples" / short(key.fingerprint)
    build(key, directory, work, root=root, runtime=RUNTIME)
    return ExampleSet(directory, key.fingerprint)


def make_job(root: Path, tokenizer: TrainedTokenizer, shards: TokenShards, **changes: Any) -> Path:
    """A job file as the stage would write it; the path of the file."""
    directory = root / "job"
    directory.mkdir(exist_ok=True)
    job = TrainingJob(
        directory=str(directory),
        digest="0" * 64,
        tokenizer=str(tokenizer.path),
        data="windows",
        train_paths=tuple(map(str, shard_paths(shards, "train"))),
        validation_paths=tuple(map(str, shard_paths(shards, "validation"))),
        model=MODEL,
        weights=None,
        weights_kind="ours",
        context_length=32,
        batch_rows=4,
        micro_batch_rows=2,
        steps=10,
        optimizer=AdamWConfig(learning_rate=3e-3),
        schedule=CosineSchedule(),
        grad_clip=1.0,
        seed=0,
        dtype="float32",
        validation_every=5,
        validation_tokens=256,
        keep="last",
        patience=None,
        max_skipped_in_row=3,
        prompts=("Beautiful is",),
        sample_tokens=8,
        answer_prompts=False,
        threads=1,
        log_every_seconds=0.0,
    )
    path = directory / "job.json"
    write_job(path, replace(job, **changes))
    return path
