"""C4's line rules rewrite the text as the reference does; its document rules judge what is left."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.c4 import C4Filter
from pipeline.corpus.kernels.tokens import own_tokens, tokens_of
from pipeline.corpus.rewrites.c4_lines import C4LinesRewrite

POLICIES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
PIECES = [
    "The cat sat.", "on mats", "...", "[1]", "[edit]", "[citation needed]", "[12", "[]", "{", "}",
    "Use Cookies", "Terms of use", "javaScript", "lorem ipsum", "Privacy Policy", " ", "\n", "\n",
    "\r\n", "\x85", "\u2028", "\u00a0", "é", "汉字。", "word " * 3, "x" * 12, "!", "?", '"', "\t",
]  # fmt: skip
TEXTS = st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), max_size=4)


def by_hand(text: str, *, needs_mark: bool, min_words: int) -> str:
    """The rules one line after the other, with regular expressions."""
    kept = []
    for raw in text.splitlines():
        line = raw.strip()
        words = line.split()
        if any(len(word) > 10 for word in words):
            continue
        line = CITATION.sub("", line)
        if needs_mark and (not line.endswith((".", "?", "!", '"', "'")) or line.endswith("...")):
            continue
        if len(words) < min_words:
            continue
        low = line.lower()
        if "lorem ipsum" not in low:
            if "javascript" in low:
                continue
            if "{" not in line and any(phrase in low for phrase in POLICIES):
                continue
        kept.append(line)
    return "\n".join(kept).strip()


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.booleans(), st.sampled_from([0, 3]))
def test_rewrite_equals_the_rules_by_hand(
    texts: list[str], needs_mark: bool, min_words: int
) -> None:
    step = C4LinesRewrite(min_words=min_words, max_word_chars=10, require_terminal_mark=needs_mark)
    batch = TextBatch.of(texts)
    tokens_of(batch)  # known before the rewrite, so carried through it
    rewritten = step.apply(batch).batch
    expected = [by_hand(text, needs_mark=needs_mark, min_words=min_words) for text in texts]
    assert rewritten.texts == expected
    carried, anew = tokens_of(rewritten), own_tokens(rewritten)
    for ours, theirs in zip(
        (carried.starts, carried.ends, carried.bounds, *carried.facts),
        (anew.starts, anew.ends, anew.bounds, *anew.facts),
        strict=True,
    ):
        assert np.array_equal(ours, theirs)


def test_rewrite_counts_what_it_drops() -> None:
    text = (
        "A line of five words.\nshort\nWe use cookies on this site.\nEnable JavaScript to go on.\n"
    )
    done = C4LinesRewrite().apply(
        TextBatch.of([text + "See [1] the notes [2] below.\n" + "y" * 1001])
    )
    assert done.batch.texts == ["A line of five words.\nSee  the notes  below."]
    assert done.counts == {
        "lines_with_long_word": 1,
        "lines_with_few_words": 1,
        "lines_about_javascript": 1,
        "lines_about_policies": 1,
        "citations": 2,
    }
    assert done.measures["dropped_lines"].tolist() == [4]


def test_rewrite_keeps_ids_and_metadata() -> None:
    batch = TextBatch.of(["a b c", "d"], ["one", "two"], metadata=[{"url": "u"}, {}])
    rewritten = C4LinesRewrite().apply(batch).batch
    assert rewritten.doc_ids == ["one", "two"] and rewritten.texts == ["a b c", ""]
    assert rewritten.table.column("metadata").to_pylist() == ['{"url": "u"}', "{}"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("One. Two. Three. Four. Five.", ""),
        ("One. Two. Three. Four.", "too_few_sentences"),
        ("a lorem ipsum b\nif (x) { }", "lorem_ipsum"),
        ("if (x) { }\na lorem ipsum b", "curly_bracket"),
        ("{ lorem ipsum", "lorem_ipsum"),
    ],
)
def test_the_first_trouble_in_the_text_is_the_reason(text: str, reason: str) -> None:
    member = C4Filter()
    (code,) = member.judge(member.measure(TextBatch.of([text])))
    assert (member.reasons[code - 1] if code else "") == reason


def test_a_rule_can_be_left_out_after_measuring() -> None:
    measures = C4Filter().measure(TextBatch.of(["{ lorem ipsum"]))
    lenient = C4Filter(drop_lorem_ipsum=False, min_sentences=0)
    assert lenient.judge(measures).tolist() == [1 + lenient.reasons.index("curly_bracket")]
    assert C4Filter(drop_lorem_ipsum=False, drop_curly_brackets=False, min_sentences=0).judge(
        measures
    ).tolist() == [0]


def test_no_documents_stay_none() -> None:
    assert len(C4LinesRewrite().apply(TextBatch.of([])).batch) == 0
