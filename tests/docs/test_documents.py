"""The documents name what is there: they cannot drift from the tree."""

import re
from collections import Counter
from typing import get_args

import pytest

from pipeline.conversations.formats import SHAPES
from pipeline.corpus.sources import AnySource
from tests.docs.pages import (
    Concept,
    code_blocks,
    concepts,
    missing,
    text,
    tour_files,
    tree_files,
)

SOURCES = get_args(get_args(AnySource)[0])


def test_every_concept_says_where_it_is_and_what_holds_it():
    rows = concepts()
    assert len({row.section for row in rows}) == 5
    for row in rows:
        there = row.where != "not there yet"
        assert there == (row.held_by != "-"), row
        if there:
            assert row.where.count("`") == 4 and row.held_by.count("`") == 4, row


@pytest.mark.parametrize("concept", concepts(), ids=lambda concept: concept.name[:60])
def test_the_named_code_and_test_exist(concept: Concept):
    if concept.where != "not there yet":
        assert missing(concept.where) + missing(concept.held_by) == []
        assert concept.held_by.startswith("`tests/")


def test_the_tour_names_every_file_once():
    named = tour_files()
    assert [name for name, times in Counter(named).items() if times > 1] == []
    assert set(tree_files()) - set(named) == set()
    assert set(named) - set(tree_files()) == set()


def test_the_chinese_readme_has_the_same_sections():
    levels = [
        re.findall(r"^(#+) ", re.sub(r"^```.*?^```", "", page, flags=re.M | re.S), re.M)
        for page in (text("README.md"), text("docs/README.zh-CN.md"))
    ]
    assert levels[0] == levels[1]


def test_the_chinese_readme_has_the_same_code_but_for_comments():
    ours, theirs = (code_blocks(text(name)) for name in ("README.md", "docs/README.zh-CN.md"))
    for (language, block), (same, translated) in zip(ours, theirs, strict=True):
        assert language == same
        if language:
            assert block == translated
        else:  # a drawing: its words are translated, its lines and names stay
            assert len(block) == len(translated)
            names = [re.findall(r"^[A-Za-z_]+/", "\n".join(lines), re.M)
                     for lines in (block, translated)]  # fmt: skip
            assert names[0] == names[1]


def test_every_source_field_is_documented_and_no_other():
    sections = re.split(r"^#+ ", text("docs/sources.md"), flags=re.M)
    fields = {
        section.splitlines()[0]: set(re.findall(r"^\| `(\w+)`", section, re.M))
        for section in sections
        if "| field |" in section
    }
    for source in SOURCES:
        kind = source.model_fields["kind"].default
        documented = fields.get(f"`{kind}`", set()) | fields["Fields of every source"]
        for title, names in fields.items():
            if title.startswith("Fields of") and f"`{kind}`" in title:
                documented |= names
        assert documented == set(source.model_fields) - {"kind"}, kind


def test_every_shape_of_examples_is_in_the_formats():
    page = text("docs/formats.md")
    for name, (needed, optional) in SHAPES.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
        assert all(f'"{key}"' in row for key in needed | optional), name


def test_every_make_target_is_in_the_development_page():
    targets = re.findall(r"^([a-z-]+):.*## ", text("Makefile"), re.M)
    page = text("docs/development.md")
    assert [target for target in targets if f"`make {target}`" not in page] == []
