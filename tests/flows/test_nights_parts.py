"""What a night is made of: what arrived, what is announced, what is drawn again, what goes."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from flows.display import Display
from flows.housekeeping import clear, own_root
from flows.nights import Nights, arrived
from flows.run import open_run
from flows.settings import HousekeepingSettings, root_of_environment
from flows.watching import look, remember
from pipeline.config import RunConfig, validate
from pipeline.stages.blend_shards import choose_documents
from pipeline.store.errors import ConfigError, DataError
from pipeline.store.runtime import Runtime
from tests.flows.nights_world import settings_of


def config_of(root: Path, incoming: Path) -> RunConfig:
    settings = settings_of(root, incoming)
    settings["clean"]["sources"] = settings["clean"]["sources"][1:]
    return validate(settings, where="test")


def test_sources_without_any_file_are_an_error(tmp_path):
    config = config_of(tmp_path / "root", tmp_path / "nowhere")
    with pytest.raises(DataError, match="no source has any input"):
        arrived(config.clean.sources, Nights(tmp_path, "small"), root=tmp_path, runtime=Runtime())


def test_new_files_keep_the_names_they_have_below_their_folder(tmp_path):
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / "x.txt").write_text("one")
    (tmp_path / "in" / "x.txt").write_text("two")
    config = config_of(tmp_path / "root", tmp_path / "in")
    found = arrived(
        config.clean.sources, Nights(tmp_path, "small"), root=tmp_path, runtime=Runtime()
    )
    assert set(found.files) == {"a/x.txt", "x.txt"}
    names = {file.name for source in found.sources for file in source.found()}
    assert names == {"a/x.txt", "x.txt"}


def test_watcher_announces_resting_files_once(tmp_path):
    incoming = tmp_path / "in"
    incoming.mkdir()
    config = config_of(tmp_path / "root", incoming)
    (incoming / "one.txt").write_text("some text")
    assert "waiting until it rests" in look(config, rest_seconds=3600)[1]
    found, reason = look(config, rest_seconds=0)
    assert (found.files, reason) == (("one.txt",), "")
    remember(config, found)
    assert look(config, rest_seconds=0)[1] == "these files were announced already"
    (incoming / "two.txt").write_text("more text")
    found, reason = look(config, rest_seconds=0)
    assert (len(found.files), reason) == (2, "")


@pytest.mark.parametrize("budget", [0, 1, 50, 1000, 10_000])
def test_drawn_documents_come_as_near_to_the_budget_as_whole_documents_can(budget):
    lengths = np.random.default_rng(0).integers(3, 200, 60)
    chosen = choose_documents(lengths, budget, np.random.default_rng(1))
    assert (np.diff(chosen) > 0).all()  # each at most once
    taken = int(lengths[chosen].sum())
    assert abs(taken - budget) <= 100 or taken == lengths.sum() < budget


def aged(path: Path, seconds: float) -> Path:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))
    return path


def test_housekeeping_takes_old_leftovers_and_nothing_else(tmp_path):
    day = 86_400
    for folder in ("clean/aaaaaaaaaaaa", "clean/bbbbbbbbbbbb", "clean/cccccccccccc", "prefect"):
        (tmp_path / folder).mkdir(parents=True)
    finished = tmp_path / "clean" / "aaaaaaaaaaaa"
    (finished / "manifest.json").write_text("{}")
    old = aged(finished / "manifest.json", 30 * day)
    gone = tmp_path / "clean" / "bbbbbbbbbbbb"
    (gone / "part.bin").write_bytes(b"1234")
    aged(gone / "part.bin", 20 * day)
    aged(gone, 20 * day)
    fresh = tmp_path / "clean" / "cccccccccccc"
    (fresh / ".x.json.tmp-42").write_text("")
    aged(fresh / ".x.json.tmp-42", 2 * day)
    theirs = tmp_path / "prefect" / "y.tmp-42"
    theirs.write_text("")
    aged(theirs, 30 * day)
    looked = clear(tmp_path, HousekeepingSettings(), dry_run=True)
    assert {one.path for one, _ in looked} == {
        "clean/bbbbbbbbbbbb", "clean/cccccccccccc/.x.json.tmp-42"
    }  # fmt: skip
    assert gone.is_dir()
    assert all(went for _, went in clear(tmp_path, HousekeepingSettings(), dry_run=False))
    assert not gone.exists() and fresh.is_dir() and old.is_file() and theirs.is_file()
    assert clear(tmp_path, HousekeepingSettings(), dry_run=False) == []


def test_housekeeping_keeps_out_of_what_is_no_root_of_ours(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(ConfigError, match="it is no root of earlier runs; leave root empty"):
        own_root(tmp_path)
    (tmp_path / "journal").mkdir()
    assert own_root(tmp_path) == tmp_path
    assert own_root(tmp_path / "new").is_dir()


@pytest.mark.parametrize(
    ("value", "root"),
    [("/data/mill", "/data/mill"), ("", None), ("{{ $GRISTMILL_ROOT }}", None)],
)
def test_placeholder_of_an_unset_variable_is_no_root(monkeypatch, value, root):
    monkeypatch.setenv("GRISTMILL_ROOT", value)
    assert root_of_environment() == root


def test_a_run_begins_by_clearing_what_was_temporary_for_a_day(tmp_path):
    (tmp_path / "resolved").mkdir()
    old = aged(_written(tmp_path / "resolved" / ".x.json.tmp-42"), 25 * 3600)
    folder = tmp_path / "parts" / "clean" / ".y.tmp-43"
    folder.mkdir(parents=True)
    aged(_written(folder / "part.bin"), 25 * 3600)
    aged(folder, 25 * 3600)
    fresh = _written(tmp_path / "resolved" / ".z.json.tmp-44")
    settings = settings_of(tmp_path, tmp_path / "incoming")
    settings["tracking"] = {"enabled": False, "system_metrics_seconds": None}
    told = Recorded(quiet=True)
    with open_run(validate(settings, where="test"), root=tmp_path, display=told, name="t"):
        assert not old.exists() and not folder.exists() and fresh.exists()
    assert told.lines == ["removed 2 temporary files of killed runs, 0.0 MB"]


class Recorded(Display):
    """A display that remembers."""

    lines: list[str] = []

    def line(self, text: str, *, style: str | None = None) -> None:
        self.lines = [*self.lines, text]


def _written(path: Path) -> Path:
    path.write_text("half")
    return path
