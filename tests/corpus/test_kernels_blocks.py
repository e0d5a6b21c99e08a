"""Kernels that pass over blocks of bytes, or remember chunks, find what a plain look finds."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.document import TextBatch
from pipeline.corpus.kernels.c4_text import rewrite_lines
from pipeline.corpus.kernels.lines import line_shapes, web_lines
from pipeline.corpus.kernels.phrases import first_marked_lines
from pipeline.corpus.kernels.tokens import own_tokens
from pipeline.corpus.rewrites.addresses import email_spans, ip_spans
from pipeline.corpus.rewrites.spans import Text

CHECKOUT = Path(__file__).resolve().parents[2]
CHUNKS = st.sampled_from(
    [*"don't foo.bar/baz:(x) a--b (e.g. http://a.io/b?c=1 1,000.5km x=y naïve 中文 #1".split()]
    + ["(" * 9 + "a", "a-" * 150, "x" * 254 + "-y", "v1.2.3", ".", "\x01a"]
)


def spans(texts: list[str]) -> list[list[bytes]]:
    table = own_tokens(TextBatch.of(texts))
    data = bytes(table.data)
    words = [data[s:e] for s, e in zip(table.starts, table.ends, strict=True)]
    return [words[a:b] for a, b in zip(table.bounds, table.bounds[1:], strict=False)]


@given(st.lists(CHUNKS, min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_a_chunk_met_again_has_the_tokens_it_has_alone(chunks: list[str]) -> None:
    alone = [word for chunk in chunks for word in spans([chunk])[0]]
    assert spans([" ".join(chunks), "\n".join(chunks * 2)]) == [alone, alone * 2]


@pytest.mark.parametrize("before", [*range(240, 275), 511, 512, 513])
def test_marks_and_addresses_are_found_on_either_side_of_a_blocks_edge(before: int) -> None:
    padding = ("ab\n" * before)[:before]
    lines = padding.count("\n")
    batch = TextBatch.of([padding + "Lorem ipsum", padding + "x{", padding])
    lorem, curly = first_marked_lines(batch.data, batch.offsets)
    assert (lorem.tolist(), curly.tolist()) == ([lines, -1, -1], [-1, lines, -1])
    found = Text.of(TextBatch.of([padding + " me@home.org", padding + " 8.8.8.8", "1."]))
    assert len(email_spans(found)[0]) == 1
    assert len(ip_spans(found, public_only=True)[0]) == 1


@pytest.mark.parametrize("phrase", ["privacy policy", "TERMS OF USE", "uses cookies", "JavaScript"])
@pytest.mark.parametrize("before", [0, 1, 60, 63, 64, 65])
def test_lines_with_a_phrase_go_wherever_it_stands(phrase: str, before: int) -> None:
    batch = TextBatch.of(["x" * before + f" {phrase}\nthree words here"])
    kept = rewrite_lines(
        batch.data, batch.offsets, min_words=0, max_word_chars=1000, needs_mark=False,
        drops_citations=True,
    )  # fmt: skip
    assert bytes(kept.data) == b"three words here"


@given(st.lists(st.text(st.sampled_from("ab.#…é \u2028\r\x85"), max_size=1100), max_size=5))
@settings(max_examples=60, deadline=None)
def test_counted_marks_are_those_of_python(lines: list[str]) -> None:
    text = "\n".join(lines)
    batch = TextBatch.of([text])
    found = line_shapes(batch.data, batch.offsets)[:, 0].tolist()
    assert found[0] == len(text.splitlines())
    assert found[3:] == [text.count("#"), text.count("..."), text.count("…")]


@given(st.lists(st.sampled_from(["a" * 1023, "a" * 1024, "a" * 1025, "b", "", " "]), max_size=8))
@settings(max_examples=60, deadline=None)
def test_repeated_lines_of_any_length_are_told_apart(lines: list[str]) -> None:
    batch = TextBatch.of(["\n".join(lines)])
    seen: set[str] = set()
    again = 0
    for line in lines:
        if line.strip():
            again += len(line) if line in seen else 0
            seen.add(line)
    count, _, _, found, chars, _ = web_lines(batch.data, batch.offsets)[:, 0].tolist()
    assert (count, found) == (sum(bool(line.strip()) for line in lines), again)
    assert chars == sum(map(len, lines))


def test_hashes_of_carried_tokens_are_made_when_asked_for() -> None:
    table = own_tokens(TextBatch.of(["one two one"]))
    assert np.unique(table.hashes).size == 2


def test_kernels_load_nothing_that_other_packages_add_to_numba() -> None:
    code = """
import sys
import numba
import numpy as np
from pipeline.corpus.document import TextBatch
from pipeline.corpus.kernels.tokens import own_tokens
from numba.core import entrypoints

def added():
    found.append(True)

found, entrypoints.init_all = [], added
assert len(own_tokens(TextBatch.of(["two words"])).starts) == 2
assert not found and "scipy.linalg" not in sys.modules
numba.njit(lambda a: a + 1)(np.ones(2))
assert found
"""
    subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, check=True)
