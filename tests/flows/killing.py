"""Run the small graph in a child that kills itself with -9 inside a chosen stage.

The kill comes with the n-th `os.replace` or `os.fsync` of that stage: in the middle of writing.
"""

import errno
import multiprocessing
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

FULL = 200
"""Bytes: less than any artifact has."""
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.flows.killing_imports"])


def run_in_child(
    settings: dict, *, kill_in: str | None = None, at_call: int = 0, fault: str = "kill"
) -> int:
    """The exit code of a run (-9 when it killed itself).

    `fault`: `kill` is kill -9, `terminate` SIGTERM, both at a call; from a `full_disk` on no file
    of the stage may grow beyond a few hundred bytes.
    """
    return _exit_code(settings, kill_in, at_call, night=False, fault=fault)


def night_in_child(settings: dict, *, kill_in: str | None = None, at_call: int = 0) -> int:
    """The same for one night of continued training."""
    return _exit_code(settings, kill_in, at_call, night=True)


def _exit_code(
    settings: dict, kill_in: str | None, at_call: int, *, night: bool, fault: str = "kill"
) -> int:
    process = _context.Process(target=_run, args=(settings, kill_in, at_call, night, fault))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _run(
    settings: dict, kill_in: str | None, at_call: int, night: bool, fault: str = "kill"
) -> None:
    from flows.continue_training import run_night
    from flows.display import Display
    from flows.language_model import run_language_model
    from flows.run import Call, Run, sigterm_as_exit
    from pipeline.config import validate
    from pipeline.store.errors import MillError

    current = {"stage": "", "calls": 0}
    before = Run.before

    def note(self: Run, stage: str) -> None:
        current["stage"] = stage
        full = fault == "full_disk" and stage == kill_in and not self.planning
        limit = FULL if full else resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        before(self, stage)

    Run.before = note  # type: ignore[method-assign]

    def counted(original: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if current["stage"] == kill_in:
                current["calls"] += 1
                if current["calls"] == at_call:
                    os.kill(os.getpid(), signals[fault])
            return original(*arguments, **keywords)

        return call

    signals = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM}
    if kill_in is not None and fault in signals:
        os.replace = counted(os.replace)
        os.fsync = counted(os.fsync)
    config = validate(settings, where="test")
    run = run_night if night else run_language_model
    try:
        with sigterm_as_exit():
            run(config, Call(Display(quiet=True)), orchestrated=False)
    except MillError as error:
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        sys.exit(4)  # as the command line ends where there is no room


def identities(root: Path) -> dict[str, str]:
    """What must be the same however often a run was killed: fingerprints, weights, kept text."""
    from pipeline.artifacts import finished_artifacts

    found = {}
    for artifact in finished_artifacts(root):
        found[artifact.ref] = artifact.fingerprint
        for name, facts in artifact.manifest.files.items():
            if name.endswith((".safetensors", ".tiktoken", ".arrow")):
                found[f"{artifact.ref}/{name}"] = facts.sha256
    return found
