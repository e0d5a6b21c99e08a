"""Learning a vocabulary of 32,768: ours against rustbpe alone plus reading the text.

    python -m benchmarks.tokenizer_training --data FILE.jsonl [--megabytes 90] [--rounds 3]

Ours adds the check that the text supports every merge, the figures of compression and the ranks
file; the export to Hugging Face's form, which the trainer has no counterpart of, is left out.
Each run is a process of its own on two cores; `--side` is how this script calls itself.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import rustbpe

from benchmarks.processes import Spent, measure
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
from benchmarks.shared_input import grown, prepare
from pipeline.store.errors import MillError
from pipeline.tokens.patterns import PATTERNS
from pipeline.tokens.tokenizer import SPECIALS
from pipeline.tokens.training import train_ranks

VOCABULARY = 32_768
SIDES = ("ours", "rustbpe")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tokenizer_training", description=__doc__
    )
    parser.add_argument("--data", type=Path, required=True, help="JSON Lines: `text`, `id`")
    parser.add_argument("--megabytes", type=float, help="of text, at most (all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="print only, 10 MB, one round")
    parser.add_argument("--no-write", action="store_true", help="measure fully, print only")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.side:
        _train(given.side, given.data, given.out)
        return 0
    try:
        measured = here(("rustbpe", "tiktoken"))
        if not (given.quick or given.no_write):
            require_clean(measured)
        with tempfile.TemporaryDirectory() as folder:
            result = Result("tokenizer_training", today(), measured, *_measure(given, Path(folder)))
        for row in result.rows:
            print(f"{row.case:<40} {median(row.ours):8.2f} {row.unit}  {median(row.theirs):8.2f}")
        for claim in result.claims:
            print(f"{'met ' if claim.met else 'MISSED'} {claim.claim}: {claim.value:.2f}")
        if not (given.quick or given.no_write):
            print(write_result(result))
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _measure(given: argparse.Namespace, folder: Path) -> tuple[tuple[Row, ...], tuple[Claim, ...]]:
    megabytes = given.megabytes or (10.0 if given.quick else 1e6)
    whole = prepare(given.data, folder / "input", max_bytes=int(megabytes * 1e6))
    print(f"{whole.documents} documents, {whole.num_bytes / 1e6:.1f} MB", flush=True)

    def run(side: str, data: Path) -> Spent:
        command: list[str | Path] = [sys.executable, "-m", "benchmarks.tokenizer_training"]
        command += ["--data", data, "--side", side, "--out", folder / "out"]
        spent = measure(
            command, cores=2, log=folder / "log.txt", environment={}, directory=CHECKOUT
        )
        print(f"{side}: {spent.seconds:.1f} s", flush=True)
        return spent

    spent: dict[str, list[Spent]] = {side: [] for side in SIDES}
    for _ in range(1 if given.quick else given.rounds):
        for side in SIDES:
            spent[side].append(run(side, whole.folder))
    seconds = {side: tuple(s.seconds for s in taken) for side, taken in spent.items()}
    three = run("ours", grown(whole, folder / "grown", factor=3).folder)
    growth = three.peak_bytes / spent["ours"][0].peak_bytes
    rows = (
        Row(f"a vocabulary of {VOCABULARY:,} from {whole.num_bytes / 1e6:.0f} MB", "s",
            seconds["ours"], "lower", "rustbpe alone, reading included", seconds["rustbpe"]),
        Row("peak memory with three times the text", "MB", (three.peak_bytes / 1e6,), "lower",
            "the text once", (spent["ours"][0].peak_bytes / 1e6,)),
    )  # fmt: skip
    ratio = median(seconds["ours"]) / median(seconds["rustbpe"])
    claims = (
        Claim("no slower than rustbpe alone plus reading", 1.0, ratio, ratio <= 1.0),
        Claim("peak memory grows by at most 20 % with three times the text", 1.2, growth,
              growth <= 1.2),
    )  # fmt: skip
    return rows, claims


def _texts(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            for line in file:
                yield orjson.loads(line)["text"]


def _train(side: str, folder: Path, out: Path) -> None:
    pattern = PATTERNS["cl100k"]
    if side == "ours":
        made = train_ranks(
            lambda: _texts(folder), vocab_size=VOCABULARY, pattern=pattern, min_pair_count=2
        ).tokenizer
        made.save(out)
    else:
        trainer = rustbpe.Tokenizer()
        wanted = VOCABULARY - len(SPECIALS)
        trainer.train_from_iterator(_texts(folder), wanted, pattern=pattern)
        out.mkdir(parents=True, exist_ok=True)
        (out / "ranks.txt").write_text(str(len(trainer.get_mergeable_ranks())), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
