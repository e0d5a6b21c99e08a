"""A finished run to report on, made once."""

import pytest

from tests.reports.world import World, make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="session")
def winning_world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("winning"), bits=0.5)
