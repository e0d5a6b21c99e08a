"""The journey of a document: every fate is told with its figures."""

import io
import json

import pytest
from rich.console import Console

from pipeline.corpus.accounts import total
from pipeline.corpus.measured import KEPT
from pipeline.reports.corpus_facts import CorpusFacts
from pipeline.reports.corpus_report import corpus_sections, corpus_table
from pipeline.reports.journey import find_journey, render_journey
from pipeline.reports.learners import Learner
from pipeline.stages.clean_corpus import CleanConfig, clean_corpus
from pipeline.store.runtime import Runtime
from tests.corpus.conftest import hold_out, made_up
from tests.reports.corpus_world import make_dirty_corpus


@pytest.fixture
def corpus(dirty_corpus):
    return dirty_corpus


def journey_of(corpus, name):
    found = find_journey(corpus, f"web/web/{name}")
    assert found is not None
    return found


def shown(journey, learners=(), *, width=160):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render_journey(journey, learners))
    return console.export_text()


def test_a_kept_document_names_its_steps_limits_and_learners(corpus):
    journey = journey_of(corpus, "plain-20")
    assert journey.is_kept and journey.verdict == "kept"
    words = next(m for p in journey.passages for m in p.measures if m.name == "words")
    assert words.bounds.startswith("≥ 30") and words.holds
    learner = Learner("pretrain@0123", ("tokens",))
    told = "learned from by pretrain@0123 (trained on its tokens)"
    assert told in shown(journey, [learner])


def test_a_dropped_document_shows_the_value_beyond_its_limit(corpus):
    journey = journey_of(corpus, "short and repetitive")
    assert journey.verdict == "rejected: length.too_few_words" and not journey.is_kept
    failing = {f"{p.label}.{m.name}" for p in journey.passages for m in p.measures if not m.holds}
    assert {"length.words", "repetition.duplicate_lines"} <= failing
    text = shown(journey, [Learner("pretrain@0123", ("tokens",))])
    assert "length → length.too_few_words" in text and "≥ 30 and ≤ 1,000,000 ✗" in text
    assert "learned from" not in text


def test_a_narrow_terminal_cuts_no_name_off(corpus):
    text = shown(journey_of(corpus, "short and repetitive"), width=80)
    assert "duplicate_paragraph_chars" in text and "repetition → repetition.duplicate_lines" in text
    assert "…\n" not in text.rstrip().rpartition("\n")[0] and " nan" not in text


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


def test_how_often_a_document_is_used_is_told(tmp_path):
    steps = ({"kind": "length", "min_words": 5},)
    mixing = {"weights": {"web": 2.5, "bad": 0}}
    corpus = make_dirty_corpus(tmp_path / "root", tmp_path / "in", steps, mixing=mixing)
    shown_texts = [
        shown(journey) for name in ("plain-20", "plain-21", "plain-22", "plain-23")
        if (journey := find_journey(corpus, f"web/web/{name}")) is not None
    ]  # fmt: skip
    assert all("mixing: used 2 times" in t or "mixing: used 3 times" in t for t in shown_texts)
    left_out = find_journey(corpus, "bad/<i>bad/o")
    assert left_out is not None and left_out.is_kept and left_out.repeats == 0
    assert "mixing: not drawn" in shown(left_out, ["pretrain@0123"])
    assert "trained on" not in shown(left_out, ["pretrain@0123"])
    section = next(s for s in corpus_sections(CorpusFacts(corpus)) if s.anchor == "mixing")
    assert [row[0] for row in section.blocks[-1].rows] == ["bad", "web"]


def test_a_held_out_document_is_told_apart_from_one_nobody_read(tmp_path):
    corpus = make_dirty_corpus(tmp_path / "root", tmp_path / "in", held_out="plain-25")
    journey = find_journey(corpus, "web/web/plain-25")
    assert journey is not None and journey.verdict.startswith("held out")


def test_a_document_nobody_read_has_no_journey(corpus):
    assert find_journey(corpus, "no/such/document") is None


def test_what_was_cut_out_of_a_document_is_told(tmp_path):
    place = tmp_path / "in.jsonl"
    shared = "This very line of a footer stands on every single page of the site. All rights."
    rows = [{"id": f"p{i}", "text": made_up(i) + "\n" + shared} for i in range(6)]
    place.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    source = {"kind": "jsonl", "name": "web", "paths": [str(place)]}
    config = CleanConfig.model_validate({"sources": [source], "dedup": {"lines": {}}})
    held_out = hold_out(tmp_path / "root", {"held": made_up(999_983)})
    corpus = clean_corpus(config, held_out, root=tmp_path / "root", runtime=Runtime())
    journeys = [find_journey(corpus, f"web/in/p{i}") for i in range(6)]
    cut = [journey.cuts for journey in journeys if journey is not None]
    assert sorted(len(cuts) for cuts in cut) == [0, 1, 1, 1, 1, 1]
    assert "repeated_line" in next(cuts[0] for cuts in cut if cuts)
    table = corpus_table(corpus)
    lost = next(row for row in table if row["step"] == "cut inside kept documents")
    assert lost["documents"] == 0 and lost["bytes"] <= -5 * len(shared)
    assert sum(row["bytes"] for row in table[:-1]) == table[-1]["bytes"]
    assert table[-1]["bytes"] == corpus.facts["bytes_kept"]
    fates = CorpusFacts(corpus).accounts.by["source"]["web"]
    assert fates[KEPT].bytes == corpus.facts["by_source"]["web"]["bytes_kept"]
    assert total(fates).bytes == fates[KEPT].bytes - lost["bytes"]
