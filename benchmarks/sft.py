"""Fine-tuning beside TRL's SFTTrainer: trained tokens per second, padding, validation loss.

    python -m benchmarks.sft --root ROOT              write results/sft.json
    python -m benchmarks.sft --root ROOT --quick      few steps, printed and never written

ROOT holds a finished run of the default; its base model, examples and tokenizer are what both
sides fine-tune with: the same token ids and masks, AdamW, constant rate, steps, and (on average)
examples per step. TRL runs packed, padding-free, padded and padded by similar length. All final
weights are scored by the same function on the same validation examples. Sides take turns, each in a
process of its own; times are from the first step to the last.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file

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
from model.checkpoint_io import load_model, save_model
from model.huggingface import export_weights, import_weights
from model.optim import AdamWConfig
from model.schedule import LinearSchedule
from pipeline.artifacts import (
    Checkpoint,
    ExampleSet,
    TrainedTokenizer,
    finished_artifacts,
    parents_of,
)
from pipeline.conversations.example import read_examples
from pipeline.conversations.packing import write_rows
from pipeline.conversations.template import segments
from pipeline.evals.sft import response_loss
from pipeline.store.errors import ArtifactError, MillError
from pipeline.store.files import read_json, write_json
from pipeline.tokens.batches import PackedRows
from pipeline.tokens.huggingface import write_huggingface
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.training.devices import ResolvedDtype
from pipeline.training.job import TrainingJob, write_job
from pipeline.training.start import stored_architecture

ROWS = 16
Better = Literal["higher", "lower"]
MODES = ("packed", "padding_free", "padded", "grouped")
LEARNING_RATE = 1e-3
TARGET = 1.2


@dataclass(frozen=True)
class Task:
    """What both sides are given."""

    base: Checkpoint
    examples: ExampleSet
    tokenizer: Tokenizer
    directory: Path
    steps: int
    threads: int
    examples_per_row: float
    """In our packed rows."""
    trained_share: float
    """Of the tokens of all examples."""

    @property
    def capacity(self) -> int:
        """Ids per row: the base model's context."""
        return int(read_json(self.base.model_config_path)["context_length"])

    @property
    def rows(self) -> Path:
        """Our packed rows."""
        return self.directory / "rows.arrow"


@dataclass(frozen=True)
class Outcome:
    """One side's round."""

    seconds: float
    trained: int
    padding: float
    """Share of the positions that are padding."""
    loss: float
    """Nats per trained token of the validation examples, after training."""
    versions: dict[str, str]

    @property
    def rate(self) -> float:
        """Trained tokens per second."""
        return self.trained / self.seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sft", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs"), help="of a finished run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=28, help="one round of length grouping")
    parser.add_argument("--quick", action="store_true", help="one short round, not written")
    parser.add_argument(
        "--peers", type=Path, default=DEFAULT_FOLDER, help="folder of the peers' environments"
    )
    given = parser.parse_args(arguments)
    measured = here(("torch", "transformers"))
    try:
        if not given.quick:
            require_clean(measured)
        python = environment(given.peers, "trl")
        with tempfile.TemporaryDirectory() as temporary:
            steps, rounds = (10, 1) if given.quick else (given.steps, given.rounds)
            task = prepare(given.root, Path(temporary), steps)
            sides = run_rounds(task, python, rounds)
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    versions = {**measured.versions, "trl": sides["packed"][0].versions["trl"]}
    result = conclude(sides, replace(measured, versions=versions))
    print(render([result], short=False))
    if not given.quick:
        print(write_result(result))
    return 0


def prepare(root: Path, directory: Path, steps: int) -> Task:
    """Ids and masks for both sides, the base model in both formats."""
    tuned = [
        artifact
        for artifact in finished_artifacts(root.absolute())
        if isinstance(artifact, Checkpoint) and artifact.stage == "finetune"
    ]
    if not tuned:
        raise ArtifactError(f"{root} holds no fine-tuned model; run `make demo` first, give --root")
    newest = max(tuned, key=lambda a: (a.path / "manifest.json").stat().st_mtime_ns)
    parents = parents_of(newest)
    base = next(p for p in parents if isinstance(p, Checkpoint))
    examples = next(p for p in parents if isinstance(p, ExampleSet))
    tokenizer = next(p for p in parents if isinstance(p, TrainedTokenizer))
    vocabulary = Tokenizer.load(tokenizer.path)
    threads = len(os.sched_getaffinity(0))
    task = Task(base, examples, vocabulary, directory, steps, threads, 0.0, 0.0)
    packed = write_rows(
        examples.path / "train.jsonl", vocabulary, task.rows, context_length=task.capacity - 1
    )
    task = replace(
        task,
        examples_per_row=packed["examples"] / packed["rows"],
        trained_share=packed["target_tokens"] / packed["tokens"],
    )
    with (directory / "train.jsonl").open("w", encoding="utf-8") as handle:
        for example in read_examples(examples.path / "train.jsonl"):
            item = segments(example, vocabulary)
            if len(item.ids) <= task.capacity:
                row = {"input_ids": item.ids, "completion_mask": item.trainable}
                handle.write(json.dumps(row) + "\n")
    folder = directory / "huggingface"
    folder.mkdir()
    config, weights = export_weights(load_model(base.weights_path.parent))
    write_json(folder / "config.json", config)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_huggingface(vocabulary, folder)
    return task


def run_rounds(task: Task, python: Path, rounds: int) -> dict[str, list[Outcome]]:
    """Ours and TRL's modes in turns; the bfloat16 of both is that of their fastest way."""
    sides: dict[str, list[Outcome]] = defaultdict(list)
    for number in range(rounds):
        sides["ours"].append(run_ours(task, number, "float32"))
        for mode in MODES:
            sides[mode].append(run_trl(task, python, number, mode, "float32"))
        sides["ours, bfloat16"].append(run_ours(task, number, "bfloat16"))
        sides["grouped, bfloat16"].append(run_trl(task, python, number, "grouped", "bfloat16"))
        rates = ", ".join(f"{name} {found[-1].rate:,.0f}" for name, found in sides.items())
        print(f"round {number + 1}, trained tokens/s: {rates}", file=sys.stderr)
    return dict(sides)


def run_ours(task: Task, number: int, dtype: ResolvedDtype) -> Outcome:
    """Our training process on the packed rows."""
    directory = task.directory / f"ours-{number}-{dtype}"
    directory.mkdir()
    model = load_model(task.base.weights_path.parent)
    start = directory / "start"
    save_model(model, start)
    job = TrainingJob(
        directory=str(directory), digest=f"benchmark-{number}", tokenizer=str(task.directory),
        data="rows", train_paths=(str(task.rows),), validation_paths=(),
        model=stored_architecture(task.base),
        weights=str(start), weights_kind="ours", context_length=task.capacity - 1, batch_rows=ROWS,
        micro_batch_rows=ROWS, steps=task.steps,
        optimizer=AdamWConfig(learning_rate=LEARNING_RATE, weight_decay=0.0),
        schedule=LinearSchedule(warmup_fraction=0.0, final_fraction=1.0), grad_clip=1.0,
        seed=number, dtype=dtype, validation_every=1_000_000, validation_tokens=1, keep="last",
        patience=None, max_skipped_in_row=10, prompts=(), sample_tokens=1, answer_prompts=True,
        threads=task.threads, log_every_seconds=1e9, checkpoint_every_seconds=1e9,
    )  # fmt: skip
    task.tokenizer.save(task.directory)
    write_job(directory / "job.json", job)
    command = [sys.executable, "-c", _OURS, str(directory / "job.json")]
    done = _run(command, cwd=CHECKOUT)
    source = PackedRows(task.rows, rows=ROWS, seed=number)
    trained = padding = 0
    for step in range(task.steps):
        batch = source.batch(step)
        trained += int(batch["loss_mask"].sum())
        padding += int((batch["segment_ids"] == 0).sum())
    positions = task.steps * ROWS * (task.capacity - 1)
    loss = _validation_loss(task, load_model(directory / "final"))
    return Outcome(done["seconds"], trained, padding / positions, loss, {})


# Facts go to stdout as one line; seconds are those of the steps, as the trainer counts them.
_OURS = """
import json, sys
from pathlib import Path
from pipeline.store.runtime import Silent
from pipeline.training.job import read_job
from pipeline.training.loop import train
job = read_job(Path(sys.argv[1]))
facts = train(job, Silent(), Silent())
print(json.dumps({"seconds": job.steps * job.tokens_per_step / facts["tokens_per_second"]}))
"""


def run_trl(task: Task, python: Path, number: int, mode: str, dtype: ResolvedDtype) -> Outcome:
    """SFTTrainer on the same ids; ArtifactError if it trains on other tokens than the mask's."""
    name = f"trl-{mode}-{number}-{dtype}"
    output = task.directory / name
    rows, micro_batches = (ROWS, 1) if mode == "packed" else _shape(ROWS * task.examples_per_row)
    job = {
        "model": str(task.directory / "huggingface"), "data": str(task.directory / "train.jsonl"),
        "output": str(output), "rows": rows, "micro_batches": micro_batches,
        "context": task.capacity, "steps": task.steps, "learning_rate": LEARNING_RATE,
        "mode": mode, "dtype": dtype, "threads": task.threads, "seed": number,
    }  # fmt: skip
    write_json(task.directory / f"{name}.json", job)
    script = Path(__file__).with_name("peer_sft.py")
    done = _run([str(python), str(script), str(task.directory / f"{name}.json")], cwd=output.parent)
    share = done["trained"] / done["real"]
    # Long examples have smaller shares and come first where lengths are grouped.
    if not 0.5 * task.trained_share < share < 1.5 * task.trained_share:
        raise ArtifactError(
            f"TRL ({mode}) trained {share:.1%} of its tokens, the examples' masks "
            f"{task.trained_share:.1%}; the sides do not do the same work"
        )
    padding = 1 - done["real"] / done["positions"]
    loss = _validation_loss(task, import_weights(output))
    return Outcome(done["seconds"], done["trained"], padding, loss, done["versions"])


def _shape(examples: float) -> tuple[int, int]:
    """(rows, micro-batches) of about ROWS rows that together are nearest to `examples`."""
    fewest = max(1, math.ceil(examples / ROWS))
    shapes = [(round(examples / count), count) for count in range(fewest, fewest + 3)]
    return min(shapes, key=lambda shape: abs(shape[0] * shape[1] - examples))


def _run(command: list[str], *, cwd: Path) -> dict[str, Any]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ArtifactError(f"{command[0]} failed: {done.stderr.strip()[-2000:]}")
    last: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return last


def _validation_loss(task: Task, model: Any) -> float:
    examples = list(read_examples(task.examples.path / "validation.jsonl"))
    found = response_loss(model, task.tokenizer, examples, context=task.capacity - 1)
    return float(found["response_loss"])


def conclude(sides: Mapping[str, Sequence[Outcome]], measured: Any) -> Result:
    """Rows and claims from the rounds."""
    rows = []
    for peer in MODES:
        rows += _rows(f"TRL, {peer.replace('_', '-')}", sides["ours"], sides[peer], "")
    rows += _rows(
        "TRL, grouped", sides["ours, bfloat16"], sides["grouped, bfloat16"], " in bfloat16"
    )
    fastest = max(MODES, key=lambda mode: median([o.rate for o in sides[mode]]))
    ratio = median([o.rate for o in sides["ours"]]) / median([o.rate for o in sides[fastest]])
    lowest = min(median([o.loss for o in sides[mode]]) for mode in MODES)
    loss = median([o.loss for o in sides["ours"]])
    claims = (
        Claim(
            f"trained tokens/s at least 1.2 times TRL's fastest mode ({fastest}), both in float32",
            TARGET, ratio, ratio >= TARGET,
        ),
        Claim(
            "validation loss after the same steps no higher than TRL's lowest (1 % allowed)",
            1.01 * lowest, loss, loss <= 1.01 * lowest,
        ),
    )  # fmt: skip
    return Result("sft", today(), measured, tuple(rows), claims)


def _rows(peer: str, ours: Sequence[Outcome], theirs: Sequence[Outcome], how: str) -> list[Row]:
    """What is compared with one of TRL's modes."""

    def row(case: str, unit: str, better: Better, value: Callable[[Outcome], float]) -> Row:
        sides = (tuple(map(value, side)) for side in (ours, theirs))
        return Row(case + how, unit, next(sides), better, peer, next(sides))

    return [
        row("fine-tuning speed", "trained tokens/s", "higher", lambda o: o.rate),
        row("positions that are padding", "%", "lower", lambda o: 100 * o.padding),
        row("validation loss after the same steps", "nats/token", "lower", lambda o: o.loss),
    ]


if __name__ == "__main__":
    sys.exit(main())
