"""Pictures of a run: loss curves, the funnel of documents, bits per byte beside the baselines.

Drawn with matplotlib's Agg canvas and no global state; every PNG is at least 1,000 pixels wide and
comes in a light and a dark form.
"""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Checkpoint
from pipeline.reports.numbers import count, short_count
from pipeline.reports.reading import read_lines
from pipeline.reports.themes import LIGHT, Theme

if TYPE_CHECKING:
    # Loaded to draw only: runs that find their pictures drawn save the time.
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 144
MAX_REASONS = 9  # lines for reasons in the picture of the funnel
_CJK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei",
    "Arial Unicode MS", "Droid Sans Fallback", "Unifont",
)  # fmt: skip


def loss_curve_png(checkpoint: Checkpoint, theme: Theme = LIGHT) -> bytes:
    """Training and validation loss of one checkpoint, the turning point of validation marked."""
    return loss_curves_png([(checkpoint.stage, checkpoint)], theme)


def loss_curves_png(checkpoints: Sequence[tuple[str, Checkpoint]], theme: Theme = LIGHT) -> bytes:
    """The same for several checkpoints, side by side."""
    width = 8.4 if len(checkpoints) == 1 else 10.0
    with canvas(theme, width, 4.0) as figure:
        for i, (title, checkpoint) in enumerate(checkpoints):
            axes = figure.add_subplot(1, len(checkpoints), i + 1)
            style_axes(axes, theme)
            _draw_losses(axes, title, checkpoint, theme)
        return png_bytes(figure)


def funnel_png(rows: Sequence[Mapping[str, Any]], theme: Theme = LIGHT) -> bytes:
    """Documents read, dropped by reason and kept; `rows` as `tables.funnel_rows` gives them."""
    rows = _pooled(rows)
    with canvas(theme, 8.4, 1.1 + 0.36 * len(rows)) as figure:
        axes = figure.add_subplot()
        style_axes(axes, theme, grid_axis="x")
        left = 0.0
        most = max((abs(row["documents"]) for row in rows), default=1) or 1
        for i, row in enumerate(rows):
            documents = row["documents"]
            if documents < 0:
                left += documents
                axes.barh(i, -documents, left=left, height=0.62, color=theme.second)
            else:
                colour = theme.good if row["step"] == "kept" else theme.accent
                axes.barh(i, documents, height=0.62, color=colour)
                left = documents
            end = max(left, 0) + (-documents if documents < 0 else 0)
            axes.text(
                end + most * 0.01, i, count(documents), va="center", fontsize=9, color=theme.ink
            )
        axes.set_yticks(range(len(rows)), [_shortened(str(row["step"])) for row in rows])
        axes.invert_yaxis()
        axes.set_xlim(0, most * 1.12)
        axes.set_xlabel("documents")
        axes.xaxis.set_major_formatter(lambda value, _: short_count(value))
        return png_bytes(figure)


def _pooled(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The most frequent reasons; the rest as one line, which the table beside it spells out."""
    reasons = [row for row in rows if row["documents"] < 0]
    if len(reasons) <= MAX_REASONS:
        return list(rows)
    rest = sorted(reasons, key=lambda row: int(row["documents"]))[MAX_REASONS - 1 :]
    documents = sum(int(row["documents"]) for row in rest)
    pooled: Mapping[str, Any] = {"step": f"{len(rest)} other reasons", "documents": documents}
    kept = [row for row in rows if row not in rest]
    last_reason = max(i for i, row in enumerate(kept) if row["documents"] < 0)
    return [*kept[: last_reason + 1], pooled, *kept[last_reason + 1 :]]


def bits_per_byte_png(rows: Sequence[Mapping[str, Any]], theme: Theme = LIGHT) -> bytes:
    """One line per method: `label, value, clean, is_model`, for models also `low, high`."""
    shown = sorted(rows, key=lambda row: row["value"])
    with canvas(theme, 8.4, 1.2 + 0.4 * len(shown)) as figure:
        axes = figure.add_subplot()
        style_axes(axes, theme, grid_axis="x")
        for i, row in enumerate(shown):
            colour = theme.accent if row["is_model"] else theme.quiet
            if row.get("clean") is not None:
                axes.plot(
                    [row["value"], row["clean"]], [i, i], color=colour, lw=2, alpha=0.45, zorder=2
                )
                axes.plot(
                    row["clean"], i, "o", ms=8, mfc=theme.paper, mec=colour, mew=1.8, zorder=3
                )
            if row.get("low") is not None:
                axes.plot([row["low"], row["high"]], [i, i], color=colour, lw=6, alpha=0.25)
            axes.plot(row["value"], i, "o", ms=9, color=colour, zorder=4)
            end = max(value for value in (row["value"], row.get("clean"), row.get("high")) if value)
            axes.annotate(
                f"{row['value']:.3f}", (end, i), xytext=(10, 0), textcoords="offset points",
                va="center", fontsize=9, color=theme.ink if row["is_model"] else theme.quiet,
                fontweight="bold" if row["is_model"] else "normal",
            )  # fmt: skip
        axes.set_yticks(range(len(shown)), [row["label"] for row in shown])
        for label, row in zip(axes.get_yticklabels(), shown, strict=True):
            label.set_color(theme.ink)
            label.set_fontweight("bold" if row["is_model"] else "normal")
        axes.invert_yaxis()
        axes.margins(x=0.1, y=0.08)
        axes.set_xlabel(
            "bits per byte of held-out text (fewer is better);  ● all documents  ○ clean ones"
        )
        return png_bytes(figure)


def coverage_png(points: Sequence[Sequence[Any]], theme: Theme = LIGHT) -> bytes:
    """A map of fine-tuning prompts: `x, y, kind, trained on`; what was not chosen is hollow."""
    with canvas(theme, 8.4, 5.2) as figure:
        axes = figure.add_subplot()
        style_axes(axes, theme)
        kinds = sorted({str(point[2]) for point in points})
        colours = [theme.accent, theme.second, theme.good, theme.bad, theme.quiet]
        for i, kind in enumerate(kinds):
            colour = colours[i % len(colours)]
            for trained in (False, True):
                here = [(p[0], p[1]) for p in points if p[2] == kind and bool(p[3]) is trained]
                if not here:
                    continue
                x, y = np.asarray(here, np.float64).T
                face = colour if trained else "none"
                axes.scatter(
                    x, y, s=14, alpha=0.6, facecolors=face, edgecolors=colour, linewidths=0.7,
                    label=kind if trained else None,
                )  # fmt: skip
        axes.set_xlabel("first principal axis of the prompts' embeddings")
        axes.set_ylabel("second")
        axes.legend(frameon=False, labelcolor=theme.ink, fontsize=9, loc="best")
        return png_bytes(figure)


def _draw_losses(axes: "Axes", title: str, checkpoint: Checkpoint, theme: Theme) -> None:
    records = read_lines(checkpoint.path / "curve.jsonl")
    train = [(r["tokens"], r["train_loss"]) for r in records if r.get("train_loss") is not None]
    validation = [
        (r["tokens"], r["validation_loss"]) for r in records if r.get("validation_loss") is not None
    ]
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=theme.ink)
    axes.set_xlabel("tokens trained")
    axes.set_ylabel("loss, nats per token")
    axes.xaxis.set_major_formatter(lambda value, _: short_count(value))
    if train:
        x, y = np.asarray(train, np.float64).T
        axes.plot(x, y, color=theme.quiet, lw=0.8, alpha=0.45)
        axes.plot(x, _smoothed(y), color=theme.quiet, lw=1.8, label="training")
    if validation:
        x, y = np.asarray(validation, np.float64).T
        axes.plot(x, y, color=theme.accent, lw=2.2, marker="o", ms=3.5, label="validation")
        best = int(np.argmin(y))
        _mark_best(axes, x, y, best, theme)
    lows = [y for _, y in (*train, *validation)]
    if lows:
        # The first steps fall from ln V; what is learnt later would be squeezed into a flat line.
        top = max(np.percentile(lows, 97), min(lows) + 0.2)
        axes.set_ylim(min(lows) - 0.08 * (top - min(lows)), top + 0.1 * (top - min(lows)))
        axes.legend(frameon=False, labelcolor=theme.ink, loc="upper right", fontsize=9)


def _mark_best(axes: "Axes", x: np.ndarray, y: np.ndarray, best: int, theme: Theme) -> None:
    turned = best < len(y) - 1
    axes.plot(x[best], y[best], "o", ms=10, mfc="none", mec=theme.second, mew=2, zorder=5)
    text = f"turning point {y[best]:.3f}" if turned else f"still falling: {y[best]:.3f}"
    if turned:
        axes.axvline(x[best], color=theme.second, lw=1, ls=(0, (4, 3)), alpha=0.8)
    right_half = x[best] > 0.5 * (x[0] + x[-1])
    axes.annotate(
        text, (x[best], y[best]), xytext=(-12 if right_half else 12, 26),
        textcoords="offset points", ha="right" if right_half else "left",
        fontsize=9, color=theme.second, fontweight="bold",
    )  # fmt: skip


def _smoothed(y: np.ndarray) -> np.ndarray:
    """Running mean over about a fortieth of the curve, shorter at both ends; short curves stay."""
    half = len(y) // 80
    sums = np.concatenate([[0.0], np.cumsum(y)])
    low = np.maximum(np.arange(len(y)) - half, 0)
    high = np.minimum(np.arange(len(y)) + half + 1, len(y))
    smooth: np.ndarray = (sums[high] - sums[low]) / (high - low)
    return smooth


def _shortened(label: str, length: int = 36) -> str:
    return label if len(label) <= length else label[: length - 1] + "…"


@contextmanager
def canvas(theme: Theme, width: float, height: float) -> Iterator["Figure"]:
    """A figure on an Agg canvas; a glyph no installed font has becomes a box, not a warning."""
    import matplotlib as mpl
    from matplotlib import font_manager
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = ["DejaVu Sans", *(name for name in _CJK_FONTS if name in installed)]
    with mpl.rc_context(
        {"font.family": families, "axes.unicode_minus": False, "text.parse_math": False}
    ):
        figure = Figure(
            figsize=(width, height), dpi=DOTS_PER_INCH, facecolor=theme.paper, layout="constrained"
        )
        FigureCanvasAgg(figure)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            yield figure


def style_axes(axes: "Axes", theme: Theme, *, grid_axis: str = "both") -> None:
    """The project's look: two quiet sides, no ticks, a grid behind what is drawn."""
    axes.set_facecolor(theme.paper)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(theme.grid)
    axes.tick_params(colors=theme.quiet, labelsize=9, length=0)
    axes.xaxis.label.set_color(theme.quiet)
    axes.yaxis.label.set_color(theme.quiet)
    axes.grid(True, axis=grid_axis, color=theme.grid, lw=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def png_bytes(figure: "Figure") -> bytes:
    """The figure as a PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    # No creation date or version: the same run gives the same bytes.
    figure.savefig(
        buffer, format="png", facecolor=figure.get_facecolor(), metadata={"Software": None}
    )
    return buffer.getvalue()
