"""Pictures of an evaluation: reliability, the worth of context, sources and languages apart.

Several models share one picture; each is a colour of the theme.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.reports.curves import canvas, png_bytes, style_axes
from pipeline.reports.themes import LIGHT, Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Named = Sequence[tuple[str, Mapping[str, Any]]]
"""(name, perplexity section) of each model."""
MOST_ROWS = 24


def reliability_png(models: Named, theme: Theme = LIGHT) -> bytes:
    """Accuracy over confidence, beside the share of tokens at each confidence."""
    with canvas(theme, 8.4, 4.2) as figure:
        grid = figure.add_gridspec(1, 2, width_ratios=(1.15, 1))
        curve, spread = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
        for axes in (curve, spread):
            style_axes(axes, theme)
            axes.set_xlim(0, 1)
            axes.set_xlabel("probability of the likeliest token")
        curve.plot([0, 1], [0, 1], color=theme.quiet, lw=1, ls=(0, (4, 3)), label="calibrated")
        for (name, section), colour in zip(models, _colours(theme), strict=False):
            found = section["calibration"]
            bins = found["bins"]
            x = [row["confidence"] for row in bins]
            curve.plot(
                x, [row["accuracy"] for row in bins], color=colour, lw=2, marker="o", ms=4,
                label=f"{name}: ECE {found['ece']:.3f}" if bins else name,
            )  # fmt: skip
            shares = [row["tokens"] / found["tokens"] for row in bins]
            spread.plot(x, shares, color=colour, lw=2, marker="o", ms=4)
        curve.set_ylim(0, 1)
        curve.set_ylabel("share that was right")
        spread.set_ylabel("share of the tokens")
        spread.set_ylim(bottom=0)
        curve.legend(frameon=False, labelcolor=theme.ink, fontsize=9, loc="upper left")
        return png_bytes(figure)


def position_png(models: Named, theme: Theme = LIGHT) -> bytes:
    """Nats per token over the token's place in its document; the context ends at the mark."""
    from matplotlib.ticker import LogLocator, NullLocator

    with canvas(theme, 8.4, 3.8) as figure:
        axes = figure.add_subplot()
        style_axes(axes, theme)
        for (name, section), colour in zip(models, _colours(theme), strict=False):
            rows = section["position_curve"]
            x = [np.sqrt(row["first"] * row["last"]) for row in rows]
            y = [row["nats_per_token"] for row in rows]
            axes.plot(x, y, color=colour, lw=2, marker="o", ms=4, label=name)
            axes.axvline(section["window"], color=colour, lw=1, ls=(0, (4, 3)), alpha=0.7)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=16))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(_binary)
        axes.set_xlabel("place of the token in its document; dashed: length of the context")
        axes.set_ylabel("nats per token")
        axes.legend(frameon=False, labelcolor=theme.ink, fontsize=9, loc="upper right")
        return png_bytes(figure)


def groups_png(models: Named, key: str, theme: Theme = LIGHT) -> bytes:
    """Bits per byte with intervals of the largest sources or languages (`key` of the section)."""
    first = models[0][1][key]
    names = sorted((n for n, row in first.items() if row["bytes"]), key=lambda n: first[n]["bytes"])
    names = names[-MOST_ROWS:]
    with canvas(theme, 8.4, 1.2 + 0.34 * len(names)) as figure:
        axes = figure.add_subplot()
        style_axes(axes, theme, grid_axis="x")
        offsets = np.linspace(0.14, -0.14, len(models)) if len(models) > 1 else [0.0]
        for (name, section), colour, offset in zip(models, _colours(theme), offsets, strict=False):
            for place, group in enumerate(names):
                _interval(axes, section[key][group], place + float(offset), colour)
            axes.plot([], [], "o", color=colour, label=name)
        axes.set_yticks(range(len(names)), [_short(name) for name in names])
        for label in axes.get_yticklabels():
            label.set_color(theme.ink)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_xlabel("bits per byte (fewer is better), 95 % interval")
        if len(models) > 1:
            axes.legend(frameon=False, labelcolor=theme.ink, fontsize=9, loc="best")
        return png_bytes(figure)


def _binary(value: float, _: float) -> str:
    """`512`, `1k` for 1,024, `1M` for its square: the curve's places are powers of two."""
    for power, unit in ((20, "M"), (10, "k")):
        if value >= 1 << power:
            return f"{value / (1 << power):g}{unit}"
    return f"{value:g}"


def _interval(axes: "Axes", row: Mapping[str, Any], place: float, colour: str) -> None:
    low, high = row["bits_per_byte_low"], row["bits_per_byte_high"]
    axes.plot([low, high], [place, place], color=colour, lw=5, alpha=0.3, solid_capstyle="round")
    axes.plot(row["bits_per_byte"], place, "o", ms=6, color=colour)


def _colours(theme: Theme) -> tuple[str, ...]:
    return theme.accent, theme.second, theme.good, theme.bad, theme.quiet


def _short(name: str, length: int = 36) -> str:
    return name if len(name) <= length else "…" + name[1 - length :]
