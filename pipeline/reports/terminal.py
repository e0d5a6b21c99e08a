"""The end of a run on the terminal: the same sections, in the width of a screen."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text as RichText

from pipeline.reports.blocks import (
    Block,
    Code,
    Continuations,
    Figures,
    Origin,
    Question,
    Section,
    Table,
    Text,
    visible,
)
from pipeline.reports.facts import ReportPaths, RunFacts
from pipeline.reports.sections import report_sections

_TONES = {"plain": "", "good": "green", "bad": "red"}
_SHOWN = ("headline", "corpus", "learning", "samples", "baselines", "masked", "answers", "registry")
_MAX_PROMPTS, _MAX_QUESTIONS, _MAX_CHARS = 1, 4, 300


def print_summary(
    run: RunFacts, paths: ReportPaths | None = None, console: Console | None = None
) -> None:
    """Print the run's results; `paths` adds where the report lies."""
    (console or Console()).print(summary(run, paths), highlight=False, crop=False)


def print_sections(sections: Sequence[Section], console: Console | None = None) -> None:
    """Print sections that belong to no run, with captions; pictures are left to the page."""
    parts: list[RenderableType] = []
    for section in sections:
        parts += _section(section, captions=True)
    (console or Console()).print(Group(*parts), highlight=False)


def summary(run: RunFacts, paths: ReportPaths | None = None) -> RenderableType:
    """The run's results as something rich can print."""
    parts: list[RenderableType] = [""]
    for section in report_sections(run):
        if section.anchor in _SHOWN:
            parts += _section(section)
    if paths is not None:
        parts.append(RichText.assemble("\n", ("Report  ", "bold"), str(paths.html)))
    return Group(*parts)


def _section(section: Section, *, captions: bool = False) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if section.title:
        parts.append(RichText(f"\n{visible(section.title)}", style="bold"))
    prompts = questions = 0
    for block in section.blocks:
        if isinstance(block, Continuations):
            prompts += 1
            if prompts > _MAX_PROMPTS:
                continue
        if isinstance(block, Question):
            questions += 1
            if questions > _MAX_QUESTIONS:
                continue
        shown = _block(block)
        if isinstance(block, Code) and shown is not None:
            parts.append(shown)  # neither wrapped nor moved in: it is there to be copied
        elif shown is not None:
            parts.append(Padding(shown, (0, 0, 0, 2)))
        if captions and isinstance(block, Table) and block.caption:
            parts.append(Padding(RichText(visible(block.caption), style="dim"), (0, 0, 1, 2)))
    return parts


def _block(block: Block) -> RenderableType | None:
    match block:
        case Text():
            return RichText(visible(block.text), style=_TONES[block.tone])
        case Figures():
            return _figures(block)
        case Table():
            return _table(block)
        case Code():
            return RichText(visible(block.text), style="cyan", no_wrap=True, overflow="ignore")
        case Origin():
            return RichText(visible("from " + ", ".join(block.references)), style="dim")
        case Continuations():
            return _pairs(
                [("prompt", block.prompt, "bold"), *((k, t, "") for k, t in block.entries)]
            )
        case Question():
            rows = [(block.kind, block.prompt, "bold"), ("expected", block.expected, "")]
            rows += [
                (f"{'✓' if a.correct else '✗'} {a.who}", a.text, "green" if a.correct else "red")
                for a in block.answers
            ]
            return _pairs(rows)
        case _:
            return None


def _figures(block: Figures) -> RichTable:
    table = RichTable.grid(padding=(0, 2))
    for figure in block.figures:
        value = RichText(visible(figure.value), style=f"bold {_TONES[figure.tone]}".strip())
        table.add_row(
            RichText(visible(figure.label)), value, RichText(visible(figure.detail), style="dim")
        )
    return table


def _table(block: Table) -> RichTable:
    table = RichTable(box=None, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
    shown = [i for i, name in enumerate(block.columns) if name != "note"]
    for i in shown:
        justify = "right" if i in block.right else "left"
        name = visible(block.columns[i])
        table.add_column(name, justify=justify, no_wrap=i in block.right)  # type: ignore[arg-type]
    for number, row in enumerate(block.rows):
        cells = [RichText(visible(row[i])) for i in shown]
        table.add_row(*cells, style="bold" if number in block.strong else "")
    return table


def _pairs(rows: list[tuple[str, str, str]]) -> RichTable:
    table = RichTable.grid(padding=(0, 2))
    table.add_column(style="dim", min_width=9)
    for label, text, style in rows:
        table.add_row(RichText(visible(label)), RichText(_clipped(text), style=style))
    table.add_row("", "")
    return table


def _clipped(text: str) -> str:
    """One paragraph that fits a screen."""
    line = " ".join(visible(text).split())
    return line if len(line) <= _MAX_CHARS else line[: _MAX_CHARS - 1] + "…"
