"""The report of a cleaned corpus: its sums are exact, and no text can become markup."""

import re
from html.parser import HTMLParser

import pytest

from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.funnel import HELD_OUT
from pipeline.reports.corpus_facts import CorpusFacts
from pipeline.reports.corpus_report import (
    corpus_html,
    corpus_sections,
    corpus_table,
    write_corpus_report,
)
from pipeline.reports.corpus_rules import rules_section
from pipeline.reports.markdown import render_markdown
from pipeline.store.errors import ArtifactError
from tests.reports.corpus_world import make_dirty_corpus

VOID = {"meta", "img", "br", "rect", "line", "source"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; refuses tags that do not nest."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text, self._open = [], [], "", []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in VOID or tag in ("rect", "line"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def corpus(dirty_corpus):
    return dirty_corpus


@pytest.fixture(scope="module")
def html(corpus):
    return corpus_html(corpus)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_every_section_has_something_to_say(corpus):
    anchors = [section.anchor for section in corpus_sections(CorpusFacts(corpus))]
    assert anchors[:3] == ["headline", "funnel", "by-source"]
    for anchor in ("measures", "duplicates", "samples", "changes", "quarantine", "provenance"):
        assert anchor in anchors


def test_the_page_begins_with_what_happened(corpus, page):
    read, kept = corpus.facts["documents_read"], corpus.facts["documents_kept"]
    told = page.text[: page.text.index("documents kept")]
    assert f"{read} documents (" in told and "from 2 sources" in told and f"{kept} of them" in told


def test_rules_stand_below_their_step(corpus, html):
    table = rules_section(CorpusFacts(corpus)).blocks[-1]
    heads = [row[0] for row in table.rows if not any(row[1:])]
    assert {"length", "repetition"} <= set(heads) and len(heads) == len(set(heads))
    assert ("too_few_words", "words ≥\u00a030") in [row[:2] for row in table.rows]
    assert html.count('<tr class="group">') == len(heads)


def test_a_narrow_page_has_a_funnel_of_its_own(html, corpus):
    funnel = html[html.index('id="funnel"') : html.index('id="by-source"')]
    wide, narrow = funnel.split('<div class="drawing narrow">')
    assert wide.count("near_duplicate") and narrow.count("near_duplicate")
    assert 'viewBox="0 0 400 ' in narrow


def test_the_table_adds_up_to_what_was_kept_in_documents_and_in_bytes(corpus):
    rows = corpus_table(corpus)
    assert rows[0]["step"] == "read" and rows[-1]["step"] == "kept"
    for unit in ("documents", "bytes"):
        assert sum(row[unit] for row in rows[:-1]) == rows[-1][unit]
    assert rows[0]["documents"] == corpus.facts["documents_read"]
    assert rows[-1]["documents"] == corpus.facts["documents_kept"]
    assert rows[-1]["bytes"] == corpus.facts["bytes_kept"]


def test_losses_are_those_of_the_manifest(corpus):
    losses = {row["step"]: -row["documents"] for row in corpus_table(corpus)[1:-1]}
    dropped = dict(corpus.facts["dropped"])
    dropped.pop(HELD_OUT, None)
    losses.pop("repaired, rewritten", None)
    assert losses == dropped


def test_the_page_holds_no_script_and_asks_for_nothing(page):
    assert not {"script", "img", "iframe", "object", "link", "form", "i", "b"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href"):
            assert value.startswith("#"), value


def test_text_from_outside_is_shown_as_text(page):
    assert '<script>alert("kept")</script><img src=x onerror=alert(1)>' in page.text
    assert "<U+202E><b>id</b>" in page.text and "<i>bad.jsonl" in page.text
    assert "\u202e" not in page.text
    assert "[bold]x[/bold] 语言模型" in page.text


def test_dropped_samples_name_the_value_and_its_limit(page):
    assert re.search(r"length\.too_few_words: words is \d+, must be ≥ 30", page.text)
    assert re.search(
        r"repetition\.duplicate_lines: duplicate_lines is 0\.967, must be ≤ 0\.3", page.text
    )


def test_duplicates_name_their_similarity_and_who_stayed(corpus, page):
    cluster = CorpusFacts(corpus).clusters[0]
    assert cluster.keeper.endswith("near") and cluster.size == 4  # through a copy that left too
    assert cluster.jaccards[-1] == 1.0 and cluster.jaccards[0] < 1
    assert cluster.text is not None and cluster.keeper in page.text


def test_unreadable_records_come_with_file_and_position(corpus, page):
    found = CorpusFacts(corpus).quarantined
    assert sum(entry.count for entry in found) == corpus.facts["quarantined"] == 2
    for entry in found:
        for example in entry.examples:
            assert str(example["position"]) and str(example["file"]) in page.text


def test_the_same_corpus_gives_the_same_bytes(corpus, html):
    again = CleanedCorpus.open(corpus.path)
    assert corpus_html(again) == html


def test_the_report_lies_beside_those_of_runs(corpus, tmp_path):
    path = write_corpus_report(corpus, tmp_path)
    assert path == tmp_path / "reports" / f"corpus-{corpus.fingerprint[:12]}" / "report.html"
    assert path.read_text("utf-8").startswith("<!doctype html>")


def test_markdown_says_the_same_without_markup(corpus):
    sections = corpus_sections(CorpusFacts(corpus))
    text = render_markdown("corpus", "", sections, embed_pictures=False)
    assert "exact\\_duplicate" in text and "<b>id</b>" not in text.replace("\\<b\\>", "")


def test_a_part_without_its_record_is_named(corpus, tmp_path):
    other = make_dirty_corpus(tmp_path / "root", tmp_path / "in")
    (other.part_paths()[0] / "measures.parquet").unlink()
    with pytest.raises(ArtifactError, match="measures.parquet"):
        corpus_html(other)
