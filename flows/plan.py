"""What a run will do before it does it: reuse or build, time, memory, disk, tokens, epochs, money.

    predict(config) -> Prediction -> refuse_if_impossible() -> run -> record() with the outcome

Times are a workload (bytes or FLOPs) times a rate: the median of this root's own earlier runs, or,
before the first, the figures below.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from flows.run import StageRecord
from pipeline.store.errors import ConfigError
from pipeline.store.files import write_json

# Seconds per unit of work, medians on 2 cores of an AMD EPYC (Zen 5); corrected by every run.
SECONDS_PER_MB_READ = 0.04
SECONDS_PER_MB = {"clean": 0.35, "tokenizer": 0.2, "tokenize": 0.1, "baselines": 1.5}
SECONDS_PER_TERAFLOP = 5.0
SECONDS_FIXED = {
    "examples": 6.0,
    "labels": 10.0,
    "finetune": 40.0,
    "classify": 40.0,
    "evaluate": 12.0,
    "export": 2.0,
    "registry": 3.0,
}
PROCESS_MEMORY = 700e6  # a process with torch, prefect and mlflow loaded
WORKER_MEMORY = 400e6
HISTORY_RUNS = 10


@dataclass(frozen=True)
class StagePrediction:
    """One row of a plan; sizes in bytes, 0 where a stage is reused."""

    stage: str
    title: str
    action: str
    """`reuse`, `build`, or `do` for an action that is never cached."""
    seconds: float
    memory: float
    disk: float
    work: float
    unit: str
    note: str = ""


@dataclass(frozen=True)
class Prediction:
    """The rows of a plan and what the machine has."""

    root: Path
    rows: tuple[StagePrediction, ...]
    memory_available: float
    disk_free: float
    price_per_hour: float | None

    @property
    def seconds(self) -> float:
        """Expected time of everything that is built."""
        return sum(row.seconds for row in self.rows)

    @property
    def money(self) -> float | None:
        """Expected cost at `runtime.price_per_hour`."""
        return None if self.price_per_hour is None else self.seconds / 3600 * self.price_per_hour

    def refuse_if_impossible(self) -> None:
        """ConfigError if a stage needs more memory, or all together more disk, than there is."""
        for row in self.rows:
            if row.memory > self.memory_available:
                raise ConfigError(
                    f"{row.title} needs about {row.memory / 1e9:.1f} GB of memory, this machine "
                    f"has {self.memory_available / 1e9:.1f} GB; lower pretrain.micro_batch_rows, "
                    "the model or runtime.workers"
                )
        disk = sum(row.disk for row in self.rows)
        if disk > self.disk_free:
            raise ConfigError(
                f"the run needs about {disk / 1e6:,.0f} MB of disk under {self.root}, "
                f"{self.disk_free / 1e6:,.0f} MB are free; free some or choose another root="
            )

    def record(self, records: Sequence[StageRecord], path: Path) -> None:
        """Write prediction beside outcome; the next plan learns its rates from it.

        A resumed stage took longer than this run saw, so its time is left out.
        """
        outcomes = {record.title: record for record in records}
        rows = []
        for row in self.rows:
            outcome = outcomes.get(row.title)
            rows.append(
                {
                    **asdict(row),
                    "outcome": outcome.outcome if outcome else None,
                    "actual_seconds": outcome.seconds if outcome and not outcome.resumed else None,
                }
            )
        peak = psutil.Process().memory_info().rss
        write_json(path, {"rows": rows, "memory_at_end": peak, "predicted_seconds": self.seconds})


@dataclass(frozen=True)
class Workload:
    """The sizes a plan is made from."""

    read_bytes: float
    text_bytes: float
    parameters: float
    training_tokens: float
    flops_per_token: float
    epochs: float | None
    activation_bytes: float
    workers: int
    minutes: float | None = None
    """Of training, where `size: auto` has them for its budget."""


def describe(stage: str, load: Workload) -> tuple[float, str, float, float, float]:
    """(work, unit, default seconds, memory, disk) of building one stage."""
    text_mb = load.text_bytes / 1e6
    data_memory = PROCESS_MEMORY + load.workers * WORKER_MEMORY
    if stage == "eval_set":
        seconds = load.read_bytes / 1e6 * SECONDS_PER_MB_READ
        return load.read_bytes / 1e6, "MB read", seconds, data_memory, load.text_bytes * 1.2
    if stage in SECONDS_PER_MB:
        seconds = text_mb * SECONDS_PER_MB[stage]
        memory = data_memory + (
            load.text_bytes * 40 + 1e9 if stage == "baselines" else load.text_bytes
        )
        disk = {"clean": 1.5, "tokenize": 0.8}.get(stage, 0.1) * load.text_bytes
        return text_mb, "MB of text", seconds, memory, disk
    if stage == "pretrain":
        teraflops = load.training_tokens * load.flops_per_token / 1e12
        memory = PROCESS_MEMORY + load.parameters * 20 + load.activation_bytes
        if load.minutes is not None:
            return load.minutes, "minutes", load.minutes * 60, memory, load.parameters * 40
        return teraflops, "TFLOP", teraflops * SECONDS_PER_TERAFLOP, memory, load.parameters * 40
    if stage == "examples":
        return 1.0, "run", SECONDS_FIXED[stage], data_memory, 20e6
    memory = PROCESS_MEMORY + load.parameters * 20 + load.activation_bytes
    return 1.0, "run", SECONDS_FIXED.get(stage, 5.0), memory, load.parameters * 8


def _training(load: Workload) -> str:
    """What is trained on what, as far as it is known before `size: auto` has measured."""
    epochs = "" if load.epochs is None else f", about {load.epochs:.2f} epochs"
    tokens = "" if load.minutes is not None else f"{load.training_tokens:,.0f} tokens{epochs}, "
    if not load.parameters:
        return f"{tokens}size chosen when it starts"
    return f"{tokens}{load.parameters / 1e6:.1f} M parameters"


def predicted_rows(
    actions: Sequence[StageRecord], load: Workload, root: Path
) -> tuple[StagePrediction, ...]:
    """One row per stage call, priced when it is to be built."""
    rates = learned_rates(root)
    rows = []
    for action in actions:
        if action.outcome != "build":
            seconds = SECONDS_FIXED["registry"] if action.outcome == "do" else 0.5
            rows.append(
                StagePrediction(action.stage, action.title, action.outcome, seconds, 0, 0, 0, "")
            )
            continue
        work, unit, seconds, memory, disk = describe(action.stage, load)
        if (action.stage, unit) in rates:
            seconds = work * rates[action.stage, unit]
        note = ""
        if action.stage == "pretrain":
            note = _training(load)
        rows.append(
            StagePrediction(
                action.stage, action.title, "build", seconds, memory, disk, work, unit, note
            )
        )
    return tuple(rows)


def learned_rates(root: Path) -> dict[tuple[str, str], float]:
    """Median seconds per unit of the stages that the last runs under this root built."""
    seen: dict[tuple[str, str], list[float]] = {}
    for path in sorted((root / "journal").glob("*/plan.json"))[-HISTORY_RUNS:]:
        try:
            rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
        except (OSError, ValueError, KeyError):
            continue  # an old or torn record teaches nothing
        for row in rows:
            if row.get("outcome") == "built" and row.get("work") and row.get("actual_seconds"):
                rate = row["actual_seconds"] / row["work"]
                seen.setdefault((row["stage"], row["unit"]), []).append(rate)
    return {key: statistics.median(rates) for key, rates in seen.items()}
