"""What the cleaning benchmark counts as agreement, and the input both sides are given."""

import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks import own_cleaning
from benchmarks.agreement import compare, own_decisions, peer_decisions
from benchmarks.corpora import is_prose, write_corpus
from benchmarks.processes import measure
from benchmarks.shared_input import first_documents, grown, prepare
from pipeline.store.errors import DataError
from tests.corpus.peer_decisions import peer
from tests.corpus.peer_texts import documents
from tests.corpus.test_parity_decisions import NAMES


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_folder(folder: Path) -> list[dict[str, str]]:
    return [
        json.loads(line)
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def test_agreement_tells_fate_from_reason() -> None:
    ours = {"a": None, "b": "c4: x", "c": "c4: y", "d": None}
    theirs = {"a": None, "b": "c4: z", "c": None, "d": None}
    found = compare(ours, theirs)
    assert (found.same_fate, found.same_reason, found.kept) == (0.75, 0.5, 3)
    assert found.differences == (("b", "c4: x", "c4: z"), ("c", "c4: y", None))


def test_agreement_about_different_documents_is_refused() -> None:
    with pytest.raises(DataError, match=r"ours lacks \['b'\] \(1\)"):
        compare({"a": None}, {"a": None, "b": None})


def test_our_command_leaves_the_peers_decisions(tmp_path: Path) -> None:
    texts = {name: text for name, text in documents().items() if name in NAMES and text.strip()}
    folder = tmp_path / "in"
    folder.mkdir()
    write_jsonl(folder / "0.jsonl", [{"id": n, "text": t} for n, t in texts.items()])
    assert own_cleaning.main([str(folder), str(tmp_path / "out")]) == 0
    assert own_decisions(tmp_path / "out") == {name: peer()[name].first for name in texts}


def test_peers_output_is_read_by_filter(tmp_path: Path) -> None:
    for name in ("kept", "c4"):
        (tmp_path / name).mkdir()
    write_jsonl(tmp_path / "kept" / "00000.jsonl", [{"id": "a", "text": "t"}])
    rejected = {"id": "b", "text": "t", "metadata": {"filter_reason": "lorem_ipsum"}}
    (tmp_path / "c4" / "00000.jsonl").write_text(json.dumps(rejected) + "\n")
    assert peer_decisions(tmp_path) == {"a": None, "b": "c4: lorem_ipsum"}


def test_input_is_repaired_and_shared_out_evenly(tmp_path: Path) -> None:
    rows = [{"id": str(n), "text": f"e\u0301 {'x' * 50}"} for n in range(10)]
    rows.append({"id": "blank", "text": " \n"})
    shared = prepare(write_jsonl(tmp_path / "d.jsonl", rows), tmp_path / "in", max_bytes=10**6)
    assert shared.documents == 10
    assert {row["text"][0] for row in read_folder(shared.folder)} == {"\u00e9"}
    sizes = [path.stat().st_size for path in sorted(shared.folder.glob("*.jsonl"))]
    assert sizes[0] == sizes[1]


def test_grown_input_has_new_names_for_every_copy(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "d.jsonl", [{"id": str(n), "text": "abc"} for n in range(4)])
    shared = prepare(data, tmp_path / "in", max_bytes=10**6)
    large = grown(shared, tmp_path / "large", factor=3)
    assert (large.documents, large.num_bytes) == (12, 36)
    assert len({row["id"] for row in read_folder(large.folder)}) == 12
    assert first_documents(shared, tmp_path / "few", count=2).documents == 2


@pytest.mark.parametrize("line", ["not json", "[]", '{"text": 1, "id": "a"}', '{"text": "no id"}'])
def test_input_that_is_no_documents_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    data = tmp_path / "d.jsonl"
    data.write_text('{"text": "a", "id": "a"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"d\.jsonl:2"):
        prepare(data, tmp_path / "in", max_bytes=10**6)


def test_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        prepare(tmp_path / "nowhere.jsonl", tmp_path / "in", max_bytes=10)


def test_corpus_holds_each_text_once_whatever_the_order(tmp_path: Path) -> None:
    texts = ["one", "two", "three", "two"]
    assert write_corpus(texts, tmp_path / "a.jsonl", max_bytes=100) == (3, 11)
    write_corpus(texts[::-1], tmp_path / "b.jsonl", max_bytes=100)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert [is_prose(Path(n)) for n in ("README", "a.rst", "a.py", "COPYING.gz", "x.gz")] == [
        True, True, False, True, False,
    ]  # fmt: skip


def test_measured_command_is_pinned_and_its_failure_is_shown(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    report = tmp_path / "cores"
    code = f"import os; open({str(report)!r}, 'w').write(str(len(os.sched_getaffinity(0))))"

    def run(code: str) -> float:
        spent = measure(
            [sys.executable, "-S", "-c", code],
            cores=1, log=tmp_path / "log", environment={}, directory=tmp_path,
        )  # fmt: skip
        assert spent.peak_bytes > 1e6
        return spent.seconds

    assert run(code) > 0
    assert report.read_text() == "1"
    with pytest.raises(DataError, match="status 3(.|\n)*no such thing"):
        run("import sys; print('no such thing'); sys.exit(3)")
    assert os.sched_getaffinity(0) == before
