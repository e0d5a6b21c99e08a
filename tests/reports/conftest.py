"""A finished run to report on, made once."""

import pytest

from pipeline.artifacts import CleanedCorpus
from tests.reports.corpus_world import make_dirty_corpus
from tests.reports.world import World, make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="session")
def winning_world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("winning"), bits=0.5)


@pytest.fixture(scope="session")
def dirty_corpus(tmp_path_factory) -> CleanedCorpus:
    place = tmp_path_factory.mktemp("dirty")
    return make_dirty_corpus(place / "root", place / "in")
