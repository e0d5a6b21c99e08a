"""Running a job: in this process, or one process per device whose lives end with ours.

stage -> run_job -> train()                                            one device
                 '-> python -P ... pipeline.training JOB --parent PID   one per device
                        |
                        '-> stdout, one JSON line per report -> runtime.progress, .journal
"""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipeline.store.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    MillError,
    TrainingError,
)
from pipeline.store.files import read_json, write_json
from pipeline.store.provenance import CHECKOUT
from pipeline.store.runtime import Journal, Progress, Runtime
from pipeline.training.devices import num_processes
from pipeline.training.job import TrainingJob, write_job
from pipeline.training.stopping import Preempted, stop_requested, stopping_on_sigterm

JOB_FILE = "job.json"
FACTS_FILE = "facts.json"
POLL_SECONDS = 0.1
_ENTRY = (  # `python -m pipeline.training` from this very checkout, installed or not
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module('pipeline.training', run_name='__main__', alter_sys=True)"
)
_ERRORS: dict[int, type[MillError]] = {
    kind.exit_code: kind
    for kind in (ConfigError, DataError, ArtifactError, TrainingError, Preempted)
}


def run_job(job: TrainingJob, runtime: Runtime) -> dict[str, Any]:
    """Train, from the newest checkpoint if there is one; the facts for the manifest.

    A finished run leaves `facts.json`: killed after that, nothing is trained again.
    """
    done = job.path / FACTS_FILE
    if done.is_file():
        finished = read_json(done)
        if finished.get("digest") == job.digest:
            return dict(finished["facts"])
    write_job(job.path / JOB_FILE, job)
    processes = num_processes(job.device)
    if processes == 1:
        from pipeline.training.loop import train  # heavy: torch.distributed

        facts = train(job, runtime.journal, runtime.progress)
    else:
        facts = spawn(job.path / JOB_FILE, runtime.journal, runtime.progress, processes=processes)
    write_json(done, {"digest": job.digest, "facts": facts})
    return facts


@dataclass(frozen=True)
class Line:
    """One line a process wrote, or its end (`text` is None)."""

    rank: int
    text: str | None


def spawn(
    job_file: Path, journal: Journal, progress: Progress, *, processes: int
) -> dict[str, Any]:
    """Run the job in `processes` processes on this machine and relay what the first one reports.

    SIGTERM to this process lets the first save a checkpoint. Whatever happens, none is left behind.
    """
    children = [
        _start(job_file, rank, processes, port)
        for port in [_free_port()]
        for rank in range(processes)
    ]
    lines: queue.Queue[Line] = queue.Queue()
    for rank, child in enumerate(children):
        assert child.stdout is not None
        threading.Thread(target=_read, args=(rank, child.stdout, lines), daemon=True).start()
    relay = Relay(journal, progress)
    try:
        with stopping_on_sigterm():
            return _supervise(children, lines, relay)
    finally:
        for child in children:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _supervise(
    children: list[subprocess.Popen[str]], lines: "queue.Queue[Line]", relay: "Relay"
) -> dict[str, Any]:
    told = False
    while True:
        if stop_requested() and not told:
            children[0].send_signal(signal.SIGTERM)
            told = True
        try:
            line = lines.get(timeout=POLL_SECONDS)
        except queue.Empty:
            continue
        if line.text is not None:
            relay.take(line.text)
            continue
        code = children[line.rank].wait()
        if code != 0:
            kind = _ERRORS.get(code, TrainingError)
            message = relay.error or f"training process {line.rank} ended with exit code {code}"
            raise kind(message)
        if line.rank == 0:
            return relay.facts


@dataclass
class Relay:
    """Turns a process's JSON lines back into calls of Journal and Progress."""

    journal: Journal
    progress: Progress
    facts: dict[str, Any] = None  # type: ignore[assignment]
    error: str = ""

    def take(self, line: str) -> None:
        """Pass on one line; text that is no report (a library's print) is ignored."""
        try:
            report = json.loads(line)
            kind = report["report"]
        except (ValueError, KeyError, TypeError):
            return
        if kind == "advance":
            self.progress.advance(report["done"], report["total"], report["unit"])
        elif kind == "event":
            self.progress.event(report["name"], report["facts"])
        elif kind == "metrics":
            self.journal.metrics(report["values"], step=report["step"])
        elif kind == "fact_sheet":
            self.journal.event(report["name"], report["facts"])
        elif kind == "finished":
            self.facts = report["facts"]
        elif kind == "error" and not self.error:
            self.error = report["message"]


class Reporter:
    """A Journal and a Progress in a training process: one JSON line each on stdout."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def say(self, report: str, **values: Any) -> None:
        """Write one line."""
        self.stream.write(json.dumps({"report": report, **values}, default=str) + "\n")
        self.stream.flush()

    def advance(self, done: float, total: float | None, unit: str) -> None:
        """Progress.advance."""
        self.say("advance", done=done, total=total, unit=unit)

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Journal.metrics."""
        self.say("metrics", values=dict(values), step=step)

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Progress.event."""
        self.say("event", name=name, facts=dict(facts))


class FactSheets(Reporter):
    """The journal's side of a Reporter: its events are fact sheets."""

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Journal.event."""
        self.say("fact_sheet", name=name, facts=dict(facts))


def _start(job_file: Path, rank: int, processes: int, port: int) -> subprocess.Popen[str]:
    """One process in a group of its own; `--parent` ties its life to ours (PR_SET_PDEATHSIG)."""
    options = {"parent": os.getpid(), "rank": rank, "processes": processes, "port": port}
    # -P: a `model.py` or `pipeline.py` in the current directory must not stand in for ours.
    return subprocess.Popen(
        [
            sys.executable, "-P", "-c", _ENTRY, str(CHECKOUT), str(job_file),
            *(word for name, value in options.items() for word in (f"--{name}", str(value))),
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def _read(rank: int, stream: IO[str], lines: "queue.Queue[Line]") -> None:
    for text in stream:
        lines.put(Line(rank, text))
    lines.put(Line(rank, None))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
