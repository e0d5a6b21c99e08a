"""A trace on the terminal."""

from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.reports.trace import Trace

_MAX_MASK = 40  # positions; a larger picture fits no screen
_TOP = 2  # guesses; the page shows all of them


def print_trace(trace: Trace, console: Console | None = None) -> None:
    """Print every step."""
    (console or Console()).print(render_trace(trace), highlight=False)


def render_trace(trace: Trace) -> RenderableType:
    """Every step, as something rich can print."""
    parts: list[RenderableType] = [
        _heading("text", trace.rule),
        Text(repr(trace.text), style="cyan"),
    ]
    if trace.answer is not None:
        parts.append(Text(repr(trace.answer), style="green"))
    parts += [_heading("tokens and ids", f"{len(trace.ids)} of them"), _tokens(trace)]
    parts += [
        _heading(
            "inputs, targets, mask", "position t reads t and all before it, and predicts t + 1"
        ),
        _positions(trace),
        _heading("shapes", "(batch, positions, ...)"),
        _shapes(trace),
        _heading("attention mask", "row reads column; padding mask + sequence mask"),
        _mask(trace),
        _heading("loss", "sum(loss * mask) / sum(mask)"),
        Text(
            f"{trace.sum_nats:.4f} / {trace.scored} = {trace.loss:.4f} nats per token, "
            f"perplexity exp({trace.loss:.4f}) = {trace.perplexity:.2f}",
            style="bold",
        ),
    ]
    return Group(*parts)


def _heading(title: str, detail: str) -> Text:
    return Text.assemble("\n", (title, "bold"), "  ", (detail, "dim"))


def _tokens(trace: Trace) -> Text:
    text = Text()
    for token, number, trained in zip(trace.tokens, trace.ids, trace.trainable, strict=True):
        text.append(token or " ", style="black on green" if trained else "reverse")
        text.append(f"{number} ", style="dim")
    return text


def _positions(trace: Trace) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for name in ("t", "input", "id", "target", "id", "mask", "p", "nats"):
        justify: Literal["left", "right"] = "left" if name in ("input", "target") else "right"
        table.add_column(name, justify=justify, no_wrap=True)
    table.add_column("likeliest")
    for row in trace.positions:
        guesses = "  ".join(f"{guess.token} {guess.probability:.2f}" for guess in row.top[:_TOP])
        table.add_row(
            str(row.index), Text(row.input_token), str(row.input_id), Text(row.target_token),
            str(row.target_id), str(row.mask), f"{row.probability:.4f}", f"{row.nats:.3f}",
            Text(guesses), style="" if row.mask else "dim",
        )  # fmt: skip
    return table


def _shapes(trace: Trace) -> Table:
    table = Table.grid(padding=(0, 2))
    for shape in trace.shapes:
        table.add_row(
            shape.name, Text(str(shape.shape), style="bold"), Text(shape.meaning, style="dim")
        )
    return table


def _mask(trace: Trace) -> Text:
    text = Text()
    if len(trace.may_attend) > _MAX_MASK:
        return Text(f"{len(trace.may_attend)} positions: see the HTML page", style="dim")
    for t, row in enumerate(trace.may_attend):
        text.append(f"{t:3d} ", style="dim")
        text.append("".join("██" if allowed else "··" for allowed in row))
        text.append("" if trace.valid[t] else "  padding", style="dim")
        text.append("\n")
    text.rstrip()
    return text
