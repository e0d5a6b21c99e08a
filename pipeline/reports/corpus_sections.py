"""What a corpus report says, section by section; what a corpus lacks leaves its section out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.corpus.accounts import Amount, Axis, Fates, share_kept, total
from pipeline.corpus.bias import BiasRow
from pipeline.corpus.filters.judging import labels_of
from pipeline.corpus.languages.codes import UNDETERMINED
from pipeline.corpus.measured import KEPT
from pipeline.reports.blocks import (
    Block,
    Drawing,
    Figure,
    Figures,
    Fold,
    Grid,
    Section,
    Shares,
    Table,
    Text,
)
from pipeline.reports.corpus_facts import CorpusFacts
from pipeline.reports.corpus_figures import FunnelStep, funnel_svg, histogram_svg, legend_svg
from pipeline.reports.numbers import count, percent, size

_MAX_LINES = 14  # reasons in the picture; more are drawn by step, and all stand in the table
_MAX_GROUPS = 12
_MAX_COLUMNS = 5
_MAX_BIAS, _LEADING_BIAS = 40, 10
_FEWEST_BIAS = 5  # dropped texts; fewer say nothing, whatever their interval


def headline(facts: CorpusFacts) -> Section:
    """The figures that matter most."""
    known, accounts = facts.corpus.facts, facts.accounts
    read = int(known.get("documents_read", accounts.judged.documents))
    read_bytes = int(known.get("bytes_read", accounts.judged.bytes))
    kept, kept_bytes = accounts.kept, accounts.kept.bytes - facts.cut_bytes
    worst = max(
        ((fate, amount) for fate, amount in accounts.fates.items() if fate != KEPT),
        key=lambda item: item[1].documents,
        default=None,
    )
    copies = sum(
        amount.documents for fate, amount in accounts.fates.items() if "duplicate" in fate
        and "." not in fate
    )  # fmt: skip
    figures = [
        Figure("documents kept", percent(kept.documents / max(read, 1)),
               f"{count(kept.documents)} of {count(read)}"),
        Figure("text kept", percent(kept_bytes / max(read_bytes, 1)),
               f"{size(kept_bytes)} of {size(read_bytes)}"),
        Figure("duplicates removed", count(copies), f"{len(facts.clusters)} largest groups below"
               if facts.clusters else "of kept or held-out documents"),
        Figure("unreadable records", count(known.get("quarantined", 0)), "quarantined and counted"),
    ]  # fmt: skip
    if worst is not None:
        share = worst[1].documents / max(read, 1)
        figures.insert(2, Figure("most frequent reason", percent(share), worst[0]))
    return Section("headline", "", (Figures(tuple(figures)),))


def funnel_steps(facts: CorpusFacts, *, by_rule: bool) -> list[FunnelStep]:
    """Read, each loss in the order it happens, kept; documents add up exactly, text too."""
    known, accounts = facts.corpus.facts, facts.accounts
    read = int(known.get("documents_read", accounts.judged.documents))
    read_bytes = int(known.get("bytes_read", accounts.judged.bytes))
    steps = [FunnelStep("read", read, read_bytes, "read")]
    held_out, cut = read - accounts.judged.documents, read_bytes - accounts.judged.bytes
    if held_out or cut:
        label = "held out; repaired, rewritten" if held_out else "repaired, rewritten"
        steps.append(FunnelStep(label, held_out, cut))
    losses: dict[str, FunnelStep] = {}
    for fate in ordered_fates(facts):
        amount = accounts.fates[fate]
        name = fate if by_rule or "." not in fate else fate.partition(".")[0]
        before = losses.get(name, FunnelStep(name, 0, 0))
        losses[name] = FunnelStep(
            name, before.documents + amount.documents, (before.bytes or 0) + amount.bytes
        )
    steps += losses.values()
    if facts.cut_bytes:
        steps.append(FunnelStep("cut inside kept documents", 0, facts.cut_bytes))
    kept_bytes = accounts.kept.bytes - facts.cut_bytes
    steps.append(FunnelStep("kept", accounts.kept.documents, kept_bytes, "kept"))
    return steps


def ordered_fates(facts: CorpusFacts) -> list[str]:
    """All ways to leave: by the order of the steps, the most frequent rule of each first."""
    labels = labels_of(facts.steps)
    order = {label: number for number, label in reversed(list(enumerate(labels)))}
    fates = facts.accounts.fates

    def place(fate: str) -> tuple[int, int, str]:
        label = fate.partition(".")[0]
        across = len(labels) + 1 if "." not in fate else order.get(label, len(labels))
        return (-1 if fate == "empty" else across, -fates[fate].documents, fate)

    return sorted((fate for fate in fates if fate != KEPT), key=place)


def funnel_section(facts: CorpusFacts) -> Section:
    """Where documents and text went, as a picture and as a table."""
    steps = funnel_steps(facts, by_rule=True)
    drawn = steps if len(steps) <= _MAX_LINES else funnel_steps(facts, by_rule=False)
    whole = steps[0]
    rows = tuple(
        (
            step.label, count(step.documents), percent(_of(step.documents, whole.documents), 2),
            size(step.bytes), percent(_of(step.bytes or 0, whole.bytes or 0), 2),
        )
        for step in steps
    )  # fmt: skip
    blocks: list[Block] = [Drawing("The funnel of documents and text", funnel_svg(drawn))]
    if len(drawn) < len(steps):
        table = Table(
            ("step", "documents", "share", "text", "share of text"), rows,
            frozenset({1, 2, 3, 4}), frozenset({0, len(rows) - 1}),
        )  # fmt: skip
        told = f"{len(rows) - 2} reasons and steps"
        blocks.append(Fold("Every reason by itself", told, (table,)))
    return Section("funnel", "From what was read to what was kept", tuple(blocks))


def _of(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def groups_section(facts: CorpusFacts, axis: Axis) -> Section | None:
    """Per source or per language: what was kept, and the share each step turned away."""
    groups = facts.accounts.by[axis]
    if not groups or (axis == "language" and set(groups) == {UNDETERMINED}):
        return None
    ranked = sorted(groups, key=lambda name: (-total(groups[name]).bytes, name))
    shown = {name: groups[name] for name in ranked[:_MAX_GROUPS]}
    rest = ranked[_MAX_GROUPS:]
    if rest:
        shown[f"{len(rest)} others"] = _pooled(groups[name] for name in rest)
    reasons = _leading_reasons(facts)
    columns = (axis, "documents", "text", "kept", "kept text", *map(_breakable, reasons))
    rows, shares = [], []
    for name, fates in shown.items():
        cells, values = _group(name, fates, reasons)
        rows.append(cells)
        shares.append(values)
    caption = (
        f"Shares of the row's judged documents (kept text: of its text); the {len(reasons)} most "
        "frequent reasons."
    )
    table = Shares(columns, tuple(rows), tuple(shares), caption=caption)
    return Section(f"by-{axis}", f"By {axis}", (table,))


def _pooled(groups: Iterable[Fates]) -> Fates:
    pooled: Fates = {}
    for fates in groups:
        for fate, amount in fates.items():
            pooled.setdefault(fate, Amount()).add(amount.documents, amount.bytes)
    return pooled


def _breakable(name: str) -> str:
    """With invisible places to break the line, for narrow columns."""
    return name.replace(".", ".\u200b").replace("_", "_\u200b")


def _leading_reasons(facts: CorpusFacts) -> tuple[str, ...]:
    fates = ordered_fates(facts)
    leading = sorted(fates, key=lambda fate: -facts.accounts.fates[fate].documents)[:_MAX_COLUMNS]
    return tuple(fate for fate in fates if fate in leading)


def _group(
    name: str, fates: Fates, reasons: Sequence[str]
) -> tuple[tuple[str, ...], tuple[float | None, ...]]:
    whole = total(fates)
    by_documents, by_bytes = (share_kept(fates, of=of) for of in ("documents", "bytes"))
    lost = [
        _of(fates[reason].documents, whole.documents) if reason in fates else 0.0
        for reason in reasons
    ]
    cells = (
        name, count(whole.documents), size(whole.bytes), percent(by_documents), percent(by_bytes),
        *(percent(share) if share else "" for share in lost),
    )  # fmt: skip
    return cells, (None, None, None, by_documents, by_bytes, *lost)


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
    rows, shares = [], []
    for name in order:
        rule = rules[name]
        cells = [name, bounds.get(name, "")]
        values: list[float | None] = [None, None]
        for amount in (rule.any, rule.first, rule.alone):
            cells.append(count(amount.documents))
            values.append(_of(amount.documents, judged.documents))
        cells.append(size(rule.alone.bytes))
        values.append(_of(rule.alone.bytes, judged.bytes))
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
    """By rule, `words ≥ 20`; where it depends on language or script `words ≥ 20 or ≥ 50`."""
    found: dict[str, dict[str, dict[str, None]]] = {}
    for thresholds in facts.thresholds.values():
        for threshold in thresholds:
            measures = found.setdefault(threshold.reason, {})
            measures.setdefault(threshold.measure, {})[threshold.bound] = None
    return {
        reason: "; ".join(f"{name} {' or '.join(bounds)}" for name, bounds in measures.items())
        for reason, measures in found.items()
    }


def measures_section(facts: CorpusFacts) -> Section | None:
    """One small histogram per measure, its thresholds drawn in."""
    drawings, constant = [], []
    labels = labels_of(facts.steps)
    place = {label: number for number, label in reversed(list(enumerate(labels)))}
    ordered = sorted(
        facts.histograms, key=lambda h: place.get(h.column.partition(".")[0], len(labels))
    )
    for histogram in ordered:
        if histogram.documents == 0:
            continue
        if histogram.is_constant:
            constant.append(histogram.column)
            continue
        thresholds = facts.thresholds.get(histogram.column, [])
        reasons = {threshold.reason for threshold in thresholds}
        beyond = sum(_objected(facts, reason) for reason in reasons) if thresholds else None
        svg = histogram_svg(histogram, thresholds, beyond=beyond)
        drawings.append(Drawing(histogram.column, svg))
    if not drawings:
        return None
    blocks: list[Block] = [Drawing("Legend", legend_svg()), Grid(tuple(drawings))]
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


def changes_section(facts: CorpusFacts) -> Section | None:
    """What was mended, rewritten and replaced."""
    known = facts.corpus.facts
    blocks: list[Block] = []
    personal, others = _rewritten(known.get("rewritten", {}))
    for told, unit, counts in (
        ("Personal data replaced by placeholders", "replaced", personal),
        ("Rewritten", "changes", others),
        ("Repaired characters", "documents", known.get("repaired", {})),
    ):
        if counts:
            rows = tuple((name, count(number)) for name, number in counts.items())
            blocks.append(Table((told, unit), rows, frozenset({1})))
    return (
        Section("changes", "What was changed inside documents", tuple(blocks)) if blocks else None
    )


def _rewritten(counts: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    """Replacements of personal data apart from the rest, both by name."""
    personal: dict[str, int] = {}
    others: dict[str, int] = {}
    for name, number in counts.items():
        kind, _, what = name.partition(".")
        if kind.partition("#")[0] == "personal_data":
            personal[what] = personal.get(what, 0) + int(number)
        else:
            others[name] = int(number)
    return personal, others


def bias_section(facts: CorpusFacts) -> Section | None:
    """For each rule and group of people: does it drop texts that mention them more often?"""
    rows = [row for row in facts.bias if row.ratio is not None and row.dropped >= _FEWEST_BIAS]
    if not facts.bias:
        return None
    flagged = [row for row in rows if row.flagged]
    told = (
        f"{len(flagged)} of {len(rows)} pairs of a rule and a group stand out: of the documents it "
        "judges, the rule drops those that mention the group more than 1.5 times as often as "
        "others, with an interval beyond 1. Of as many pairs, one in forty stands out by chance. "
        "A word is no person: this says where to look, not what is unjust."
    )
    few = f"Pairs with fewer than {_FEWEST_BIAS} dropped texts are left out."
    shown = flagged[:_MAX_BIAS] or rows[:_LEADING_BIAS]
    table = Table(
        ("rule", "group", "texts", "dropped", "rate", "all texts", "times as often"),
        tuple(_bias_row(row) for row in shown),
        frozenset({2, 3, 4, 5, 6}), caption=few,
    )  # fmt: skip
    blocks: list[Block] = [Text(told, "bad" if flagged else "good")]
    return Section("bias", "Whom the rules fall on", (*blocks, table) if shown else tuple(blocks))


def _bias_row(row: BiasRow) -> tuple[str, ...]:
    low, high = row.ratio_interval or (0.0, 0.0)
    return (
        row.rule, row.group.replace("_", " "), count(row.mentioning), count(row.dropped),
        percent(row.rate), percent(row.overall), f"{row.ratio:.1f} ({low:.1f} to {high:.1f})",
    )  # fmt: skip


def mixing_section(facts: CorpusFacts) -> Section | None:
    """How often each source is trained on."""
    mixing = facts.corpus.facts.get("mixing")
    if not mixing:
        return None
    rows = tuple(
        (
            source, count(row["documents"]), count(row["not_drawn"]), f"{row['rate']:.2f}",
            size(row["bytes"]), percent(row["share_before"]), percent(row["share"]),
        )
        for source, row in mixing["by_source"].items()
    )  # fmt: skip
    table = Table(
        ("source", "documents", "not drawn", "times", "text", "share before", "share"), rows,
        frozenset(range(1, 7)),
    )  # fmt: skip
    told = f"{size(mixing['bytes'])} of text, copies included"
    if mixing["budget_bytes"]:
        told += f", of a budget of {size(mixing['budget_bytes'])}"
    blocks: list[Block] = [Text(f"{told}.")]
    if mixing["short_of_budget_bytes"]:
        missing = size(mixing["short_of_budget_bytes"])
        blocks.append(Text(f"{missing} short of the budget, all repeats used up.", "bad"))
    return Section("mixing", "What is trained on how often", (*blocks, table))
