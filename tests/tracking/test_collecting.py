"""What may go is what nothing leads to: no version, no recent run, no frozen set."""

import json
import os
import time
from pathlib import Path

import pytest

from pipeline.artifacts import DIRECTORIES
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import ArtifactError
from pipeline.store.fingerprint import short
from pipeline.store.runtime import Runtime
from pipeline.tracking.collecting import Garbage, Needs, find_garbage, remove
from pipeline.tracking.journal import FileJournal
from pipeline.tracking.run import claim

DAY = 86400.0
NOTHING = Needs(frozenset(), keep_seconds=0.0, keep_runs=0)


class Root:
    """Artifacts with a line of text each, linked by their inputs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fingerprints: dict[str, str] = {}

    def make(self, name: str, *inputs: str, parts: tuple[str, ...] = (), home: str = "") -> str:
        """Build `stage` or `stage.variant` from the named inputs; its reference."""
        stage = name.partition(".")[0]
        key = artifact_key(stage, 1, {"name": name}, [self.key(i) for i in inputs])
        place = home or DIRECTORIES[stage]
        folder = "tiny" if stage == "eval_set" else short(key.fingerprint)

        def work(directory: Path) -> Outcome:
            (directory / "data.txt").write_text(name)
            return Outcome(parts=parts)

        build(key, self.path / place / folder, work, root=self.path, runtime=Runtime())
        self.fingerprints[name] = key.fingerprint
        return f"{place}/{folder}"

    def key(self, name: str) -> str:
        return f"{name.partition('.')[0]}@{self.fingerprints[name]}"

    def run(self, name: str, days_ago: float, *artifacts: str) -> Path:
        """A run that made or reused the named artifacts."""
        directory = self.path / "journal" / name
        directory.mkdir(parents=True)
        began = int((time.time() - days_ago * DAY) * 1000)
        (directory / "run.json").write_text(json.dumps({"started": began}))
        for artifact in artifacts:
            stage, fingerprint = self.key(artifact).split("@")
            journal = FileJournal(directory / f"{stage}.jsonl")
            journal.event("tags", {"artifact": f"{stage}@{short(fingerprint)}"})
            journal.close()
        return directory


@pytest.fixture
def root(tmp_path):
    """Two corpora, tokenizers and models; the second model has a report."""
    made = Root(tmp_path / "root")
    made.make("eval_set")
    made.make("read", home="parts/read")
    for model in ("one", "two"):
        part = made.make(f"clean_part.{model}", "read", home="parts/clean")
        made.make(f"clean.{model}", "eval_set", parts=(part,))
        made.make(f"tokenizer.{model}", f"clean.{model}")
        made.make(f"pretrain.{model}", f"tokenizer.{model}")
        made.make(f"evaluate.{model}", f"pretrain.{model}", "eval_set")
        made.make(f"export.{model}", f"pretrain.{model}", f"tokenizer.{model}")
    return made


def names(garbage: list[Garbage]) -> set[str]:
    return {Path(item.path / "data.txt").read_text() for item in garbage}


def everything_of(model: str) -> set[str]:
    stages = ("clean_part", "clean", "tokenizer", "pretrain", "evaluate", "export")
    return {f"{stage}.{model}" for stage in stages}


def test_a_registered_version_keeps_its_lineage_its_parts_and_reports_about_it(root):
    needs = Needs(frozenset({root.fingerprints["export.one"]}), keep_seconds=0.0, keep_runs=0)
    assert names(find_garbage(root.path, needs)) == everything_of("two")


def test_without_versions_and_runs_only_the_frozen_set_stays(root):
    expected = everything_of("one") | everything_of("two") | {"read"}
    assert names(find_garbage(root.path, NOTHING)) == expected


@pytest.mark.parametrize(
    ("days_ago", "needs"),
    [(3.0, Needs(frozenset(), keep_seconds=7 * DAY, keep_runs=0)),
     (300.0, Needs(frozenset(), keep_seconds=7 * DAY, keep_runs=1))],
    ids=["recent", "among the newest"],
)  # fmt: skip
def test_a_kept_run_keeps_what_it_reused(root, days_ago, needs):
    root.run("older", 400.0, "pretrain.one")
    root.run("run", days_ago, "pretrain.two")
    assert names(find_garbage(root.path, needs)) == everything_of("one") | {"export.two"}


def test_a_run_in_progress_stops_the_collection(root):
    descriptor = claim(root.run("busy", 0.0))
    assert descriptor is not None
    with pytest.raises(ArtifactError, match="busy is in progress"):
        find_garbage(root.path, NOTHING)
    os.close(descriptor)
    assert find_garbage(root.path, NOTHING)


def test_removal_frees_what_it_says_and_a_second_look_finds_nothing(root):
    needs = Needs(frozenset({root.fingerprints["export.one"]}), keep_seconds=0.0, keep_runs=0)
    garbage = find_garbage(root.path, needs)
    assert remove(garbage) == sum(item.bytes for item in garbage) > 0
    assert not any(item.path.exists() for item in garbage)
    assert find_garbage(root.path, needs) == []


def test_unfinished_work_and_links_out_of_the_root_are_left_alone(root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "manifest.json").write_text("{}")
    (root.path / "pretrain" / "linked").symlink_to(outside)
    (root.path / "pretrain" / "begun" / "checkpoints").mkdir(parents=True)
    remove(find_garbage(root.path, NOTHING))
    assert (outside / "manifest.json").is_file()
    assert (root.path / "pretrain" / "begun" / "checkpoints").is_dir()


def test_downloads_stay_while_an_alias_needs_them(root):
    for fingerprint in ("a" * 12, "b" * 12):
        (root.path / "downloads" / f"shop-1-{fingerprint}").mkdir(parents=True)
    needs = Needs(frozenset(), frozenset({"a" * 64}))
    found = [item.name for item in find_garbage(root.path, needs) if item.kind == "download"]
    assert found == [f"downloads/shop-1-{'b' * 12}"]


def test_the_chain_of_the_nights_stays_however_old(root):
    root.make("tokenize.one", "clean.one", "tokenizer.one")
    journal = FileJournal(root.path / "journal" / "nights-news.jsonl")
    facts = {name: "@".join((stage, short(root.fingerprints[f"{stage}.one"])))
             for name, stage in (("corpus", "clean"), ("shards", "tokenize"))}  # fmt: skip
    journal.event("joined", {**facts, "files": 1, "contents": ["a"]})
    journal.event("joined", {"corpus": facts["corpus"], "shards": None, "files": 1, "contents": []})
    journal.event("ended", {"trained": False})
    journal.close()
    gone = names(find_garbage(root.path, NOTHING))
    assert gone == (everything_of("one") | everything_of("two")) - {
        "clean_part.one", "clean.one", "tokenizer.one"
    }  # fmt: skip
