"""The drawings of a corpus report: the funnel, and one small histogram per measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from markupsafe import Markup

from pipeline.corpus.histograms import Histogram
from pipeline.corpus.thresholds import Threshold, in_short
from pipeline.reports.numbers import count, percent, short_count, size
from pipeline.reports.svg import box, hint, line, picture, words

_WIDTH = 960.0
_LABELS, _BARS, _ROW = 225.0, 410.0, 36.0
_DOCUMENTS, _SHARE, _BYTES = 735.0, 805.0, 895.0
_LABEL_CHARS = 33


@dataclass(frozen=True)
class FunnelStep:
    """One line of the funnel: what there is, or what goes here."""

    label: str
    documents: int
    bytes: int | None
    """None where it is not on record."""
    kind: Literal["read", "loss", "kept"] = "loss"


def funnel_svg(steps: Sequence[FunnelStep]) -> Markup:
    """Each loss takes its piece off the bars of documents (thick) and of text (thin)."""
    whole = steps[0]
    left_documents, left_bytes = whole.documents, whole.bytes or 0
    height = 26 + _ROW * len(steps)
    parts: list[Markup] = [
        words(_DOCUMENTS, 14, "documents", anchor="end"),
        words(_SHARE, 14, "share", anchor="end"),
        words(_BYTES, 14, "text", anchor="end"),
        words(_WIDTH, 14, "share", anchor="end"),
    ]
    for number, step in enumerate(steps):
        top = 26 + _ROW * number
        parts.append(line(0, top + _ROW - 4, _WIDTH, top + _ROW - 4, "line"))
        kind = "strong big" if step.kind != "loss" else "ink big"
        parts.append(words(0, top + 18, _shortened(step.label), kind))
        parts += _bar(top + 4, 13, left_documents, step.documents, whole.documents, step.kind)
        if step.bytes is not None:
            parts += _bar(top + 20, 6, left_bytes, step.bytes, whole.bytes or 0, step.kind)
        parts += _numbers(top + 18, step, whole)
        told = f"{step.label}: {count(step.documents)} documents, {size(step.bytes)}"
        parts.append(hint(0, top, _WIDTH, _ROW - 4, told))
        if step.kind == "loss":
            left_documents -= step.documents
            left_bytes -= step.bytes or 0
    label = (
        f"Of {whole.documents} documents read, {steps[-1].documents} were kept; "
        "the lines between say where the others went"
    )
    return picture(_WIDTH, height, *parts, label=label)


_PHONE, _PHONE_ROW = 400.0, 58.0


def narrow_funnel_svg(steps: Sequence[FunnelStep]) -> Markup:
    """The same for a phone: name and numbers above the bars."""
    whole = steps[0]
    left_documents, left_bytes = whole.documents, whole.bytes or 0
    parts: list[Markup] = []
    for number, step in enumerate(steps):
        top = _PHONE_ROW * number
        kind = "strong big" if step.kind != "loss" else "ink big"
        sign = "\N{MINUS SIGN}" if step.kind == "loss" else ""
        documents = f"{sign if step.documents else ''}{count(step.documents)}"
        told = f"{documents} · {percent(_share(step.documents, whole.documents))}"
        parts.append(words(0, top + 16, _shortened(step.label, 32), kind))
        parts.append(words(_PHONE, top + 16, told, kind, "end"))
        wide = (0.0, _PHONE - 70)
        parts += _bar(
            top + 23, 11, left_documents, step.documents, whole.documents, step.kind, wide
        )
        if step.bytes is not None:
            parts += _bar(top + 37, 6, left_bytes, step.bytes, whole.bytes or 0, step.kind, wide)
            told = f"{sign if step.bytes else ''}{size(step.bytes)}"
            parts.append(words(_PHONE, top + 42, told, "", "end"))
        parts.append(line(0, top + _PHONE_ROW - 6, _PHONE, top + _PHONE_ROW - 6, "line"))
        if step.kind == "loss":
            left_documents -= step.documents
            left_bytes -= step.bytes or 0
    return picture(_PHONE, _PHONE_ROW * len(steps), *parts, label="The same, for narrow pages")


def _bar(
    top: float, height: float, left: float, amount: float, whole: float, kind: str,
    place: tuple[float, float] = (_LABELS, _BARS),
) -> list[Markup]:  # fmt: skip
    """`place` is where bars begin and how long the longest is."""
    start, longest = place
    scale = longest / whole if whole else 0.0
    if kind != "loss":
        return [box(start, top, amount * scale, height, "good" if kind == "kept" else "kept")]
    stays = (left - amount) * scale
    return [
        box(start, top, stays, height, "kept soft"),
        box(start + stays, top, max(amount * scale, 1.0 if amount else 0.0), height, "gone"),
    ]


def _numbers(y: float, step: FunnelStep, whole: FunnelStep) -> list[Markup]:
    sign = "\N{MINUS SIGN}" if step.kind == "loss" and step.documents else ""
    kind = "strong big" if step.kind != "loss" else "ink big"
    parts = [
        words(_DOCUMENTS, y, sign + count(step.documents), kind, "end"),
        words(_SHARE, y, percent(_share(step.documents, whole.documents)), "big", "end"),
    ]
    if step.bytes is not None and whole.bytes is not None:
        sign = "\N{MINUS SIGN}" if step.kind == "loss" and step.bytes else ""
        parts += [
            words(_BYTES, y, sign + size(step.bytes), kind, "end"),
            words(_WIDTH, y, percent(_share(step.bytes, whole.bytes)), "big", "end"),
        ]
    return parts


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _shortened(text: str, length: int = _LABEL_CHARS) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


_SMALL_WIDTH, _SMALL_HEIGHT = 264.0, 148.0
_TOP, _BOTTOM = 46.0, 128.0
_MOST_COUNTS = 8  # more numbers than that would not fit under their bars
_CUT = 1.25  # a bar more than this many times the next one is cut off and labelled


def histogram_svg(
    histogram: Histogram, thresholds: Sequence[Threshold], *, beyond: int | None = None
) -> Markup:
    """Bars of kept documents with those gone on top; what lies beyond a threshold is shaded.

    `beyond` is the number of documents that the thresholds' rules object to.
    """
    axis = _Axis(histogram)
    kept, gone = histogram.kept, histogram.gone
    totals = np.sort(kept + gone)
    second = float(totals[-2]) if len(totals) > 1 and totals[-2] else float(totals[-1])
    highest = min(float(totals[-1]), second * _CUT) or 1.0
    shown = [t for t in thresholds if axis.holds(t.value)]
    name = histogram.column.partition(".")[2]
    parts = [words(0, 12, _shortened(name, 34), "strong big")]
    parts += [_beyond(axis, threshold) for threshold in shown]
    parts.append(line(0, _BOTTOM, _SMALL_WIDTH, _BOTTOM, "line"))
    for i in range(len(kept)):
        if kept[i] + gone[i]:
            parts += _stack(axis, i, int(kept[i]), int(gone[i]), highest, histogram)
    for threshold in shown:
        x = axis.place_of(threshold)
        parts.append(line(x, _TOP - 4, x, _BOTTOM, "limit"))
    parts += axis.ticks()
    note = ", ".join(dict.fromkeys(t.bound for t in thresholds)) or "no threshold"
    if beyond is not None:
        note += f" · {count(beyond)} beyond"
    parts.append(words(0, 27, _shortened(note, 44), "bad" if thresholds else ""))
    label = f"{histogram.column}: {count(histogram.documents)} documents, {note}"
    return picture(_SMALL_WIDTH, _SMALL_HEIGHT, *parts, label=label)


class _Axis:
    """Where a value lies from left to right."""

    def __init__(self, histogram: Histogram) -> None:
        self.edges = histogram.edges
        self.is_log = histogram.is_log
        self.low, self.high = self._scaled(self.edges[0]), self._scaled(self.edges[-1])

    def _scaled(self, value: float) -> float:
        return float(np.log10(max(value, self._floor))) if self.is_log else float(value)

    @property
    def _floor(self) -> float:
        positive = self.edges[self.edges > 0]
        # One step of its own for zeros, left of the smallest value.
        return float(positive[0]) / 1.3 if self.edges[0] <= 0 else float(positive[0])

    def place(self, value: float) -> float:
        """Pixels from the left."""
        span = self.high - self.low or 1.0
        return _SMALL_WIDTH * min(1.0, max(0.0, (self._scaled(value) - self.low) / span))

    @property
    def counts(self) -> bool:
        """Whether every bar stands for one whole number, and they are few."""
        few = len(self.edges) <= _MOST_COUNTS + 1 and not self.is_log
        return few and bool((np.diff(self.edges) == 1).all())

    def place_of(self, threshold: Threshold) -> float:
        """Where what it keeps ends; a bar of whole numbers is wholly on one side of it."""
        beyond = 1.0 if self.counts and threshold.keeps == "below" else 0.0
        return self.place(threshold.value + beyond)

    def holds(self, value: float) -> bool:
        """Whether the value is in the picture."""
        return bool(self.edges[0] <= value <= self.edges[-1])

    def ticks(self) -> list[Markup]:
        """The ends, and the middle or the powers of ten."""
        low, high = float(self.edges[0]), float(self.edges[-1])
        if self.counts:  # each number under the middle of its bar
            numbers = [float(edge) for edge in self.edges[:-1]]
            return [
                words(self.place(v + 0.5), _BOTTOM + 14, _tick(v), "", "middle") for v in numbers
            ]
        if self.is_log:
            inner = [10.0**power for power in range(-6, 13) if low < 10.0**power < high]
            inner = [v for v in inner if 40 < self.place(v) < _SMALL_WIDTH - 60][::2]
        else:
            whole = bool((self.edges == np.floor(self.edges)).all())
            inner = [float((low + high) // 2 if whole else (low + high) / 2)]
        marks = [(low, "start"), *((v, "middle") for v in inner), (high, "end")]
        return [words(self.place(v), _BOTTOM + 14, _tick(v), "", anchor) for v, anchor in marks]


def _tick(value: float) -> str:
    return short_count(value) if abs(value) >= 1000 else in_short(value)


def _beyond(axis: _Axis, threshold: Threshold) -> Markup:
    x, top = axis.place_of(threshold), _TOP - 4
    left, right = (0.0, x) if threshold.keeps == "above" else (x, _SMALL_WIDTH)
    return box(left, top, right - left, _BOTTOM - top, "wash")


def _stack(
    axis: _Axis, i: int, kept: int, gone: int, highest: float, histogram: Histogram
) -> list[Markup]:
    left, right = axis.place(histogram.edges[i]), axis.place(histogram.edges[i + 1])
    width = max(right - left - 0.6, 0.8)
    scale = (_BOTTOM - _TOP) / highest
    whole = kept + gone
    cut = min(1.0, highest / whole)  # both pieces of a cut bar keep their proportion
    tall, over = kept * cut * scale, gone * cut * scale
    parts = []
    if kept:
        parts.append(box(left, _BOTTOM - tall, width, tall, "kept"))
    if gone:
        parts.append(box(left, _BOTTOM - tall - over, width, over, "gone"))
    if cut < 1:
        # Its share stands in the corner, where neither a limit nor another bar crosses it.
        parts.append(words((left + right) / 2, _TOP - 7, "▲", "ink", "middle"))
        share = f"▲ {percent(whole / max(histogram.documents, 1), 0)}"
        parts.append(words(_SMALL_WIDTH, 12, share, "ink", "end"))
    span = f"{in_short(float(histogram.edges[i]))} to {in_short(float(histogram.edges[i + 1]))}"
    told = f"{span}: {count(kept)} kept, {count(gone)} gone"
    parts.append(hint(left, _TOP, max(width, 2.0), _BOTTOM - _TOP, told))
    return parts


def legend_svg() -> Markup:
    """What the colours of the histograms mean."""
    parts = [
        box(0, 4, 12, 12, "kept"), words(18, 14, "documents kept", "ink"),
        box(130, 4, 12, 12, "gone"), words(148, 14, "documents gone, for whatever reason", "ink"),
        box(370, 4, 12, 12, "wash"), line(370, 2, 370, 18, "limit"),
        words(388, 14, "beyond the threshold", "ink"),
        words(530, 14, "▲ the bar is cut off at its top", "ink"),
    ]  # fmt: skip
    return picture(_WIDTH, 20, *parts, label="Legend of the histograms")


def narrow_legend_svg() -> Markup:
    """The same in two lines."""
    parts = [
        box(0, 4, 12, 12, "kept"), words(18, 14, "documents kept", "ink"),
        box(170, 4, 12, 12, "gone"), words(188, 14, "documents gone, for whatever reason", "ink"),
        box(0, 26, 12, 12, "wash"), line(0, 24, 0, 40, "limit"),
        words(18, 36, "beyond the threshold", "ink"),
        words(170, 36, "▲ the bar is cut off at its top", "ink"),
    ]  # fmt: skip
    return picture(_PHONE, 42, *parts, label="Legend of the histograms")
