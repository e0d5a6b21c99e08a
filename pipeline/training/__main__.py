"""`python -m pipeline.training JOB.json`: train one job, alone or under torchrun.

The only place below `flows/` that reads RANK, WORLD_SIZE and LOCAL_RANK. Imports neither prefect,
mlflow, datasets, pydantic nor typer. Exit codes are those of the errors; 143 after SIGTERM.
"""

import argparse
import ctypes
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed

from pipeline.store.errors import MillError
from pipeline.store.runtime import Journal, Progress, Silent
from pipeline.tracking.journal import FileJournal
from pipeline.training.devices import World
from pipeline.training.job import read_job
from pipeline.training.launch import FactSheets, Reporter
from pipeline.training.loop import train

PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Printed(Silent):
    """Progress for a person at a terminal: one line per event, on stderr."""

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Print it."""
        print(
            f"{name}: {json.dumps(dict(facts), ensure_ascii=False, default=str)}", file=sys.stderr
        )


def main(arguments: Sequence[str]) -> int:
    """Run the job; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.training", description=__doc__)
    parser.add_argument("job", type=Path, help="the job file a stage wrote")
    parser.add_argument("--parent", type=int, help="end when this process ends; report JSON lines")
    parser.add_argument("--rank", type=int, help="with --processes and --port: as torchrun's RANK")
    parser.add_argument(
        "--processes", type=int, help="processes that train together on this machine"
    )
    parser.add_argument("--port", type=int, help="loopback port where they meet")
    options = parser.parse_args(arguments)
    if options.parent is not None and not _tie_life_to(options.parent):
        return 1
    meeting = None
    if options.processes is not None:
        world = World(rank=options.rank, size=options.processes, local_rank=options.rank)
        meeting = f"tcp://127.0.0.1:{options.port}"
    else:
        world = World(
            rank=int(os.environ.get("RANK", "0")),
            size=int(os.environ.get("WORLD_SIZE", "1")),
            local_rank=int(os.environ.get("LOCAL_RANK", "0")),
        )
    reporter = Reporter(sys.stdout) if options.parent is not None else None
    try:
        facts = _run(options.job, world, reporter, meeting)
    except MillError as error:
        if reporter is not None:
            reporter.say("error", message=str(error))
        else:
            print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if reporter is not None and world.leads:
        reporter.say("finished", facts=facts)
    elif world.leads:
        print(json.dumps(facts, indent=1))
    return 0


def _run(
    job_file: Path, world: World, reporter: Reporter | None, meeting: str | None
) -> dict[str, Any]:
    job = read_job(job_file)
    journal: Journal = Silent()
    progress: Progress = Silent()
    if world.leads and reporter is not None:
        journal, progress = FactSheets(reporter.stream), reporter
    elif world.leads:
        journal = FileJournal(Path(job.journal)) if job.journal else Silent()
        progress = Printed()
    if world.size == 1:
        return train(job, journal, progress, world)
    on_gpu = job.device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(world.local_rank)
    torch.distributed.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=meeting or "env://",
        rank=world.rank,
        world_size=world.size,
    )
    facts = train(job, journal, progress, world)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    return facts


def _tie_life_to(parent: int) -> bool:
    """Ask the kernel to kill us when our parent dies; False when it already has."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # A failed process group may wait for its peers in its destructors; nothing is left to save.
    os._exit(code)
