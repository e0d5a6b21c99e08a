"""A report as Markdown: for people in a terminal, for repositories, and for Prefect's pages."""

import base64
import re
from collections.abc import Sequence

from pipeline.reports.blocks import (
    Block,
    Code,
    Continuations,
    Document,
    Drawing,
    Excerpt,
    Figures,
    Fold,
    Grid,
    Marked,
    Origin,
    Picture,
    Question,
    Section,
    Shares,
    Table,
    Text,
    visible,
)

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
_MARK = {"plain": "", "good": "✓ ", "bad": "✗ "}


def render_markdown(
    title: str, subtitle: str, sections: Sequence[Section], *, embed_pictures: bool
) -> str:
    """The report; pictures as files beside it (`curve.png`), or embedded as data URIs."""
    lines = [f"# {escaped(title)}", "", escaped(subtitle), ""]
    for section in sections:
        if section.title:
            lines += [f"## {escaped(section.title)}", ""]
        for block in section.blocks:
            lines += [_block(block, embed_pictures), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def escaped(text: str) -> str:
    """`text` on one line, with everything Markdown or HTML could read as markup escaped."""
    line = " ".join(visible(text).split())
    return _SPECIAL.sub(r"\\\1", line)


def fenced(text: str, language: str = "text") -> str:
    """`text` as it is, in a fence longer than any run of backticks inside."""
    shown = visible(text)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{shown}\n{fence}"


def _block(block: Block, embed: bool) -> str:  # noqa: C901 - one case per kind of block
    match block:
        case Text():
            return f"{_MARK[block.tone]}{escaped(block.text)}"
        case Figures():
            return "\n".join(
                f"- {escaped(f.label)}: **{escaped(f.value)}**"
                + (f" ({escaped(f.detail)})" if f.detail else "")
                for f in block.figures
            )
        case Table():
            return _table(block)
        case Picture():
            target = f"{block.name}.png"
            if embed:
                target = "data:image/png;base64," + base64.b64encode(block.light).decode("ascii")
            return f"![{escaped(block.description)}]({target})"
        case Code():
            return fenced(block.text, block.language)
        case Continuations():
            parts = [f"Prompt:\n\n{fenced(block.prompt)}"]
            parts += [f"{escaped(label)}:\n\n{fenced(text)}" for label, text in block.entries]
            return "\n\n".join(parts)
        case Question():
            return _question(block)
        case Drawing():  # Markdown has no place for SVG; the numbers stand in the tables
            return escaped(block.description)
        case Grid():
            return "\n".join(f"- {escaped(drawing.description)}" for drawing in block.drawings)
        case Shares():
            right = frozenset(range(1, len(block.columns)))
            return _table(Table(block.columns, block.rows, right, caption=block.caption))
        case Excerpt():
            head = " · ".join(part for part in (block.title, block.facts, block.verdict) if part)
            return f"{escaped(head)}\n\n{fenced(block.text)}"
        case Marked():
            marked = "".join(f"⟦{p.text}⟧" if p.trained else p.text for p in block.pieces)
            return f"{escaped(block.title)} ({escaped(block.facts)})\n\n{fenced(marked)}"
        case Origin():
            return "from " + ", ".join(f"`{reference}`" for reference in block.references)
        case Document():
            return fenced(block.text, "json")
        case Fold():
            inner = "\n\n".join(_block(member, embed) for member in block.blocks)
            return f"**{escaped(block.summary)}** ({escaped(block.detail)})\n\n{inner}"


def _table(table: Table) -> str:
    rules = ["---:" if i in table.right else "---" for i in range(len(table.columns))]
    lines = [_row(table.columns), _row(rules, raw=True)]
    for i, row in enumerate(table.rows):
        cells = [escaped(cell) for cell in row]
        if i in table.strong:
            cells = [f"**{cell}**" if cell else cell for cell in cells]
        lines.append(_row(cells, raw=True))
    if table.caption:
        lines += ["", escaped(table.caption)]
    return "\n".join(lines)


def _row(cells: Sequence[str], *, raw: bool = False) -> str:
    return "| " + " | ".join(cell if raw else escaped(cell) for cell in cells) + " |"


def _question(question: Question) -> str:
    parts = [
        f"**{escaped(question.kind)}**", fenced(question.prompt),
        f"Expected:\n\n{fenced(question.expected)}",
    ]  # fmt: skip
    for answer in question.answers:
        mark = "✓" if answer.correct else "✗"
        parts.append(f"{mark} {escaped(answer.who)}:\n\n{fenced(answer.text)}")
    return "\n\n".join(parts)
