"""One run of the graph: its settings, its stores, its display, and the record of its stages.

with open_run(config, ...) as run:
    eval_set = freeze_eval_set(run, config.eval_set, config.clean.sources)
"""

import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from flows.display import Display, StageDisplay, clock
from flows.figures import figures_of
from flows.leftovers import clear_orphans
from flows.starting import with_start
from pipeline.artifacts import Artifact
from pipeline.config import RunConfig
from pipeline.store.errors import ConfigError
from pipeline.store.files import write_json
from pipeline.store.fingerprint import plain
from pipeline.store.manifest import Manifest
from pipeline.store.provenance import code_state
from pipeline.store.runtime import Progress, Runtime, Silent
from pipeline.tracking.run import Status, Tracking, start_tracking
from pipeline.training.stopping import Preempted


@dataclass(frozen=True)
class Planned:
    """Stands for an artifact that a plan found missing."""

    stage: str


@dataclass(frozen=True)
class StageRecord:
    """How one stage of this run went."""

    stage: str
    title: str
    outcome: str
    """`built`, `reused`, `done` (actions); in plans `build`, `reuse`, `do`."""
    seconds: float
    ref: str
    resumed: bool = False
    """A killed run had done a part of it: `seconds` are those of the rest."""


@dataclass(frozen=True)
class Call:
    """What the command line adds to a flow call beside its parameters."""

    display: Display
    only: str | None = None
    command: str = ""
    """What a person types to go on after a failure; empty: unknown."""


_CALL: ContextVar[Call | None] = ContextVar("call", default=None)


def current_call(display: Callable[[], Display] = Display) -> Call:
    """The command line's call, or one with its own `display` for a run of a deployment."""
    return _CALL.get() or Call(display())


@contextmanager
def called_with(call: Call) -> Iterator[None]:
    """Hand `call` to the flow called in this block."""
    token = _CALL.set(call)
    try:
        yield
    finally:
        _CALL.reset(token)


class OnlyReached(Exception):
    """The stage named by `--only` is done."""


@dataclass
class Run:
    """What every stage call needs to know; made by `open_run`."""

    config: RunConfig
    root: Path
    run_id: str
    display: Display
    tracking: Tracking | None
    device: str
    orchestrated: bool = False
    planning: bool = False
    only: str | None = None
    buildable: frozenset[str] | None = None
    """Stages that may build; None: all."""
    records: list[StageRecord] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    observers: tuple[Callable[[str], Progress], ...] = ()
    """Makers of more Progress objects, told about every stage (Prefect's)."""
    predictions: list[dict[str, Any]] = field(default_factory=list)
    """What the plan foretold: `stage, title, seconds`."""
    command: str = ""
    """What a person types to go on after a failure; empty: unknown."""
    evaluated: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Rows of the evaluation tables shown so far, by `base` or `tuned`."""
    _reached: bool = False
    _progress: StageDisplay | None = None

    def before(self, stage: str) -> None:
        """Stop the graph once the stage named by `--only` has been passed."""
        if self._reached and stage != self.only:
            raise OnlyReached(stage)

    @contextmanager
    def stage(self, name: str, title: str) -> Iterator[Runtime]:
        """The Runtime of one stage, with its journal, its progress and its child run."""
        may_build = not self.planning and self.only in (None, name)
        may_build = may_build and (self.buildable is None or name in self.buildable)
        observers = tuple(make(title) for make in self.observers)
        progress = StageDisplay(self.display, title, others=observers)
        self._progress = progress
        if self.planning:
            quiet = Silent()
            runtime = self.config.runtime.build(
                device=self.device, journal=quiet, progress=quiet, may_build=False
            )
            yield replace(runtime, verify="sizes")
            return
        assert self.tracking is not None  # open_run made it
        try:
            with self.tracking.stage(title) as journal:
                yield self.config.runtime.build(
                    device=self.device, journal=journal, progress=progress, may_build=may_build
                )
        finally:
            progress.event("ended", {})

    @property
    def building(self) -> str | None:
        """`stage@<12 digits>` of the artifact the current stage is building, if it is."""
        return self._progress.building if self._progress is not None else None

    def plan_only(self, stage: str, title: str) -> Planned:
        """Record that a plan would build this stage (the registry is an action, always done)."""
        outcome = "do" if stage == "registry" else "build"
        self.records.append(StageRecord(stage, title, outcome, 0.0, ""))
        return Planned(stage)

    def finished(self, stage: str, title: str, noun: Any) -> None:
        """Record, show and track a stage that is done."""
        if self.planning:
            self.records.append(StageRecord(stage, title, "reuse", 0.0, getattr(noun, "ref", "")))
            return
        progress = self._progress
        assert progress is not None  # `stage` made it
        seconds = time.monotonic() - progress.started
        is_artifact = isinstance(noun, Artifact)
        outcome = progress.outcome if is_artifact else "done"
        ref = noun.ref if is_artifact else getattr(noun, "summary", "")
        resumed = outcome == "built" and bool(noun.facts.get("resumed"))
        self.records.append(StageRecord(stage, title, outcome, seconds, ref, resumed))
        mark = {"reused": "=", "built": "+"}.get(outcome, ".")
        facts = headline(noun.manifest) if is_artifact else ref
        self.display.line(f"{mark} {title:<14} {outcome:<7} {clock(seconds):>8}  {facts}")
        if is_artifact and self.tracking is not None:
            self.tracking.log_stage(noun, figures_of(noun, self.root) if outcome == "built" else {})
        self._reached = self._reached or stage == self.only


def headline(manifest: Manifest) -> str:
    """The few facts of an artifact that fit behind its name on the terminal."""
    facts = manifest.facts
    shown = []
    for name in (
        "documents", "documents_kept", "bytes_kept", "vocab_size", "bytes_per_token",
        "train_tokens",
        "train", "held_out", "num_parameters", "final_train_loss", "best_validation_loss",
        "bits_per_byte", "exact_match", "size_bytes",
    ):  # fmt: skip
        value = facts.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        text = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
        shown.append(f"{name.replace('_', ' ')} {text}")
    return " · ".join([manifest.ref, *shown[:4]])


def resolve_device(wanted: str) -> str:
    """`auto` is cuda where torch sees an NVIDIA GPU; ConfigError for a GPU that is absent."""
    import torch  # heavy: only runs need it

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "runtime.device=cuda but torch sees no NVIDIA GPU; use runtime.device=auto or install "
            "the driver and a CUDA build of torch"
        )
    return wanted


def code_tags() -> dict[str, str]:
    """Tags that say which code ran."""
    state = code_state()
    return {
        name: str(state[name]) for name in ("git_commit", "git_dirty") if state[name] is not None
    }


def new_run_id() -> str:
    """Sortable and unique: `20261120-204301-3fa9c2`."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(3)


def run_name(model: str, flow: str, run_id: str) -> str:
    """`pydocs 11-20 20:43 language-model`, in UTC: MLflow's list cuts names after 20 letters."""
    month, day, hour, minute = run_id[4:6], run_id[6:8], run_id[9:11], run_id[11:13]
    return f"{model} {month}-{day} {hour}:{minute} {flow}"


class Interrupted(SystemExit):
    """SIGTERM arrived and the training loop has saved what it had."""


def _raise_terminated(_number: int, _frame: FrameType | None) -> None:
    raise Interrupted(143)


@contextmanager
def open_run(
    config: RunConfig, *, root: Path, display: Display, name: str, orchestrated: bool = False,
    planning: bool = False, only: str | None = None, tags: dict[str, str] | None = None,
    observers: tuple[Callable[[str], Progress], ...] = (),
    may_build: frozenset[str] | None = None, command: str = "",
) -> Iterator[Run]:  # fmt: skip
    """Open the stores, give the run an id, and close everything on every way out."""
    device = "cpu" if planning else resolve_device(config.runtime.device)
    config = with_start(config, root, remember=not planning)
    run_id = new_run_id()
    tracking = None
    if not planning:
        tracking = start_tracking(
            config.tracking, root, run_id, run_name(config.registry.name, name, run_id),
            {**code_tags(), **(tags or {})},
        )  # fmt: skip
        tracking.params(plain(config))
        write_json(root / "journal" / run_id / "config.json", plain(config))
    run = Run(
        config, root, run_id, display, tracking, device,
        orchestrated=orchestrated, planning=planning, only=only, observers=observers,
        buildable=may_build, command=command,
    )  # fmt: skip
    status: Status = "FAILED"
    if not planning and (orphans := clear_orphans(root)):
        size = sum(one.num_bytes for one in orphans) / 1e6
        display.line(f"removed {len(orphans)} temporary files of killed runs, {size:,.1f} MB")
    try:
        yield run
        status = "FINISHED"
    except OnlyReached:
        status = "FINISHED"
    except Exception as error:
        status = "KILLED" if isinstance(error, Preempted) else "FAILED"
        raise
    except BaseException:  # Ctrl-C, SIGTERM, and Prefect's own signal for a cancelled run
        status = "KILLED"
        raise
    finally:
        if tracking is not None:
            records = [asdict(record) for record in run.records]
            with suppress(OSError):  # a full disk must not hide why the run ended
                write_json(root / "journal" / run_id / "stages.json", records)
            tracking.finish(status)


@contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Outside the training loop, which handles it itself, SIGTERM ends the run with code 143."""
    previous = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
