import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.corpus.sources.by_name import kind_of
from pipeline.corpus.sources.jsonl import JsonlSource
from pipeline.corpus.sources.parquet import ParquetSource
from pipeline.corpus.sources.text import TextSource
from pipeline.corpus.sources.walking import matching, walk
from pipeline.store.errors import DataError
from tests.sources.conftest import Read

Reader = Callable[..., Read]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "in"
    for name in ("a.txt", "deep/b.txt", "deep/er/c.txt", "deep/.hidden/d.txt", ".e.txt"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name)
    return home


def text(path: Path, **settings: object) -> TextSource:
    return TextSource(name="t", paths=(str(path),), **{"max_bad_fraction": 1.0, **settings})


def test_links_in_circles_end(folder: Path, read: Reader) -> None:
    for i in range(4):
        (folder / f"loop{i}").symlink_to(folder, target_is_directory=True)
        (folder / "deep" / f"up{i}").symlink_to("..", target_is_directory=True)
    for path in (folder, folder / "**" / "*.txt"):
        assert list(read(text(path)).documents) == ["t/a", "t/deep/b", "t/deep/er/c"]


def test_linked_directory_is_read_once(folder: Path, tmp_path: Path, read: Reader) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "f.txt").write_text("f")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "same").symlink_to(tmp_path / "elsewhere")
    names = list(read(text(folder)).documents)
    assert names == ["t/a", "t/deep/b", "t/deep/er/c", "t/link/f"]


def test_link_that_leads_nowhere_is_quarantined(folder: Path, read: Reader) -> None:
    (folder / "gone.txt").symlink_to(folder / "nothing")
    (folder / "self.txt").symlink_to(folder / "self.txt")
    result = read(text(folder))
    assert len(result.documents) == 3
    assert [(q["file"], q["reason"]) for q in result.quarantine] == [
        ("gone.txt", "unreadable"),
        ("self.txt", "unreadable"),
    ]


def test_pipes_and_devices_are_left_alone(folder: Path, read: Reader) -> None:
    os.mkfifo(folder / "pipe.txt")
    assert len(read(text(folder)).documents) == 3
    with pytest.raises(DataError, match="no regular file"):
        read(text(folder / "pipe.txt"))


def test_file_whose_bytes_cannot_be_read_is_quarantined_and_the_others_read(
    folder: Path, read: Reader
) -> None:
    # Opening it works and reading it fails, also for the superuser.
    (folder / "memory.txt").symlink_to("/proc/self/mem")
    result = read(text(folder))
    assert len(result.documents) == 3
    assert result.quarantine[0]["file"] == "memory.txt"
    assert result.reasons == ["unreadable"]
    (folder / "memory.txt").unlink()
    (folder / "memory.txt").write_text("well again")
    assert read(text(folder)).documents["t/memory"] == "well again"


def test_only_unreadable_input_is_an_error_that_says_why(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "x.jsonl").symlink_to("/proc/self/mem")
    with pytest.raises(DataError, match="unreadable 1.*Input/output error"):
        read(JsonlSource(name="web", paths=(str(tmp_path / "x.jsonl"),), max_bad_fraction=1.0))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.txt", ["a.txt"]),
        ("*/*.txt", ["deep/b.txt"]),
        ("**/*.txt", ["a.txt", "deep/b.txt", "deep/er/c.txt"]),
        ("**/e?/*", ["deep/er/c.txt"]),
        ("deep/**/[bc].txt", ["deep/b.txt", "deep/er/c.txt"]),
        ("deep/**/[!b].txt", ["deep/er/c.txt"]),
        ("**", ["a.txt", "deep/b.txt", "deep/er/c.txt"]),
        ("**/*[", []),
    ],
)
def test_globs_match_as_in_a_shell(folder: Path, pattern: str, found: list[str]) -> None:
    matches = [path.relative_to(folder).as_posix() for path in matching(folder / pattern)]
    assert matches == found


def test_walk_is_sorted_whatever_the_file_system_says(folder: Path) -> None:
    paths = list(walk(folder))
    assert paths == sorted(paths, key=lambda path: path.parts)


@pytest.mark.parametrize("path", ["", " ", "~no-such-user-here/x", "a\0b"])
def test_path_that_cannot_be_one_is_a_data_error(
    path: str, tmp_path: Path, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.txt").write_text("not asked for")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="source 't'"):
        read(TextSource(name="t", paths=(path,)))


@pytest.mark.parametrize("kind", [JsonlSource, TextSource, ParquetSource])
def test_directory_with_no_matching_file_says_what_was_looked_for(
    tmp_path: Path, read: Reader, kind: type
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "image.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"holds no file ending in \."):
        read(kind(name="x", paths=(str(tmp_path / "in"),)))


def test_empty_files_are_counted(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.txt").write_text("")
    (tmp_path / "c.txt").write_text(" \n\t\n")
    result = read(text(tmp_path))
    assert result.facts[0]["skipped"] == {"empty_file": 2}
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.jsonl").write_text("")
    (tmp_path / "in" / "y.jsonl").write_text('{"text": "t"}\n')
    result = read(JsonlSource(name="j", paths=(str(tmp_path / "in"),)))
    assert [facts["skipped"] for facts in result.facts] == [{"empty_file": 1}, {}]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("data/*.jsonl.gz", "jsonl"),
        ("s3://b/x.PARQUET", "parquet"),
        ("https://h/x.csv?sig=a.json", "csv"),
        ("CC-MAIN-1.warc.wet.gz", "warc"),
        ("page.htm", "html"),
        ("x.feather", "arrow"),
        ("README.md", "text"),
        ("folder/", "text"),
    ],
)
def test_kind_of_a_path_is_told_by_its_name(path: str, kind: str) -> None:
    assert kind_of(path) == kind


def test_suffixes_in_capitals_are_suffixes(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "A.TXT").write_text("one")
    (tmp_path / "B.Txt.GZ").write_bytes(gzip.compress(b"two"))
    result = read(TextSource(name="t", paths=(str(tmp_path),)))
    assert result.documents == {"t/A": "one", "t/B": "two"}
