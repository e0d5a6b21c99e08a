"""The FineWeb filters decide as datatrove 0.10.1 does, reason for reason, on stored decisions.

`peer_texts` says how the decisions were stored. datatrove itself is not needed here.
"""

import re

import pytest

from pipeline.corpus.chain import pass_through
from pipeline.corpus.filters.base import Step
from pipeline.corpus.filters.c4 import C4Filter
from pipeline.corpus.filters.fineweb import FineWebFilter
from pipeline.corpus.filters.gopher_quality import GopherQualityFilter
from pipeline.corpus.filters.gopher_repetition import GopherRepetitionFilter
from pipeline.corpus.presets import PRESETS
from pipeline.corpus.rewrites.c4_lines import C4LinesRewrite
from pipeline.corpus.rewrites.personal_data import PersonalData
from tests.corpus.peer_decisions import batch_of, peer, reasons_of
from tests.corpus.peer_texts import documents

SPACELESS = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
# Where spaCy takes a Chinese sentence for one word and we take each character for one.
OTHER_WORDS = frozenset(name for name, text in documents().items() if SPACELESS.search(text))
NAMES = sorted(set(documents()) - OTHER_WORDS)


def test_stored_decisions_are_about_the_texts_we_have() -> None:
    assert set(peer()) == set(documents())


def test_stored_decisions_cover_almost_every_reason_of_the_peer() -> None:
    found = {reason for decision in peer().values() for reason in decision.alone.values()}
    assert len(found - {None}) >= 24


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("gopher_repetition", (GopherRepetitionFilter(),)),
        ("gopher_quality", (GopherQualityFilter(),)),
        ("c4", (C4LinesRewrite(), C4Filter())),
        ("fineweb", (FineWebFilter(),)),
    ],
)
def test_filter_alone_gives_the_peers_reason(name: str, steps: tuple[Step, ...]) -> None:
    ours = reasons_of(steps, NAMES)
    theirs = {
        document: f"{name}: {reason}" if (reason := peer()[document].alone[name]) else None
        for document in NAMES
    }
    assert ours == theirs


def test_preset_gives_the_peers_first_reason() -> None:
    ours = reasons_of(PRESETS["fineweb"], NAMES)
    assert ours == {document: peer()[document].first for document in NAMES}


def test_preset_keeps_and_drops_as_the_peer_does_where_words_differ() -> None:
    names = sorted(OTHER_WORDS)
    kept = {name for name, reason in reasons_of(PRESETS["fineweb"], names).items() if not reason}
    assert kept == {name for name in names if peer()[name].first is None}


def test_kept_texts_are_the_peers_byte_for_byte() -> None:
    steps = (*PRESETS["fineweb"], PersonalData(replace=("emails", "ips")))
    names = [name for name in NAMES if peer()[name].first is None]
    texts = pass_through(steps, batch_of(names)).batch.texts
    assert dict(zip(names, texts, strict=True)) == {name: peer()[name].kept_text for name in names}
