"""The parts a report is put together from; every string in them is data, never markup.

sections.py makes blocks -> markdown.py, html.py and terminal.py each say them in their own way
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup

from pipeline.reports.themes import DARK, LIGHT, Theme

Tone = Literal["plain", "good", "bad"]


@dataclass(frozen=True)
class Text:
    """A paragraph; `tone` colours a verdict."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Figure:
    """One headline number."""

    label: str
    value: str
    detail: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True)
class Figures:
    """Headline numbers side by side."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Table:
    """Rows of text; `right` are the columns of numbers, `strong` the rows that matter most."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()
    strong: frozenset[int] = frozenset()
    code: frozenset[int] = frozenset()
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG for light pages and one for dark pages; `name` becomes the file's name.

    `draw` makes both, when they are first looked at; what an earlier report drew of the same
    artifacts can be put into `drawn`.
    """

    name: str
    description: str
    draw: Callable[[Theme], bytes]
    drawn: dict[str, bytes] = field(default_factory=dict)

    @property
    def light(self) -> bytes:
        return self._drawn("light", LIGHT)

    @property
    def dark(self) -> bytes:
        return self._drawn("dark", DARK)

    def _drawn(self, name: str, theme: Theme) -> bytes:
        if name not in self.drawn:
            self.drawn[name] = self.draw(theme)
        return self.drawn[name]


@dataclass(frozen=True)
class Code:
    """Source text to copy."""

    text: str
    language: str = "python"


@dataclass(frozen=True)
class Continuations:
    """One prompt, and what followed it at different moments: (label, text)."""

    prompt: str
    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Answer:
    """What one model said."""

    who: str
    text: str
    correct: bool


@dataclass(frozen=True)
class Question:
    """A held-out question with the expected answer and each model's."""

    kind: str
    prompt: str
    expected: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Drawing:
    """A picture made by svg.py, where every text in it has been escaped."""

    description: str
    svg: Markup
    narrow: Markup | None = None
    """For the width of a phone, where the other would be too small to read."""


@dataclass(frozen=True)
class Grid:
    """Small drawings side by side."""

    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class Shares:
    """A table whose cells are shares, the larger the darker; the first column names the rows.

    A row of which only the first cell is not empty is a heading of those below it.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    shares: tuple[tuple[float | None, ...], ...]
    """One per cell, 0 to 1; None for a cell that is no share."""
    left: frozenset[int] = frozenset()
    """Columns of words."""
    caption: str = ""


@dataclass(frozen=True)
class Excerpt:
    """A piece of text from outside, with what is known about it."""

    title: str
    facts: str
    text: str
    verdict: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True)
class Piece:
    """Neighbouring tokens of one kind."""

    text: str
    trained: bool
    special: bool


@dataclass(frozen=True)
class Marked:
    """A fine-tuning example with its trained tokens marked."""

    title: str
    facts: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Fold:
    """Blocks behind a line that opens them."""

    summary: str
    detail: str
    blocks: tuple["Block", ...]
    is_open: bool = False


@dataclass(frozen=True)
class Origin:
    """Where the figures above come from: references, each a link to the manifest of that name."""

    references: tuple[str, ...]


@dataclass(frozen=True)
class Document:
    """A long source text that links lead to; `anchor` is its name in them."""

    anchor: str
    text: str


Block = (
    Text
    | Figures
    | Table
    | Picture
    | Code
    | Continuations
    | Question
    | Drawing
    | Grid
    | Shares
    | Excerpt
    | Marked
    | Fold
    | Origin
    | Document
)


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; `anchor` is its name in links."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


def anchor_of(reference: str) -> str:
    """The name in links of what `stage@digits` stands for."""
    return "manifest-" + "".join(c if c.isalnum() else "-" for c in reference)


def visible(text: str) -> str:
    """`text` with control characters made visible and lone surrogates replaced: safe to write.

    Newlines and tabs stay. Direction marks become visible too, so no text can rearrange a page.
    """
    return "".join(map(_visible, text))


def _visible(char: str) -> str:
    code = ord(char)
    if code < 0x20 and char not in "\n\t":
        return chr(0x2400 + code)  # the picture of the control character
    if 0xD800 <= code <= 0xDFFF:
        return "\N{REPLACEMENT CHARACTER}"
    if code == 0x7F or 0x80 <= code < 0xA0 or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069:
        return f"<U+{code:04X}>"
    return char
