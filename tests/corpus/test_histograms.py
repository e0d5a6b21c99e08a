"""Counts, thresholds and histograms from the stored measures of real corpora."""

import numpy as np
import pytest

from pipeline.corpus.accounts import account
from pipeline.corpus.filters.alphabet import AlphabetFilter
from pipeline.corpus.filters.length import LengthFilter
from pipeline.corpus.filters.repetition import RepetitionFilter
from pipeline.corpus.histograms import histograms
from pipeline.corpus.measured import KEPT, MeasuredCorpus, steps_of
from pipeline.corpus.objections import all_objections, asked_filters
from pipeline.corpus.samples import sample_documents
from pipeline.corpus.thresholds import corpus_thresholds, in_short, thresholds_of
from tests.corpus.conftest import CHINESE, made_up

DOCUMENTS = {
    **{f"d{i}": made_up(i) for i in range(30)},
    "repetitive": "\n".join(["one line of eight words again and again"] * 40),
    "short": "two words",
    "short and repeated": "\n".join(["a b"] * 6),
    "chinese": "\n".join(CHINESE),
}
STEPS = ({"kind": "length", "min_words": 37}, {"kind": "alphabet"}, {"kind": "repetition"})


@pytest.fixture
def parts(clean):
    return MeasuredCorpus(clean(DOCUMENTS, steps=STEPS))


def row(step, **measures):
    return {name: measures.get(name, 0.0) for name in measures}


@pytest.mark.parametrize("minimum", [1, 2, 7, 20, 150, 99_999])
def test_a_threshold_of_whole_numbers_is_found_exactly(minimum):
    step = LengthFilter(min_words=minimum, min_chars=0)
    found = thresholds_of(step, "length", [{"chars": 500_000, "words": 120_000}])
    lowest = next(t for t in found if t.keeps == "above" and t.measure == "words")
    assert lowest.value == minimum and lowest.reason == "length.too_few_words"
    assert lowest.bound == f"≥ {minimum:,}"


@pytest.mark.parametrize("share", [0.001, 0.1, 1 / 3, 0.5, 0.8, 0.999])
def test_a_threshold_of_shares_is_found_to_the_last_digits(share):
    step = AlphabetFilter(min_letters=share)
    found = thresholds_of(step, "alphabet", [{"letters": 1.0, "replacements": 0.0}])
    lowest = next(t for t in found if t.measure == "letters")
    assert lowest.value == pytest.approx(share, abs=1e-15)
    assert lowest.holds(share) and not lowest.holds(share - 1e-9)


def test_a_limit_that_nothing_can_cross_is_none():
    found = thresholds_of(
        AlphabetFilter(max_replacements=1.0, min_letters=0.0), "alphabet",
        [{"letters": 0.9, "replacements": 0.0}],
    )  # fmt: skip
    assert found == []


def test_a_document_that_is_turned_away_teaches_nothing():
    assert thresholds_of(LengthFilter(), "length", [{"chars": 1, "words": 1}]) == []


def test_thresholds_that_depend_on_script_are_all_found(parts):
    asked = asked_filters(steps_of(parts.corpus), parts)
    found = corpus_thresholds(asked)["repetition.top_2_gram"]
    bounds = RepetitionFilter()
    assert {t.value for t in found} == {
        bounds.max_top_grams[0], bounds.max_spaceless_top_grams[0],
    }  # fmt: skip


def test_rules_behind_the_first_one_of_a_filter_are_heard(parts):
    part = next(iter(parts))
    masks = all_objections(asked_filters(steps_of(parts.corpus), parts), part)
    number = part.doc_ids.index(next(d for d in part.doc_ids if d.endswith("repetitive")))
    objecting = {reason for reason, mask in masks.items() if mask[number]}
    assert part.objections[number] == ["repetition.duplicate_lines"]
    assert {"repetition.duplicate_lines", "repetition.duplicate_line_chars",
            "repetition.duplicate_5_gram", "repetition.top_2_gram"} <= objecting  # fmt: skip


def test_no_rule_objects_to_a_document_that_passed(parts):
    part = next(iter(parts))
    masks = all_objections(asked_filters(steps_of(parts.corpus), parts), part)
    assert not any(mask[part.passed].any() for mask in masks.values())
    for number, found in enumerate(part.objections):
        assert all(masks[reason][number] for reason in found)


def test_accounts_are_those_of_the_manifest(parts):
    accounts, facts = account(parts), parts.corpus.facts
    assert accounts.kept.documents == facts["documents_kept"]
    assert accounts.kept.bytes == facts["bytes_kept"]
    left = {fate: amount.documents for fate, amount in accounts.fates.items() if fate != KEPT}
    assert left == facts["dropped"]
    for axis in ("source", "language"):
        by = accounts.by[axis].values()
        assert sum(a.documents for fates in by for a in fates.values()) == len(DOCUMENTS)


def test_a_rule_alone_is_never_more_than_first_and_first_never_more_than_at_all(parts):
    asked = asked_filters(steps_of(parts.corpus), parts)
    for rule in account(parts, asked).rules.values():
        assert rule.alone.documents <= rule.first.documents <= rule.any.documents


def test_histograms_count_every_document_once(parts):
    for histogram in histograms(parts):
        assert histogram.documents + histogram.not_measured == len(DOCUMENTS)
        assert (np.diff(histogram.edges) > 0).all()
        assert len(histogram.edges) == len(histogram.kept) + 1
    kept = parts.corpus.facts["documents_kept"]
    assert {int(h.kept.sum()) for h in histograms(parts)} == {kept}


def test_samples_are_the_same_every_time_and_hold_their_own_text(parts):
    first = sample_documents(parts, per_fate=2)
    assert first == sample_documents(parts, per_fate=2)
    for fate, samples in first.items():
        assert 1 <= len(samples) <= 2
        for sample in samples:
            name = sample.doc_id.rpartition("/")[2]
            assert sample.fate == fate
            assert sample.text == DOCUMENTS[name]


def test_a_value_is_told_as_people_read_it():
    assert [in_short(v) for v in (20.0, 100_000, 0.1, 1 / 7, 1e-7)] == [
        "20", "100,000", "0.1", "0.1429", "1e-07",
    ]  # fmt: skip


def test_a_part_without_a_judged_document_is_no_obstacle(clean):
    only = {"only": made_up(77)}
    parts = MeasuredCorpus(clean([DOCUMENTS, only], held_out=only, steps=STEPS))
    assert [len(part) for part in parts] == [len(DOCUMENTS), 0]
    asked = asked_filters(steps_of(parts.corpus), parts)
    assert account(parts, asked).judged.documents == len(DOCUMENTS)
    assert {h.documents for h in histograms(parts)} == {len(DOCUMENTS)}
    assert corpus_thresholds(asked)["length.words"]


def test_measures_that_are_words_are_not_drawn_and_do_not_disturb(clean):
    steps = ({"kind": "language", "min_score": 0.3}, *STEPS)
    parts = MeasuredCorpus(clean(DOCUMENTS, steps=steps))
    drawn = {histogram.column for histogram in histograms(parts)}
    assert "language.score" in drawn and "language.code" not in drawn
    asked = asked_filters(steps_of(parts.corpus), parts)
    scores = corpus_thresholds(asked).get("language.score", [])
    assert [t.value for t in scores] in ([], [pytest.approx(0.3, abs=1e-6)])
