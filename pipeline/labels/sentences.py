"""Sentences of documentation, without its markup; which characters were marked as code is kept.

"If ``None``, the :class:`Path` of" -> If None, the Path of
                                      ...cccc......cccc...
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

WORDS = (6, 40)  # guess: a phrase to read, and no list of parameters run together
LETTERS = 0.7  # of the characters, spaces counted as letters: less is a table or a formula
_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`:])")
_MARKED = re.compile(r"(?::[a-z:]+:)?(``|`)(?!\s)([^`]+?)(?<!\s)\1(?:_{1,2})?")
_ROLE = re.compile(r"^~?\.?(.*?)(?:\s<[^>]*>)?$", re.DOTALL)
_NO_PROSE = re.compile(r"^(>>>|\.\.\.|\.\. |[-=~*#|+_^\"]{3}|[*•-] |:\w+|@|\||\d+[.)] )")


@dataclass(frozen=True)
class Sentence:
    """A sentence, and for each character whether its author marked it as code."""

    text: str
    code: tuple[bool, ...]


def sentences_of(text: str) -> Iterator[Sentence]:
    """The sentences of the paragraphs of a document; code, lists and signatures are not looked at.

    A sentence has 6 to 40 words, begins with a capital and ends with a full stop.
    """
    for paragraph in _paragraphs(text):
        for raw in _END.split(paragraph):
            sentence = _unmarked(raw.strip())
            if sentence is not None and _is_prose(sentence.text):
                yield sentence


def _paragraphs(text: str) -> Iterator[str]:
    """Lines of equal indentation that follow each other, on one line."""
    lines: list[str] = []
    indent = -1
    for line in [*text.split("\n"), ""]:
        stripped = line.strip()
        depth = len(line) - len(line.lstrip())
        if lines and (not stripped or depth != indent or _NO_PROSE.match(stripped)):
            yield " ".join(lines)
            lines = []
        if stripped and not _NO_PROSE.match(stripped):
            lines.append(stripped)
            indent = depth


def _unmarked(raw: str) -> Sentence | None:
    """None where the markup does not add up."""
    text = ""
    code: list[bool] = []
    at = 0
    for match in _MARKED.finditer(raw):
        plain, marked = raw[at : match.start()], match.group(2)
        shown = _ROLE.match(marked)
        marked = shown.group(1) if shown is not None else marked
        text += plain + marked
        code += [False] * len(plain) + [True] * len(marked)
        at = match.end()
    text += raw[at:]
    code += [False] * (len(text) - len(code))
    if "`" in text or "*" in text:
        return None
    return Sentence(text, tuple(code))


def _is_prose(text: str) -> bool:
    if not (text[:1].isupper() and text.endswith(".")) or "::" in text or "  " in text:
        return False
    words = text.split()
    if not WORDS[0] <= len(words) <= WORDS[1]:
        return False
    return sum(c.isalpha() or c == " " for c in text) >= LETTERS * len(text)
