"""Repeated lines against going through the documents one by one, in order of preference."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.dedup import spill
from pipeline.corpus.dedup.line_keys import lines_of
from pipeline.corpus.dedup.settings import DedupConfig, RepeatedLines
from tests.corpus.dedup_world import merge_texts

LINES = ["alpha beta", "gamma", "delta echo foxtrot", "", "  ", "中文的一行", "x"]
TEXTS = st.lists(st.sampled_from(LINES), min_size=1, max_size=7).map("\n".join)
Cuts = dict[str, list[tuple[int, int]]]


def expected(documents: dict[str, str], config: RepeatedLines) -> tuple[set[str], Cuts]:
    """(who leaves, what is cut of the others), one document after the other."""
    seen: set[str] = set()
    leaves, cuts = set(), {}
    for doc_id in sorted(documents, key=lambda name: (-len(documents[name]), name)):
        text = documents[doc_id]
        own: set[str] = set()
        spans: list[tuple[int, int]] = []
        at = visible = 0
        for line in text.encode().splitlines(keepends=True):
            normal = " ".join(line.decode().split())
            visible += bool(normal)
            if len(normal) >= config.min_chars:
                if normal in seen or normal in own:
                    spans.append((at, at + len(line)))
                own.add(normal)
            at += len(line)
        lost = sum(end - begin for begin, end in spans)
        if lost > config.max_lost * len(text.encode()) or (spans and len(spans) >= visible):
            leaves.add(doc_id)
        else:
            seen |= own
            if spans:
                cuts[doc_id] = spans
    return leaves, cuts


@pytest.mark.parametrize("partition_records", [4, 2_000_000])
@settings(max_examples=30, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=8), st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_lines_are_cut_as_if_documents_came_one_by_one(
    partition_records: int, texts: list[str], max_lost: float
) -> None:
    config = RepeatedLines(min_chars=3, max_lost=max_lost)
    dedup = DedupConfig(exact=False, near=False, lines=config)
    documents = {f"d{i}": text for i, text in enumerate(texts)}
    halves = [dict(list(documents.items())[i::2]) for i in range(2)]
    before = spill.PARTITION_RECORDS
    spill.PARTITION_RECORDS = partition_records
    try:
        with tempfile.TemporaryDirectory() as place:
            removed, _ = merge_texts(Path(place), [("s", half) for half in halves], dedup)
            found: Cuts = {}
            for path in Path(place, "out").glob("cuts-*.arrow"):
                with pa.ipc.open_file(str(path)) as reader:
                    for row in reader.read_all().to_pylist():
                        found.setdefault(row["doc_id"], []).append((row["begin"], row["end"]))
    finally:
        spill.PARTITION_RECORDS = before
    leaves, cuts = expected(documents, config)
    assert set(removed) == leaves
    assert found == cuts


def test_spans_of_lines_and_paragraphs_are_whole() -> None:
    text = b"\n one line\n\n\ntwo\nthree \n \nlast"
    offsets = np.array([0, len(text)])
    for unit, pieces in (
        ("line", [b" one line\n", b"two\n", b"three \n", b"last"]),
        ("paragraph", [b"\n one line\n\n\n", b"two\nthree \n \n", b"last"]),
    ):
        config = RepeatedLines.model_validate({"unit": unit, "min_chars": 1})
        columns = lines_of(np.frombuffer(text, np.uint8), offsets, config)
        spans = np.array(columns["line_spans"].to_pylist()[0]).reshape(-1, 2)
        assert [text[a:b] for a, b in spans] == pieces
        assert columns["visible_lines"].to_pylist() == [len(pieces)]
