"""The journey of a document: every fate is told with its figures."""

import pytest
from rich.console import Console

from pipeline.reports.journey import find_journey, render_journey
from tests.reports.corpus_world import make_dirty_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    place = tmp_path_factory.mktemp("journeys")
    return make_dirty_corpus(place / "root", place / "in")


def journey_of(corpus, name):
    found = find_journey(corpus, f"web/web/{name}")
    assert found is not None
    return found


def shown(journey, trained=()):
    console = Console(width=160, record=True, file=open("/dev/null", "w"))
    console.print(render_journey(journey, trained))
    return console.export_text()


def test_a_kept_document_names_its_steps_limits_and_learners(corpus):
    journey = journey_of(corpus, "plain-20")
    assert journey.is_kept and journey.verdict == "kept"
    words = next(m for p in journey.passages for m in p.measures if m.name == "words")
    assert words.bounds.startswith("≥ 30") and words.holds
    assert "trained on by pretrain@0123" in shown(journey, ["pretrain@0123"])


def test_a_dropped_document_shows_the_value_beyond_its_limit(corpus):
    journey = journey_of(corpus, "short and repetitive")
    assert journey.verdict == "rejected: length.too_few_words" and not journey.is_kept
    failing = {f"{p.label}.{m.name}" for p in journey.passages for m in p.measures if not m.holds}
    assert {"length.words", "repetition.duplicate_lines"} <= failing
    text = shown(journey, ["pretrain@0123"])
    assert "✗ → length.too_few_words" in text and "trained on" not in text


def test_a_copy_names_whom_it_equals_and_the_survivor_names_who_left(corpus):
    assert (
        "exact_duplicate of web/web/copy-0, Jaccard 1.000" in journey_of(corpus, "copy-2").verdict
    )
    assert "near_duplicate of web/web/near" in journey_of(corpus, "copy-0").verdict
    survivor = journey_of(corpus, "near")
    assert [told.partition(" ")[0] for told in survivor.duplicates] == ["web/web/copy-0"]


def test_contamination_is_told_with_its_share(corpus):
    assert "of its 13-grams are held-out text" in journey_of(corpus, "contaminated").verdict


def test_markup_in_an_id_stays_text(corpus):
    journey = journey_of(corpus, "hostile/\u202e<b>id</b>")
    text = shown(journey)
    assert "hostile/<U+202E><b>id</b>" in text and "[bold]x[/bold]" in text


def test_a_document_nobody_read_has_no_journey(corpus):
    assert find_journey(corpus, "no/such/document") is None
