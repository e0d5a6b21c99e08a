"""One tiny exported model, base and tuned, for all serving tests."""

from pathlib import Path

import pytest
import torch

from pipeline.serving.loading import LoadedModel, load_model
from tests.registry.worlds import World


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A root with a base and a tuned export."""
    torch.set_num_threads(1)
    world = World(tmp_path_factory.mktemp("served"))
    base = world.base()
    eval_set = world.eval_set()
    world.exported(base, world.report(base, eval_set, bits=1.5))
    tuned = world.tuned(base)
    world.exported(tuned, world.report(tuned, eval_set, bits=1.6))
    return world


@pytest.fixture(scope="session")
def base_export(served: World) -> Path:
    base = served.base()
    return served.exported(base, served.report(base, served.eval_set(), bits=1.5)).path


@pytest.fixture(scope="session")
def tuned_export(served: World) -> Path:
    tuned = served.tuned(served.base())
    return served.exported(tuned, served.report(tuned, served.eval_set(), bits=1.6)).path


@pytest.fixture(scope="session")
def base_model(served: World, base_export: Path) -> LoadedModel:
    return load_model(str(base_export), served.root)


@pytest.fixture(scope="session")
def tuned_model(served: World, tuned_export: Path) -> LoadedModel:
    return load_model(str(tuned_export), served.root)
