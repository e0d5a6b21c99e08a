import gzip
import os

import pytest

from pipeline.corpus.sources import buckets
from pipeline.corpus.sources.text import TextSource


def source(path, **settings) -> TextSource:
    return TextSource(name="books", paths=(str(path),), **{"max_bad_fraction": 1.0, **settings})


def test_each_file_is_one_document_named_by_its_path(tmp_path, read):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\n")
    (tmp_path / "in" / "deep" / "b.md").write_text("# b")
    (tmp_path / "in" / "deep" / "b.txt").write_text("b")
    (tmp_path / "in" / "c.txt.gz").write_bytes(gzip.compress(b"packed"))
    (tmp_path / "in" / "image.png").write_bytes(b"\x89PNG")
    assert read(source(tmp_path / "in")).documents == {
        "books/a": "one\r\ntwo\n", "books/c": "packed",
        "books/deep/b": "# b", "books/deep/2~b": "b",
    }  # fmt: skip


def test_separator_splits_a_file_into_documents(tmp_path, read):
    (tmp_path / "x.txt").write_text("one\n<|endoftext|>\n\n<|endoftext|>two")
    result = read(source(tmp_path / "x.txt", separator="<|endoftext|>"))
    assert result.documents == {"books/x/0": "one\n", "books/x/2": "two"}


def test_undecodable_and_oversized_files_are_quarantined(tmp_path, read):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    (tmp_path / "b.txt").write_text("x" * 200)
    (tmp_path / "c.txt").write_text("fine")
    result = read(source(tmp_path, max_line_bytes=100))
    assert result.documents == {"books/c": "fine"}
    assert {r["file"]: r["reason"] for r in result.quarantine} == {
        "a.txt": "invalid_utf8",
        "b.txt": "too_long",
    }


def test_adding_one_file_to_many_rebuilds_one_part(tmp_path, read, monkeypatch):
    monkeypatch.setattr(buckets, "FILES_PER_PART", 8)
    for i in range(40):
        (tmp_path / f"{i}.txt").write_text(f"text {i}")
    before = read(source(tmp_path))
    (tmp_path / "new.txt").write_text("new")
    after = read(source(tmp_path))
    assert len(before.parts) > 4
    assert len(set(after.fingerprints) - set(before.fingerprints)) == 1
    assert after.documents == {**before.documents, "books/new": "new"}


@pytest.mark.parametrize("size", [0, 1, 100])
def test_large_files_are_parts_of_their_own(tmp_path, monkeypatch, size):
    monkeypatch.setattr(buckets, "LARGE_FILE_BYTES", 50)
    (tmp_path / "a.txt").write_text("x" * size)
    (tmp_path / "b.txt").write_text("y")
    (tmp_path / "c.txt").write_text("z")
    units = source(tmp_path).units(tmp_path)
    assert len(units) == (2 if size >= 50 else 1)


def test_file_names_that_are_not_utf8_are_readable_and_ids_stay_text(tmp_path, read):
    (tmp_path / "in").mkdir()
    for name in (b"caf\xe9.txt", b"caf\xe8.txt"):
        path = os.fsencode(tmp_path / "in") + b"/" + name
        with open(path, "w") as handle:
            handle.write("text")
        os.utime(path, (1, 1))
    result = read(source(tmp_path / "in"))
    assert sorted(result.documents) == ["books/2~caf\ufffd", "books/caf\ufffd"]
    assert read(source(tmp_path / "in")).fingerprints == result.fingerprints


def test_utf16_is_quarantined_with_the_remedy(tmp_path, read):
    (tmp_path / "a.txt").write_text("wide", encoding="utf-16")
    (tmp_path / "b.txt").write_text("fine")
    assert read(source(tmp_path)).quarantine[0]["detail"] == (
        "UTF-16; convert it to UTF-8 or set encoding: utf-16"
    )
