import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from pipeline.corpus import reading
from pipeline.corpus.reading import read_sources
from pipeline.corpus.sources import AnySource
from pipeline.corpus.sources.jsonl import JsonlSource
from pipeline.corpus.sources.stat_cache import StatCache
from pipeline.store.errors import ArtifactError, ConfigError, NotBuilt
from pipeline.store.fingerprint import digest, short
from pipeline.store.runtime import Runtime

CHECKOUT = Path(reading.__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "in"
    path.mkdir()
    for name in ("a", "b", "c"):
        rows = [json.dumps({"id": f"{name}{i}", "text": f"{name} text {i}"}) for i in range(5)]
        (path / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    return path


def source(path, name="web", **settings) -> JsonlSource:
    return JsonlSource(name=name, paths=(str(path),), **settings)


def age(path: Path) -> None:
    """Set the time of a file far enough back that the stat cache remembers it."""
    os.utime(path, (1_700_000_000, 1_700_000_000))


def test_one_part_per_file_in_order(folder, read):
    result = read(source(folder))
    assert len(result.parts) == 3
    assert list(result.documents) == [f"web/{name}/{name}{i}" for name in "abc" for i in range(5)]


def test_same_content_elsewhere_has_the_same_fingerprints(folder, tmp_path, read):
    shutil.copytree(folder, tmp_path / "elsewhere" / "deep")
    first = read(source(folder))
    second = read(source(tmp_path / "elsewhere" / "deep"), root=tmp_path / "other-root")
    assert first.fingerprints == second.fingerprints
    for one, two in zip(first.parts, second.parts, strict=True):
        assert one.documents_path.read_bytes() == two.documents_path.read_bytes()


def test_touched_file_is_the_same_and_changed_file_is_not(folder, read):
    first = read(source(folder))
    os.utime(folder / "a.jsonl", (1, 1))
    assert read(source(folder)).fingerprints == first.fingerprints
    (folder / "a.jsonl").write_text('{"text": "new"}\n')
    changed = read(source(folder)).fingerprints
    assert changed[0] != first.fingerprints[0]
    assert changed[1:] == first.fingerprints[1:]


def test_tolerance_is_not_identity_and_reading_rules_are(folder, read):
    first = read(source(folder)).fingerprints
    assert read(source(folder, max_bad_fraction=0.5)).fingerprints == first
    assert read(source(folder, max_line_bytes=1000)).fingerprints != first


def test_fingerprints_and_documents_are_frozen(folder, read):
    # They change only with a new STAGE_VERSION in pipeline/corpus/reading.py.
    result = read(source(folder))
    content = [result.documents, result.metadata, result.quarantine]
    assert (short(result.fingerprints[0]), short(digest(content))) == (
        "51fa019f4998",
        "8477f1d727d5",
    )


def test_second_read_parses_nothing(folder, read, monkeypatch):
    first = read(source(folder))

    def refuse(job, directory):
        raise AssertionError("parsed again")

    monkeypatch.setattr(reading, "_parse", refuse)
    assert read(source(folder)).fingerprints == first.fingerprints


def test_workers_write_the_same_bytes(folder, tmp_path, read):
    inline = read(source(folder))
    pooled = read(source(folder), root=tmp_path / "pool", runtime=Runtime(workers=2))
    assert pooled.documents == inline.documents
    assert pooled.fingerprints == inline.fingerprints


def test_equal_files_of_one_name_are_one_part_used_twice(tmp_path, folder, read):
    parts = read(source(folder / "a.jsonl")).parts
    again = read_sources(
        [source(folder / "a.jsonl"), source(folder / "a.jsonl", name="copy")],
        root=tmp_path / "root", runtime=Runtime(),
    )  # fmt: skip
    assert again[0].path == parts[0].path
    assert again[1].path != parts[0].path  # the source's name is a column of the documents


def test_progress_counts_parts(folder, tmp_path, recorder):
    read_sources([source(folder)], root=tmp_path / "r", runtime=Runtime(progress=recorder))
    assert recorder.advances == [(1, 3), (2, 3), (3, 3)]


def test_quarantine_is_reported_as_a_warning(folder, tmp_path, recorder):
    with open(folder / "a.jsonl", "a") as handle:
        handle.write("bad\n")
    runtime = Runtime(progress=recorder)
    read_sources([source(folder, max_bad_fraction=0.2)], root=tmp_path / "r", runtime=runtime)
    assert "1 bad records are in quarantine, bad_json 1" in recorder.messages("warning")


def test_two_sources_of_one_name_are_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match="two sources are named 'web'"):
        read_sources([source(folder), source(folder)], root=tmp_path, runtime=Runtime())


def test_no_source_at_all_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="sources is empty"):
        read_sources([], root=tmp_path, runtime=Runtime())


def test_damaged_part_is_found_before_it_is_used(folder, read):
    part = read(source(folder)).parts[0]
    data = bytearray(part.documents_path.read_bytes())
    data[len(data) // 2] ^= 1
    part.documents_path.write_bytes(data)
    with pytest.raises(ArtifactError, match="documents.arrow is damaged"):
        read(source(folder))


def test_run_that_may_not_build_says_so(folder, tmp_path):
    with pytest.raises(NotBuilt):
        read_sources([source(folder)], root=tmp_path / "r", runtime=Runtime(may_build=False))


def growing(monkeypatch, path: Path, times: int) -> None:
    """Let `path` grow by a row each of the first `times` that a file is read."""
    parse = JsonlSource.parse
    left = [times]

    def parse_and_touch(self, unit, writer):
        parse(self, unit, writer)
        if left[0]:
            left[0] -= 1
            with open(path, "a") as handle:
                handle.write('{"text": "more"}\n')

    monkeypatch.setattr(JsonlSource, "parse", parse_and_touch)


def test_file_that_changes_once_while_it_is_read_is_read_again(folder, read, monkeypatch):
    growing(monkeypatch, folder / "a.jsonl", times=1)
    assert list(read(source(folder / "a.jsonl")).documents)[-1] == "web/a/5"


def test_file_that_never_rests_is_quarantined_and_the_others_are_read(folder, read, monkeypatch):
    growing(monkeypatch, folder / "a.jsonl", times=100)
    result = read(source(folder, max_bad_fraction=0.5))
    assert {doc_id.split("/")[1] for doc_id in result.documents} == {"b", "c"}
    assert result.quarantine[0]["file"] == "a.jsonl"
    assert result.reasons == ["changed_while_read"]


def test_stat_cache_rehashes_only_what_changed(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_text("one")
    age(path)
    cache = StatCache(tmp_path / "cache.json")
    first = cache.sha256([str(path)])
    cache.save()
    monkeypatch.setattr("pipeline.corpus.sources.stat_cache.sha256_file", lambda p: "hashed again")
    assert StatCache(tmp_path / "cache.json").sha256([str(path)]) == first
    path.write_text("two")
    assert StatCache(tmp_path / "cache.json").sha256([str(path)]) == ["hashed again"]


def test_stat_cache_does_not_trust_a_file_written_just_now(tmp_path):
    path = tmp_path / "x"
    path.write_text("one")
    os.utime(path, ns=(time.time_ns(), time.time_ns()))
    cache = StatCache(tmp_path / "cache.json")
    cache.sha256([str(path)])
    cache.save()
    assert not (tmp_path / "cache.json").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"/x": 1}', "\xff"])
def test_broken_stat_cache_counts_as_empty(tmp_path, content):
    (tmp_path / "cache.json").write_text(content, encoding="latin-1")
    (tmp_path / "x").write_text("one")
    assert len(StatCache(tmp_path / "cache.json").sha256([str(tmp_path / "x")])[0]) == 64


def test_sources_are_told_apart_by_kind():
    adapter: TypeAdapter = TypeAdapter(AnySource)
    kinds = [
        {"kind": "jsonl", "name": "a", "paths": ["x"]},
        {"kind": "parquet", "name": "a", "paths": ["x"]},
        {"kind": "text", "name": "a", "paths": ["x"]},
        {"kind": "huggingface", "name": "a", "dataset": "x"},
        {"kind": "pydocs"},
    ]
    assert [adapter.validate_python(kind).kind for kind in kinds] == [
        kind["kind"] for kind in kinds
    ]


def test_worker_module_loads_nothing_heavy():
    code = (
        "import sys, pipeline.corpus.reading;"
        "print(*sorted({'torch', 'prefect', 'mlflow', 'datasets', 'transformers', 'pandas'}"
        " & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_part_that_a_killed_run_left_unfinished_is_built_anew(folder, read):
    first = read(source(folder))
    part = first.parts[1]
    (part.path / "manifest.json").unlink()
    part.documents_path.write_bytes(b"half a file")
    (part.path / "leftover").write_text("x")
    second = read(source(folder))
    assert second.documents == first.documents
    assert not (part.path / "leftover").exists()
