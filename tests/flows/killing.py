"""Run the small graph in a child that kills itself with -9 inside a chosen stage.

The kill comes with the n-th `os.replace` or `os.fsync` of that stage: in the middle of writing.
"""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.flows.killing_imports"])


def run_in_child(settings: dict, *, kill_in: str | None = None, at_call: int = 0) -> int:
    """The exit code of a run (-9 when it killed itself)."""
    return _exit_code(settings, kill_in, at_call, night=False)


def night_in_child(settings: dict, *, kill_in: str | None = None, at_call: int = 0) -> int:
    """The same for one night of continued training."""
    return _exit_code(settings, kill_in, at_call, night=True)


def _exit_code(settings: dict, kill_in: str | None, at_call: int, *, night: bool) -> int:
    process = _context.Process(target=_run, args=(settings, kill_in, at_call, night))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _run(settings: dict, kill_in: str | None, at_call: int, night: bool) -> None:
    from flows.continue_training import run_night
    from flows.display import Display
    from flows.language_model import run_language_model
    from flows.run import Call, Run
    from pipeline.config import validate

    current = {"stage": "", "calls": 0}
    before = Run.before

    def note(self: Run, stage: str) -> None:
        current["stage"] = stage
        before(self, stage)

    Run.before = note  # type: ignore[method-assign]

    def counted(original: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if current["stage"] == kill_in:
                current["calls"] += 1
                if current["calls"] == at_call:
                    os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **keywords)

        return call

    if kill_in is not None:
        os.replace = counted(os.replace)
        os.fsync = counted(os.fsync)
    config = validate(settings, where="test")
    run = run_night if night else run_language_model
    run(config, Call(Display(quiet=True)), orchestrated=False)


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
