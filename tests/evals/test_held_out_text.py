"""What a person writes as data, and what becomes of it."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.evals.held_out_text import read_held_out
from pipeline.store.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path):
    rows = [{"text": "Ein Satz.", "source": "wiki", "language": "de"}, {"text": "two"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"text": ""}\n')
    (tmp_path / "notes.txt").write_text("plain text")
    pq.write_table(pa.table({"text": ["from a table"]}), tmp_path / "t.parquet")
    return tmp_path


def test_a_folder_is_read_whole_whatever_its_files_are(folder):
    found = read_held_out(str(folder), root=folder / "runs")
    by_text = dict(zip(found.texts, found.documents["source"], strict=True))
    assert by_text == {
        "Ein Satz.": "wiki", "two": "a.jsonl", "plain text": "notes.txt",
        "from a table": "t.parquet",
    }  # fmt: skip
    languages = dict(zip(found.texts, found.documents["language"], strict=True))
    assert languages["Ein Satz."] == "de"


def test_a_glob_takes_what_it_matches_and_equal_text_has_an_equal_digest(folder):
    glob = read_held_out(str(folder / "*.txt"), root=folder)
    file = read_held_out(str(folder / "notes.txt"), root=folder)
    assert glob.texts == ["plain text"] and glob.digest == file.digest
    (folder / "notes.txt").write_text("other text")
    assert read_held_out(str(folder / "notes.txt"), root=folder).digest != file.digest


def test_a_limit_draws_documents_and_counts_the_others(folder):
    found = read_held_out(str(folder), root=folder, most=2)
    again = read_held_out(str(folder), root=folder, most=2)
    assert len(found.texts) == 2 and found.digest == again.digest
    assert found.left_out["beyond the limit"] == 2


def test_data_that_is_nowhere_names_the_frozen_sets_there_are(tmp_path):
    with pytest.raises(ConfigError, match="'nothing' is no file, folder or glob .* has none"):
        read_held_out("nothing", root=tmp_path)


@pytest.mark.parametrize("content", ["", '{"text": ""}\n', '{"body": "x"}\n'])
def test_files_without_text_are_refused(tmp_path, content):
    (tmp_path / "d.jsonl").write_text(content)
    with pytest.raises(DataError):
        read_held_out(str(tmp_path / "d.jsonl"), root=tmp_path)


def test_another_field_may_hold_the_text(tmp_path):
    (tmp_path / "d.jsonl").write_text('{"body": "x y"}\n')
    found = read_held_out(str(tmp_path / "d.jsonl"), root=tmp_path, text_field="body")
    assert found.texts == ["x y"]
