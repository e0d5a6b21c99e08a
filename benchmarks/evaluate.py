"""Scoring documents beside lm-evaluation-harness: the same figures, and how fast each gets there.

    python -m benchmarks.evaluate --root ROOT              write results/evaluate.json
    python -m benchmarks.evaluate --root ROOT --quick      ten documents, printed and never written

ROOT holds a finished run of the default: its exported base model and its frozen documents are what
both sides read, in float32, offline, with equal windows (stride = context). The peer scores them as
a task of rolling log-likelihood, with every batch size of BATCHES; the fastest counts. Seconds are
of the scoring alone, beside them those of the whole commands. Sides take turns.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.peer_environment import DEFAULT_FOLDER, environment
from benchmarks.report import render
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
from pipeline.artifacts import EvalSet, ExportedModel, finished_artifacts
from pipeline.corpus.document import open_documents
from pipeline.store.errors import ArtifactError, DataError, MillError

BATCHES = (1, 8, 32)
SHIPPED_BATCH = 1  # the default of its --batch_size
FIGURES = ("bits_per_byte", "byte_perplexity", "word_perplexity")
AGREEMENT = 1e-5
SPEED = 3.0


@dataclass(frozen=True)
class Round:
    """One side's run."""

    seconds: float
    """Of the scoring."""
    whole: float
    """Of the command."""
    figures: dict[str, float]
    versions: dict[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluate", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs"), help="of a finished run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=None, help="so many, the first ones")
    parser.add_argument("--quick", action="store_true", help="ten documents, not written")
    parser.add_argument(
        "--peers", type=Path, default=DEFAULT_FOLDER, help="folder of the peers' environments"
    )
    given = parser.parse_args(arguments)
    measured = here(("torch", "transformers"))
    try:
        if not given.quick:
            require_clean(measured)
        python = environment(given.peers, "lm-eval")
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            model = exported(given.root)
            texts = write_documents(given.root, folder, 10 if given.quick else given.documents)
            rounds = 1 if given.quick else given.rounds
            ours, theirs = run_rounds(model, folder, python, rounds)
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    versions = {**measured.versions, "lm-eval": theirs[BATCHES[0]][0].versions["lm-eval"]}
    result = conclude(ours, theirs, texts, replace(measured, versions=versions))
    print(render([result], short=False))
    if not given.quick:
        print(write_result(result))
    return 0


def exported(root: Path) -> Path:
    """The Hugging Face directory of the newest exported base model under `root`."""
    found = [
        artifact
        for artifact in finished_artifacts(root.absolute())
        if isinstance(artifact, ExportedModel)
        and any(ref.startswith("pretrain@") for ref in artifact.manifest.inputs)
    ]
    if not found:
        raise ArtifactError(f"{root} holds no exported base model; run `make demo` first")
    return max(found, key=lambda a: (a.path / "manifest.json").stat().st_mtime_ns).hf_path


def write_documents(root: Path, folder: Path, most: int | None) -> int:
    """documents.jsonl for both sides, from the frozen set; how many bytes of text."""
    sets = [a for a in finished_artifacts(root.absolute()) if isinstance(a, EvalSet)]
    if not sets:
        raise ArtifactError(f"{root} holds no eval set; run `make demo` first")
    with open_documents(sets[0].documents_path) as reader:
        texts: list[str] = reader.read_all()["text"].to_pylist()
    texts = texts[:most]
    lines = (json.dumps({"text": text}, ensure_ascii=False) for text in texts)
    (folder / "documents.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return sum(len(text.encode()) for text in texts)


def run_rounds(
    model: Path, folder: Path, python: Path, rounds: int
) -> tuple[list[Round], dict[int, list[Round]]]:
    """Both sides in turn; DataError where they disagree about any figure."""
    ours: list[Round] = []
    theirs: dict[int, list[Round]] = {batch: [] for batch in BATCHES}
    for _ in range(rounds):
        ours.append(run_ours(model, folder))
        for batch in BATCHES:
            theirs[batch].append(run_peer(model, folder, python, batch))
            for name in FIGURES:
                mine, other = ours[-1].figures[name], theirs[batch][-1].figures[name]
                if abs(mine / other - 1) > AGREEMENT:
                    raise DataError(
                        f"{name} is {mine!r} here and {other!r} in the peer (batch {batch}): "
                        "they did not score the same tokens"
                    )
    return ours, theirs


def run_ours(model: Path, folder: Path) -> Round:
    """`own_evaluate.py` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.own_evaluate", str(model), str(folder)]
    return _run(command, CHECKOUT)


def run_peer(model: Path, folder: Path, python: Path, batch: int) -> Round:
    """`peer_evaluate.py` beside the peer, with none of our code on its path."""
    script = CHECKOUT / "benchmarks" / "peer_evaluate.py"
    work = folder / f"peer-{batch}"
    work.mkdir(exist_ok=True)
    documents = str(folder / "documents.jsonl")
    return _run(
        [str(python), "-I", str(script), str(model), documents, str(work), str(batch)], work
    )


def _run(command: list[str], directory: Path) -> Round:
    start = time.perf_counter()
    environ = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    done = subprocess.run(
        command, cwd=directory, env=environ, capture_output=True, text=True, check=False
    )
    whole = time.perf_counter() - start
    if done.returncode:
        raise DataError(f"{command[0]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    figures = {name: float(found[name]) for name in FIGURES}
    return Round(found["seconds"], whole, figures, found.get("versions", {}))


def conclude(
    ours: list[Round], theirs: dict[int, list[Round]], num_bytes: int, measured: Any
) -> Result:
    """Rows and claims; the peer's fastest batch size is the one that counts."""
    best = min(BATCHES, key=lambda batch: median([r.seconds for r in theirs[batch]]))
    rows = []
    for batch in sorted(BATCHES, key=lambda b: b != best):
        rows.append(
            Row(
                "text scored per second, one document set, float32", "kB/s",
                tuple(num_bytes / 1e3 / r.seconds for r in ours), "higher",
                _peer(batch),
                tuple(num_bytes / 1e3 / r.seconds for r in theirs[batch]), detail=batch != best,
            )
        )  # fmt: skip
    rows.append(
        Row(
            "the whole command, start to figures", "s", tuple(r.whole for r in ours), "lower",
            _peer(best), tuple(r.whole for r in theirs[best]),
        )
    )  # fmt: skip
    apart = max(
        abs(mine.figures[name] / other.figures[name] - 1)
        for mine, *others in zip(ours, *theirs.values(), strict=True)
        for other in others
        for name in FIGURES
    )
    ratio = median([b.seconds / a.seconds for a, b in zip(ours, theirs[best], strict=True)])
    claims = (
        Claim(
            "bits per byte, byte and word perplexity equal the peer's, largest relative difference",
            AGREEMENT, apart, apart <= AGREEMENT,
        ),
        Claim(
            "scores at least 3 times as fast as lm-evaluation-harness at its best batch size",
            SPEED, ratio, ratio >= SPEED,
        ),
    )  # fmt: skip
    return Result("evaluate", today(), measured, tuple(rows), claims)


def _peer(batch: int) -> str:
    """The peer with this batch size, which it is shipped with or tuned to."""
    how = "as shipped" if batch == SHIPPED_BATCH else "tuned"
    return f"lm-evaluation-harness, batch {batch} ({how})"


if __name__ == "__main__":
    sys.exit(main())
