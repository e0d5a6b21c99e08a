"""What the rules do: whom each of them turns away, and how the measures behind them are spread."""

from pipeline.corpus.filters.judging import labels_of
from pipeline.reports.blocks import Block, Drawing, Fold, Grid, Section, Shares, Text
from pipeline.reports.corpus_facts import CorpusFacts
from pipeline.reports.corpus_figures import histogram_svg, legend_svg, narrow_legend_svg
from pipeline.reports.numbers import count, size

_NONE = "\N{EN DASH}"  # a table full of zeros hides the numbers


def rules_section(facts: CorpusFacts) -> Section | None:
    """What each rule objects to, first, at all and alone."""
    rules = facts.accounts.rules
    if not rules:
        return None
    judged = facts.accounts.judged
    labels = labels_of(facts.steps)
    place = {label: number for number, label in reversed(list(enumerate(labels)))}
    order = sorted(
        rules,
        key=lambda name: (place.get(name.partition(".")[0], -1), -rules[name].any.documents, name),
    )
    bounds = _bounds(facts)
    rows: list[tuple[str, ...]] = []
    shares: list[tuple[float | None, ...]] = []
    group = ""
    for name in order:
        rule = rules[name]
        label, _, reason = name.partition(".")
        if reason and label != group:
            rows.append((label, *[""] * 5))
            shares.append((None,) * 6)
        group = label
        cells = [reason or name, bounds.get(name, "")]
        values: list[float | None] = [None, None]
        for amount in (rule.any, rule.first, rule.alone):
            cells.append(count(amount.documents) if amount.documents else _NONE)
            values.append(amount.documents / max(judged.documents, 1))
        cells.append(size(rule.alone.bytes) if rule.alone.bytes else _NONE)
        values.append(rule.alone.bytes / max(judged.bytes, 1))
        rows.append(tuple(cells))
        shares.append(tuple(values))
    told = Text(
        "Every rule judges every document, also after another has objected. What only one rule "
        "objects to would come back without it; a rule with nothing of its own could go."
    )
    columns = ("rule", "keeps", "objects to", "first to", "alone to", "text, alone")
    table = Shares(columns, tuple(rows), tuple(shares), frozenset({1}))
    return Section("rules", "What each rule does", (told, table))


def _bounds(facts: CorpusFacts) -> dict[str, str]:
    """By rule, `words ≥ 20`; where it depends on language or script `words ≥ 20 or ≥ 50`.

    A measure of the rule's own name is not named again.
    """
    found: dict[str, dict[str, dict[str, None]]] = {}
    for thresholds in facts.thresholds.values():
        for threshold in thresholds:
            measures = found.setdefault(threshold.reason, {})
            bound = threshold.bound.replace(" ", "\N{NO-BREAK SPACE}")
            measures.setdefault(threshold.measure, {})[bound] = None
    return {
        reason: "; ".join(
            " or ".join(bounds) if reason.endswith(f".{name}") else f"{name} {' or '.join(bounds)}"
            for name, bounds in measures.items()
        )
        for reason, measures in found.items()
    }


def measures_section(facts: CorpusFacts) -> Section | None:
    """Per step one small histogram for each measure, its thresholds drawn in."""
    drawings: dict[str, list[Drawing]] = {}
    limits: dict[str, set[str]] = {}
    constant = []
    for histogram in facts.histograms:
        label = histogram.column.partition(".")[0]
        if histogram.documents == 0:
            continue
        if histogram.is_constant:
            constant.append(histogram.column)
            continue
        thresholds = facts.thresholds.get(histogram.column, [])
        reasons = {threshold.reason for threshold in thresholds}
        beyond = sum(_objected(facts, reason) for reason in reasons) if thresholds else None
        svg = histogram_svg(histogram, thresholds, beyond=beyond)
        drawings.setdefault(label, []).append(Drawing(histogram.column, svg))
        limits.setdefault(label, set()).update(reasons)
    if not drawings:
        return None
    labels = labels_of(facts.steps)
    place = {label: number for number, label in reversed(list(enumerate(labels)))}
    legend = Drawing("Legend", legend_svg(), narrow_legend_svg())
    blocks: list[Block] = [legend]
    for label in sorted(drawings, key=lambda name: place.get(name, len(labels))):
        objected = sum(_objected(facts, reason) for reason in limits[label])
        told = f"{len(drawings[label])} measure{'s' if len(drawings[label]) > 1 else ''}"
        if limits[label]:
            told += f", {count(objected)} objection{'s' if objected != 1 else ''}"
        # Open where something happened: the rest is a click away.
        blocks.append(Fold(label, told, (Grid(tuple(drawings[label])),), is_open=objected > 0))
    if constant:
        blocks.append(Text(f"The same for every document: {', '.join(constant)}."))
    return Section("measures", "What was measured", tuple(blocks))


def _objected(facts: CorpusFacts, reason: str) -> int:
    """Documents a rule objects to; of what left across parts, those that left for this reason."""
    rule = facts.accounts.rules.get(reason)
    if rule is not None:
        return rule.any.documents
    left = facts.accounts.fates.get(reason)
    return left.documents if left is not None else 0
