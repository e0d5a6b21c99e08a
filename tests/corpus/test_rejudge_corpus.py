"""Judging again from stored measures equals cleaning again, and what was never measured is told."""

import pytest

from pipeline.corpus.filters.alphabet import AlphabetFilter
from pipeline.corpus.filters.base import Filter
from pipeline.corpus.filters.language import LanguageFilter
from pipeline.corpus.filters.length import LengthFilter
from pipeline.corpus.measured import KEPT, MeasuredCorpus, measured_parts, steps_of
from pipeline.corpus.rejudging import (
    check_comparable,
    compare,
    labelled_overrides,
    measuring_fields,
)
from pipeline.store.errors import ConfigError
from tests.corpus.conftest import made_up

DOCUMENTS = {f"d{words}": made_up(words, words=words) for words in range(12, 132, 6)}
STEPS = ({"kind": "length", "min_words": 40}, {"kind": "alphabet"})
NO_DEDUP = {"exact": False, "near": False}


def reasons(corpus):
    return {
        doc_id: reason
        for part in measured_parts(corpus)
        for doc_id, reason in zip(part.doc_ids, part.first_objections, strict=True)
    }


@pytest.fixture
def corpus(clean):
    return clean(DOCUMENTS, steps=STEPS)


@pytest.mark.parametrize("minimum", [0, 30, 40, 90, 1000])
def test_judging_again_says_what_cleaning_again_does(clean, tmp_path, corpus, minimum):
    steps = ({"kind": "length", "min_words": minimum, "min_chars": 0}, {"kind": "alphabet"})
    if minimum < 1000:
        again = reasons(clean(DOCUMENTS, steps=steps, root=tmp_path / "again"))
    else:
        again = dict.fromkeys(reasons(corpus), "length.too_few_words")
    before = reasons(corpus)
    after = tuple([LengthFilter(min_words=minimum, min_chars=0), AlphabetFilter()])
    found = compare(corpus, steps_of(corpus), after, examples=1000)
    assert found.kept.after.documents == sum(reason is None for reason in again.values())
    moved = {m.doc_id: m.after or None for m in found.examples}
    expected = {d: again[d] for d in again if (again[d] is None) != (before[d] is None)}
    assert moved == expected


def test_the_sums_of_both_verdicts_are_all_documents(corpus):
    found = compare(corpus, steps_of(corpus), [LengthFilter(min_words=80), AlphabetFilter()])
    for when in ("before", "after"):
        dropped = sum(getattr(rule, when).documents for rule in found.rules.values())
        kept = getattr(found.kept, when)
        assert dropped + kept.documents == found.judged.documents == len(DOCUMENTS)
        groups = (found.by_source, found.by_language)
        for group in groups:
            assert sum(getattr(c, when).bytes for c in group.values()) == kept.bytes
    assert found.lost.documents > 0 == found.returned.documents
    difference = found.kept.before.documents - found.kept.after.documents
    assert difference == found.lost.documents


def test_the_same_steps_move_nothing(corpus):
    steps = steps_of(corpus)
    found = compare(corpus, steps, steps)
    assert found.examples == [] and found.kept.before == found.kept.after


def test_examples_show_both_directions_and_no_more_than_asked(corpus):
    steps = [LengthFilter(min_words=20, max_words=90), AlphabetFilter()]
    found = compare(corpus, steps_of(corpus), steps, examples=4)
    assert len(found.examples) == 4
    assert {moved.after == KEPT for moved in found.examples} == {True, False}
    assert all(KEPT in (moved.before, moved.after) for moved in found.examples)


def test_a_filter_that_never_measured_is_refused(corpus):
    with pytest.raises(ConfigError, match="'language' was never measured"):
        compare(corpus, steps_of(corpus), [*steps_of(corpus), LanguageFilter()])


class Counting(Filter):
    """A filter whose list shapes what it measures."""

    kind: str = "counting"
    words: tuple[str, ...] = ()
    most: int = 3
    reasons = ("too_many",)

    def measure(self, batch):
        return {"hits": self._hits(batch)}

    def _hits(self, batch):
        return [sum(word in text for word in self.words) for text in batch.texts]

    def judge(self, measures):
        return self.first_failure([measures["hits"] > self.most])


def test_fields_that_shape_measures_are_told_from_thresholds():
    assert measuring_fields(Counting) == {"words"}
    assert measuring_fields(LengthFilter) == set()
    assert "keep" not in measuring_fields(LanguageFilter)


def test_a_changed_list_needs_another_cleaning():
    check_comparable([Counting(words=("a",))], [Counting(words=("a",), most=9)])
    with pytest.raises(ConfigError, match="counting.words shapes what is measured"):
        check_comparable([Counting(words=("a",))], [Counting(words=("b",))])


def test_overrides_name_steps_by_kind():
    steps = [
        LengthFilter(languages=("en",)), LengthFilter(except_languages=("en",)), AlphabetFilter(),
    ]  # fmt: skip
    assert labelled_overrides(steps, ["clean.steps.length.min_words=9", "a.b=1"]) == [
        "clean.steps.0.min_words=9", "clean.steps.1.min_words=9", "a.b=1",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="no step is called 'lenght'; there are length, alphabet"):
        labelled_overrides(steps, ["clean.steps.lenght.min_words=9"])


def test_a_corpus_of_two_files_is_read_part_by_part(clean):
    names = sorted(DOCUMENTS)
    halves = [{n: DOCUMENTS[n] for n in names[::2]}, {n: DOCUMENTS[n] for n in names[1::2]}]
    corpus = clean(halves, steps=STEPS)
    assert len(list(MeasuredCorpus(corpus))) == 2
    found = compare(corpus, steps_of(corpus), [LengthFilter(min_words=0), AlphabetFilter()])
    assert found.kept.after.documents == len(DOCUMENTS)


def test_batches_that_begin_in_different_languages_make_one_corpus(clean):
    german = "Der Hund läuft durch den Wald und die Katze schläft auf dem alten Sofa im Haus. "
    english = "The dog runs through the forest and the cat sleeps on the old sofa in the house. "
    many = {f"{i}": (german if i < 1000 else english) + made_up(i, words=24) for i in range(1200)}
    steps = ({"kind": "rules", "preset": "generic", "routes": {"en": "gopher"}},)
    corpus = clean(many, steps=steps, dedup=NO_DEDUP)
    assert corpus.facts["documents_read"] == 1200
    table = next(measured_parts(corpus)).table
    assert table.column("length.words").null_count == 200
    assert table.column("gopher_quality.words").null_count == 1000
