from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.extraction import Page, Score
from benchmarks.pages import main
from tests.sources.conftest import Read

Reader = Callable[..., Read]


def test_packed_pages_are_read_back(tmp_path: Path, read: Reader) -> None:
    pytest.importorskip("trafilatura")
    from pipeline.corpus.sources.warc import WarcSource

    (tmp_path / "in" / "eval").mkdir(parents=True)
    for name in ("a", "b"):
        text = f"<p>This is page {name}, with a sentence that is long enough to be text.</p>" * 3
        (tmp_path / "in" / "eval" / f"{name}.html").write_text(f"<html><body>{text}</body></html>")
    (tmp_path / "in" / "evaldata.json").write_text('{"http://a/": {"file": "a.html"}}')
    out = tmp_path / "pages.warc.gz"
    assert main(["--data", str(tmp_path / "in"), "--out", str(out)]) == 0
    first = out.read_bytes()
    assert main(["--data", str(tmp_path / "in"), "--out", str(out)]) == 0
    assert out.read_bytes() == first
    result = read(WarcSource(name="w", paths=(str(out),)))
    assert [m["url"] for m in result.metadata.values()] == ["http://a/", "file:b.html"]


def test_folder_without_pages_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "x.warc.gz")]) == 3
    assert "holds no file ending in .html" in capsys.readouterr().err
    assert not (tmp_path / "x.warc.gz").exists()


def test_score_counts_wanted_and_unwanted_snippets() -> None:
    score = Score()
    page = Page("", wanted=("a b", "c"), unwanted=("menu",))
    score.add(page, "a  b\n menu", 0.5)
    assert (score.precision, score.recall, score.f1) == (0.5, 0.5, 0.5)
    low, high = score.f1_interval()
    assert low < 0.5 < high
