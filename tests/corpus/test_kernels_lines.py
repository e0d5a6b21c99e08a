"""Lines and paragraphs by scanning bytes equal Python's own string methods."""

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.document import TextBatch
from pipeline.corpus.kernels.counts import sentence_counts
from pipeline.corpus.kernels.lines import (
    line_shapes,
    repeated_pieces,
    trimmed_pieces,
    web_lines,
)
from pipeline.corpus.kernels.phrases import first_marked_lines
from pipeline.corpus.kernels.tokens import tokens_of

TEXTS = st.lists(
    st.text(st.sampled_from(list("ab \n\n\n\r\t.…-•#!。é\x85\u2028\x1c\u00a0{")), max_size=40),
    max_size=4,
)


def repeats_by_hand(pieces: list[str]) -> tuple[int, int, int]:
    """Pieces, those seen before, their characters."""
    seen: set[str] = set()
    again = []
    for piece in pieces:
        if piece in seen:
            again.append(piece)
        seen.add(piece)
    return len(pieces), len(again), sum(map(len, again))


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_repeated_pieces_equal_splitting_by_hand(texts: list[str]) -> None:
    batch = TextBatch.of(texts)
    found = repeated_pieces(batch.data, batch.offsets)
    for row, text in enumerate(texts):
        assert tuple(found[:3, row]) == repeats_by_hand(re.split(r"\n+", text))
        assert tuple(found[3:6, row]) == repeats_by_hand(re.split(r"\n{2,}", text.strip()))
        assert found[6, row] == len(text)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.sampled_from([1, 2]))
def test_trimmed_pieces_equal_splitting_by_hand(texts: list[str], newlines: int) -> None:
    batch = TextBatch.of(texts)
    found = trimmed_pieces(batch.data, batch.offsets, newlines)
    for row, text in enumerate(texts):
        pieces = [piece.strip() for piece in text.split("\n" * newlines)]
        count, again, again_chars = repeats_by_hand([piece for piece in pieces if piece])
        assert tuple(found[:, row]) == (count, again, sum(map(len, pieces)), again_chars)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_line_shapes_equal_splitlines(texts: list[str]) -> None:
    batch = TextBatch.of(texts)
    found = line_shapes(batch.data, batch.offsets)
    for row, text in enumerate(texts):
        lines = text.splitlines()
        bullets = sum(line.lstrip().startswith(("•", "-")) for line in lines)
        endings = sum(line.rstrip().endswith(("...", "…")) for line in lines)
        marks = (text.count("#"), text.count("..."), text.count("…"))
        assert tuple(found[:, row]) == (len(lines), bullets, endings, *marks)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_web_lines_equal_splitting_by_hand(texts: list[str]) -> None:
    batch = TextBatch.of(texts)
    found = web_lines(batch.data, batch.offsets)
    for row, text in enumerate(texts):
        lines = [line for line in text.split("\n") if line.strip()]
        expected = (
            len(lines),
            sum(line.endswith((".", "!", "。")) for line in lines),
            sum(len(line) <= 30 for line in lines),
            repeats_by_hand(lines)[2],
            len(text.replace("\n", "")),
            text.count("\n"),
        )
        assert tuple(found[:, row]) == expected


def test_a_sentence_begins_behind_a_mark_or_on_a_new_line() -> None:
    texts = [
        "One. Two! Three",
        'He said "Yes." And',
        "no mark\nat all\n\nhere",
        "",
        "Mr. X vs. Y...",
    ]
    batch = TextBatch.of(texts)
    assert sentence_counts(tokens_of(batch), batch.offsets).tolist() == [3, 2, 4, 1, 1]


def test_marked_lines_are_the_first_ones() -> None:
    batch = TextBatch.of(["a\nb {\nLorem IPSUM {", "lorem ipsu", "{", ""])
    lorem, curly = first_marked_lines(batch.data, batch.offsets)
    assert lorem.tolist() == [2, -1, -1, -1]
    assert curly.tolist() == [1, -1, 0, -1]


def test_lines_of_a_slice_are_those_of_its_documents() -> None:
    texts = ["x\nx\n", "- a...\n• b", "c.\nc.", ""]
    whole = TextBatch.of(["before\n", *texts, "after"]).slice(1, len(texts))
    alone = TextBatch.of(texts)
    for measure in (repeated_pieces, line_shapes, web_lines):
        assert np.array_equal(
            measure(whole.data, whole.offsets), measure(alone.data, alone.offsets)
        )
