"""A small run, two versions of a tiny model, and an interpreter that has none of our code."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.peer_environment import environment
from pipeline.tracking.config import default_uri
from pipeline.tracking.registry import opened
from tests.flows.conftest import CHECKOUT, small_run
from tests.registry.worlds import World

__all__ = ["small_run"]

ABSENT = "import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ('pipeline', 'flows'))))"
Example = Callable[..., list[str]]


@pytest.fixture(scope="session")
def clean_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with what the examples name; in the folder GRISTMILL_PEERS names, if set."""
    kept = os.environ.get("GRISTMILL_PEERS")
    python = environment(Path(kept) if kept else tmp_path_factory.mktemp("peers"), "consumer")
    assert subprocess.run([str(python), "-I", "-c", ABSENT], check=False).returncode == 0
    return python


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two versions of `tiny`, which answers prompts and messages; the first is the champion."""
    world = World(tmp_path_factory.mktemp("tiny"))
    for seed in (1, 2):
        tuned = world.tuned(world.base(), seed=seed)
        exported = world.exported(tuned, world.report(tuned, world.eval_set(), bits=1.5))
        with opened(world.root) as registry:
            registry.log("tiny", exported, tags={})
    crown(world, 1)
    return world


def crown(world: World, number: int) -> None:
    with opened(world.root) as registry:
        registry.crown(registry.get("tiny", number))


def uri(world: World) -> str:
    return default_uri(world.root.resolve())


@pytest.fixture
def example(clean_python: Path, tmp_path: Path) -> Example:
    """The command line of an example, copied to a place where it stands alone."""

    def command(name: str, *arguments: str) -> list[str]:
        shutil.copyfile(CHECKOUT / "examples" / name, tmp_path / name)
        return [str(clean_python), "-P", str(tmp_path / name), *arguments]

    return command


def alone(**more: str) -> dict[str, str]:
    """An environment in which nothing leads to this checkout."""
    dropped = ("PYTHONPATH", "VIRTUAL_ENV", "MLFLOW_TRACKING_URI")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "MLFLOW_DISABLE_TELEMETRY": "true", **more}
