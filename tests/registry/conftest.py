"""One world of exports shared by all tests, and a fresh registry over it for each."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.registry.worlds import World
from tests.tracking.databases import fresh_root, migrated_database


@pytest.fixture(scope="session")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world whose artifacts are made once."""
    torch.set_num_threads(1)
    return World(fresh_root(tmp_path_factory.mktemp("registry") / "root"))


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    """The shared world with an empty registry."""
    root = shared_world.root
    shutil.copyfile(migrated_database(), root / "mlflow.db")
    yield shared_world
    for name in ("journal", "mlartifacts", "downloads"):
        shutil.rmtree(root / name, ignore_errors=True)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory with nothing of ours in it."""
    return tmp_path
