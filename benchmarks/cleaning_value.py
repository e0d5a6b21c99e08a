"""Does cleaning help? The same model on the same number of tokens of raw and of cleaned text.

    python -m benchmarks.cleaning_value [--data FOLDER_OF_HTML] [--quick] [--no-write]

One tokenizer (learnt from the raw text), one model, three seeds, every arm for the same number of
tokens on one core; bits per byte on documents that are clean, new to every arm and the same for
all. Intervals are paired: documents and seeds are resampled together. Whatever comes out is
written.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.cleaning_worlds import (
    World,
    cleaned,
    hold_out,
    machine_world,
    pages_world,
    runtime_of,
)
from benchmarks.report import render
from benchmarks.results_file import (
    RESULTS,
    Claim,
    Measured,
    Result,
    Row,
    here,
    require_clean,
    today,
    write_result,
)
from model.checkpoint_io import load_model
from model.language_model import Initialization
from model.optim import MuonConfig
from model.qwen3 import Qwen3Config
from model.schedule import WarmupStableDecaySchedule
from pipeline.artifacts import Checkpoint, EvalSet, TrainedTokenizer
from pipeline.corpus.document import open_documents
from pipeline.evals.perplexity import score_documents
from pipeline.stages.pretrain import pretrain
from pipeline.stages.tokenize_corpus import TokenizeConfig, tokenize_corpus
from pipeline.stages.train_tokenizer import TrainedTokenizerConfig, train_tokenizer
from pipeline.store.errors import MillError
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.training.config import PretrainConfig, Tokens

SEEDS = (0, 1, 2)
DRAWS = 2_000
MODEL = Qwen3Config(
    width=128, layers=3, heads=2, kv_heads=2, head_width=64, hidden_width=352, rope_theta=1e4,
    init=Initialization(head_std=0.001, zero_outputs=True),
)  # fmt: skip
CONTEXT, ROWS, VOCABULARY = 256, 16, 4096


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    tokens: int
    """Trained on, by every model."""
    machine_bytes: int
    held_out_bytes: int
    seeds: tuple[int, ...]


FULL = Size(500_000, 16_000_000, 250_000, SEEDS)
QUICK = Size(20_000, 1_500_000, 20_000, SEEDS[:2])


@dataclass(frozen=True)
class Trained:
    """What the models of one arm score."""

    arm: str
    nats: np.ndarray  # (S, D) seeds x held-out documents
    num_bytes: np.ndarray  # (D,)
    documents: int
    text_bytes: int
    epochs: float

    @property
    def bits_per_byte(self) -> tuple[float, ...]:
        """One figure per seed."""
        return tuple((self.nats.sum(1) / self.num_bytes.sum() / np.log(2)).tolist())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and unless told otherwise write; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cleaning_value", description=__doc__
    )
    parser.add_argument("--data", type=Path, help="a folder of web pages (.html), any number")
    parser.add_argument("--root", type=Path, help="work here, and find it again next time")
    parser.add_argument("--quick", action="store_true", help="far too small to mean anything")
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args(arguments)
    try:
        measured = here(("torch",))
        if not (given.quick or given.no_write):
            require_clean(measured)
        with tempfile.TemporaryDirectory(prefix="gristmill-value-") as scratch:
            root = given.root or Path(scratch)
            result = measure(root, given.data, QUICK if given.quick else FULL, measured)
        print(render([result], short=False))
        if not (given.quick or given.no_write):
            print(f"written: {write_result(result, RESULTS)}")
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def measure(root: Path, data: Path | None, size: Size, measured: Measured) -> Result:
    """Every world there is text for."""
    torch.set_num_threads(1)
    worlds = [machine_world(root / "texts", max_bytes=size.machine_bytes)]
    if data is not None:
        worlds.insert(0, pages_world(root / "texts", data))
    rows: list[Row] = []
    claims: list[Claim] = []
    for world in worlds:
        trained = train_world(world, root / world.name, size)
        rows += rows_of(world, trained)
        claims += claims_of(world, trained)
    return Result("cleaning_value", today(), measured, tuple(rows), tuple(claims))


def train_world(world: World, root: Path, size: Size) -> list[Trained]:
    """All arms, from the rawest on; the tokenizer is that of the rawest."""
    runtime = runtime_of()
    held_out = hold_out(world, root, runtime, max_bytes=size.held_out_bytes)
    tokenizer: TrainedTokenizer | None = None
    found = []
    for arm in world.arms:
        corpus = cleaned(arm, held_out, root, runtime)
        if tokenizer is None:
            words = TrainedTokenizerConfig(vocab_size=VOCABULARY)
            tokenizer = train_tokenizer(words, corpus, root=root, runtime=runtime)
        shards = tokenize_corpus(
            TokenizeConfig(validation_fraction=0), corpus, tokenizer, root=root, runtime=runtime
        )
        nats = []
        for seed in size.seeds:
            config = PretrainConfig(
                model=MODEL, context_length=CONTEXT, batch_rows=ROWS, horizon=Tokens(size.tokens),
                optimizer=MuonConfig(), schedule=WarmupStableDecaySchedule(decay_fraction=0.5),
                seed=seed, dtype="float32",
            )  # fmt: skip
            checkpoint = pretrain(config, shards, tokenizer, root=root, runtime=runtime)
            nats.append(score(checkpoint, tokenizer, held_out))
            print(f"{world.name}, {arm.name}, seed {seed}: {nats[-1].sum():,.0f} nats", flush=True)
        facts = corpus.facts
        found.append(
            Trained(
                arm.name,
                np.stack(nats),
                _sizes(held_out),
                facts["documents_kept"],
                facts["bytes_kept"],
                size.tokens / shards.num_tokens,
            )  # fmt: skip
        )
    return found


def score(checkpoint: Checkpoint, tokenizer: TrainedTokenizer, held_out: EvalSet) -> np.ndarray:
    """(D,) nats of each held-out document."""
    model = load_model(checkpoint.path / "final")
    with torch.inference_mode():
        scores = score_documents(
            model.eval(), Tokenizer.load(tokenizer.path), _documents(held_out),
            context=CONTEXT, stride=CONTEXT // 2,
        )  # fmt: skip
    return scores.nats


def _documents(held_out: EvalSet) -> dict[str, list[str]]:
    with open_documents(held_out.documents_path) as reader:
        columns: dict[str, list[str]] = reader.read_all().to_pydict()
        return columns


def _sizes(held_out: EvalSet) -> np.ndarray:
    return np.array([len(text.encode("utf-8")) for text in _documents(held_out)["text"]])


@dataclass(frozen=True)
class Difference:
    """One arm minus another, in bits per byte; negative: the first is better."""

    value: float
    low: float
    high: float
    by_seed: tuple[float, ...]


def difference(arm: Trained, other: Trained, *, draws: int = DRAWS, seed: int = 0) -> Difference:
    """Paired by document and by seed, both resampled: what other texts and seeds could change."""
    gap = (arm.nats - other.nats) / np.log(2)  # (S, D)
    num_seeds, documents = gap.shape
    rng = np.random.default_rng(seed)
    values = np.empty(draws)
    for draw in range(draws):
        chosen = rng.integers(0, documents, documents)
        seeds = rng.integers(0, num_seeds, num_seeds)
        values[draw] = gap[seeds][:, chosen].mean(0).sum() / arm.num_bytes[chosen].sum()
    low, high = np.percentile(values, (2.5, 97.5))
    by_seed = gap.sum(1) / arm.num_bytes.sum()
    return Difference(float(by_seed.mean()), float(low), float(high), tuple(by_seed.tolist()))


def rows_of(world: World, trained: Sequence[Trained]) -> list[Row]:
    """Bits per byte of every arm, and of each the difference to the rawest."""
    rows = []
    for arm in trained:
        told = f"{world.name}, {arm.arm}"
        rows.append(Row(f"{told}: bits per byte, held-out clean text", "bits/byte",
                        arm.bits_per_byte, "lower"))  # fmt: skip
        rows.append(Row(f"{told}: text", "MB", (arm.text_bytes / 1e6,), "higher", detail=True))
        rows.append(Row(f"{told}: documents", "documents", (arm.documents,), "higher", detail=True))
        rows.append(Row(f"{told}: passes over the text", "epochs", (arm.epochs,), "lower",
                        detail=True))  # fmt: skip
    for arm in trained[1:]:
        gap = difference(arm, trained[0])
        told = f"{world.name}: {arm.arm} minus {trained[0].arm}"
        rows.append(
            Row(told, "bits/byte", (gap.value,), "lower", interval=(gap.low, gap.high))
        )  # fmt: skip
        rows.append(Row(f"{told}, each seed", "bits/byte", gap.by_seed, "lower", detail=True))
    return rows


def claims_of(world: World, trained: Sequence[Trained]) -> list[Claim]:
    """Whether the cleaned arms teach more than the rawest, beyond texts and seeds."""
    claims = []
    for arm, other in ((trained[-2], trained[0]), (trained[-1], trained[0]), trained[-1:-3:-1]):
        gap = difference(arm, other)
        claims.append(
            Claim(f"{world.name}: {arm.arm} text teaches more than {other.arm} "
                  f"(bits/byte, interval {gap.low:+.4f} to {gap.high:+.4f})",
                  0.0, gap.value, gap.high < 0)
        )  # fmt: skip
    return claims


if __name__ == "__main__":
    sys.exit(main())
