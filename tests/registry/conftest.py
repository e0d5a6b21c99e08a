"""One world of exports shared by all tests, and a fresh registry over it for each."""

import shutil
from pathlib import Path

import pytest
import torch

from tests.registry.worlds import World
from tests.tracking.databases import fresh_root


@pytest.fixture(scope="session")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world whose artifacts are made once."""
    torch.set_num_threads(1)
    world = World(fresh_root(tmp_path_factory.mktemp("registry") / "root"))
    base, eval_set = world.base(), world.eval_set()
    for checkpoint in (base, world.tuned(base)):
        world.exported(checkpoint, world.report(checkpoint, eval_set, bits=1.5))
    return world


@pytest.fixture
def world(shared_world: World, tmp_path: Path) -> World:
    """A copy of the shared world with an empty registry of its own."""
    root = fresh_root(tmp_path / "root")
    for home in ("eval-sets", "tokenizer", "examples", "pretrain", "finetune", "eval", "export"):
        if (shared_world.root / home).is_dir():
            shutil.copytree(shared_world.root / home, root / home)
    return World(root)
