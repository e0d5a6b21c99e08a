"""The picture of the loss curves: `python -m benchmarks.train_plot`.

Reads the results/train_*_curves.csv that `benchmarks.train_loss` and `train_documentation` write
beside their results, and writes docs/pictures/training.png: seconds of training against validation
loss, one panel per text and budget.
"""

import argparse
import csv
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from benchmarks.results_file import CHECKOUT, RESULTS

COLOURS = {"ours": "#1f77b4", "nanoGPT": "#d62728", "Hugging Face": "#7f7f7f"}
Curves = dict[str, dict[tuple[str, str], list[tuple[float, float]]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the picture; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_plot", description=__doc__)
    parser.add_argument(
        "--curves", type=Path, nargs="+",
        default=[RESULTS / "train_loss_curves.csv",  # shorter names: fewer seconds
                 *sorted(RESULTS.glob("train_documentation_*s_curves.csv"),
                         key=lambda path: (len(path.name), path.name))],
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=CHECKOUT / "docs" / "pictures" / "training.png")
    given = parser.parse_args(arguments)
    for path in given.curves:
        if not path.is_file():
            print(f"error: {path} is missing; run benchmarks.train_loss", file=sys.stderr)
            return 1
    curves: Curves = {}
    for path in given.curves:
        curves |= read(path)
    draw(curves, given.out)
    print(given.out)
    return 0


def read(path: Path) -> Curves:
    """text -> (who, round) -> points of (seconds, validation loss)."""
    curves: Curves = defaultdict(lambda: defaultdict(list))
    with path.open(encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            point = (float(row["seconds"]), float(row["validation_loss"]))
            curves[row["text"]][row["who"], row["round"]].append(point)
    return curves


def draw(curves: Curves, out: Path) -> None:
    """One panel per text; seconds on a logarithmic axis where the curves are far apart."""
    rows = math.ceil(len(curves) / 2)
    figure, axes = pyplot.subplots(
        rows, 2, figsize=(10, 3.6 * rows), squeeze=False, layout="constrained"
    )
    for panel in axes.flat[len(curves) :]:
        panel.remove()
    for panel, (text, runs) in zip(axes.flat, curves.items(), strict=False):
        named = set()
        for (who, _), points in runs.items():
            panel.plot(
                *zip(*points, strict=True), color=COLOURS[who], marker=".",
                label=None if who in named else who,
            )  # fmt: skip
            named.add(who)
        lasts = [points[-1][0] for points in runs.values()]
        panel.set(
            xscale="log" if max(lasts) > 4 * min(lasts) else "linear",
            xlabel="seconds of training", ylabel="validation loss (nats)", title=text,
        )  # fmt: skip
        panel.grid(alpha=0.3, which="both")
        panel.legend()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
