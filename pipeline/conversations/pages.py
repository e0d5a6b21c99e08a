r"""What a plain text shows of its structure: a name line, headed sections, options, sentences.

    NAME                        a heading: a short line of letters right above its text
    ls - list directory         the name line: `name - summary`, first below the first heading

    OPTIONS
    -a, --all                   an option and, indented or after two spaces, what it does
           do not ignore ...

Manual pages have all of it, in any language; other text has sentences, and that is enough.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

MAX_HEADING_CHARS = 20
_HEADING = re.compile(r"[^\W\d_][\w /()（）、-]*")
_NAME_LINE = re.compile(r"(\S.{0,80}?)\s+[-–—]{1,2}\s+(\S.*)")
_OPTION = re.compile(r"(-{1,2}[\w?#][^\s,]*(?:, ?-{1,2}[^\s,]+)*)(?:\s{2,}(\S.*))?")
_SENTENCE = re.compile(r"[^。！？!?\n]*?(?:[。！？]+[”’」』）]?|[!?](?=\s|$)|\.(?=\s|$))")


@dataclass(frozen=True)
class Section:
    """A heading and the paragraphs below it."""

    heading: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class Option:
    """A command-line option and the paragraph that describes it."""

    flags: str
    meaning: str


@dataclass(frozen=True)
class Page:
    """One document, taken apart."""

    doc_id: str
    text: str
    name: str
    """"" where there is no name line."""
    summary: str
    sections: tuple[Section, ...]
    options: tuple[Option, ...]


def read_page(doc_id: str, text: str) -> Page:
    """The structure of `text`; a text without any is a page without name, sections, options."""
    sections = tuple(_sections(text))
    name, summary = "", ""
    if sections and sections[0].paragraphs:
        found = _NAME_LINE.fullmatch(sections[0].paragraphs[0].split("\n")[0].strip())
        if found:
            name, summary = found[1].strip(), found[2].strip()
    return Page(doc_id, text, name, summary, sections, tuple(_options(text)))


def sentences(text: str) -> list[str]:
    """Sentences that end in a full stop, question or exclamation mark; they cross no line end."""
    found = (match.group().strip() for match in _SENTENCE.finditer(text))
    return [sentence for sentence in found if len(sentence) > 1]


def _sections(text: str) -> Iterator[Section]:
    lines = ["", *text.split("\n"), ""]
    marks = [i for i in range(1, len(lines) - 1) if _is_heading(lines, i)]
    for start, end in pairwise([*marks, len(lines)]):
        body = "\n".join(lines[start + 1 : end]).strip("\n")
        paragraphs = tuple(part for part in re.split(r"\n\s*\n", body) if part.strip())
        yield Section(lines[start].strip(), paragraphs)


def _is_heading(lines: list[str], i: int) -> bool:
    line, below = lines[i], lines[i + 1]
    alone = not lines[i - 1].strip() and bool(below.strip()) and not below.startswith(" ")
    return alone and len(line) <= MAX_HEADING_CHARS and _HEADING.fullmatch(line) is not None


def _options(text: str) -> Iterator[Option]:
    lines = [*text.split("\n"), ""]
    for i, line in enumerate(lines[:-1]):
        found = _OPTION.fullmatch(line)
        if found is None:
            continue
        meaning = found[2] or (lines[i + 1].strip() if lines[i + 1].startswith("  ") else "")
        if meaning:
            yield Option(found[1], meaning)
