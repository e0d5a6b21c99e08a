"""E-mail and IP addresses lose the same bytes as in datatrove 0.10.1, on stored and on new text."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.document import TextBatch
from pipeline.corpus.rewrites.addresses import email_spans, ip_spans
from pipeline.corpus.rewrites.personal_data import PersonalData
from pipeline.corpus.rewrites.spans import Text

STORED = Path(__file__).parent / "data" / "peer_addresses.json"
"""Written by `python -m benchmarks.personal_data --cases`: real places and made-up strings."""

ADDRESSES = PersonalData(replace=("emails", "ips"))
PIECES = ["a", "Z", "0", "7", "25", "256", ".", "@", "-", "_", "!", "[", "]", ":", " ", "\n", "中"]


def replaced(texts: list[str]) -> list[str]:
    return ADDRESSES.apply(TextBatch.of(texts)).batch.texts


def test_stored_texts_become_what_the_peer_made_of_them():
    rows = json.loads(STORED.read_text(encoding="utf-8"))
    assert len(rows) == 400
    assert sum(row["text"] != row["formatted"] for row in rows) > 150
    assert replaced([row["text"] for row in rows]) == [row["formatted"] for row in rows]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1234.5.6.7", "122.214.171.124"),
        ("1.2.3.4567", "22.214.171.12467"),
        ("8.8.8.256", "22.214.171.1246"),
        ("8.8.8.8.8.8.8.8", "22.214.171.124.126.96.36.199"),
        ("08.8.8.8", "08.8.8.8"),
        ("中a@b.com", "中a@b.com"),
        ("中!a@b.com", "中email@example.com"),
        ("éa@b.com a@b.com", "éa@b.com email@example.com"),
        ("a@b.com!x@y.org", "email@example.comfirstname.lastname@example.org"),
        ("a..b@c.com", "a..email@example.com"),
        (".a@b.co.", ".email@example.com."),
        ("a@b.c-.d", "email@example.com-.d"),
        ("a@[1.2.3.4]", "email@example.com"),
        ("a@[1.2.3.tag:]", "email@example.com"),
        ("a@[1.2.3.tag]", "a@[1.2.3.tag]"),
        ("a@b", "a@b"),
    ],
)
def test_odd_places_are_decided_as_the_peer_does(text, expected):
    assert replaced([text]) == [expected]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.sampled_from("".join(PIECES)), max_size=40), max_size=8))
def test_a_document_does_not_depend_on_its_neighbours(texts):
    assert replaced(texts) == [replaced([text])[0] for text in texts]


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("".join(PIECES)), max_size=60))
def test_spans_ascend_and_hold_what_they_say(text):
    view = Text.of(TextBatch.of([text]))
    for starts, ends, sign, number in (
        (*email_spans(view), "@", 1),
        (*ip_spans(view, public_only=False), ".", 3),
    ):
        assert (starts[1:] >= ends[:-1]).all()
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            assert bytes(view.view[start:end]).decode().count(sign) >= number
