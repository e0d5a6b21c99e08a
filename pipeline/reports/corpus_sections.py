"""What a corpus report says, section by section; what a corpus lacks leaves its section out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.corpus.accounts import Amount, Axis, Fates, share_kept, total
from pipeline.corpus.bias import BiasRow
from pipeline.corpus.filters.judging import labels_of
from pipeline.corpus.languages.codes import UNDETERMINED
from pipeline.corpus.measured import CUT, KEPT
from pipeline.reports.blocks import (
    Block,
    Drawing,
    Figure,
    Figures,
    Fold,
    Section,
    Shares,
    Table,
    Text,
)
from pipeline.reports.corpus_facts import CorpusFacts
from pipeline.reports.corpus_figures import (
    FunnelStep,
    funnel_svg,
    narrow_funnel_svg,
)
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
    kept = accounts.kept
    worst = max(
        ((fate, amount) for fate, amount in accounts.fates.items() if fate not in (KEPT, CUT)),
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
        Figure("text kept", percent(kept.bytes / max(read_bytes, 1)),
               f"{size(kept.bytes)} of {size(read_bytes)}"),
        Figure("duplicates removed", count(copies), f"{len(facts.clusters)} largest groups below"
               if facts.clusters else "of kept or held-out documents"),
        Figure("unreadable records", count(known.get("quarantined", 0)), "quarantined and counted"),
    ]  # fmt: skip
    if worst is not None:
        share = worst[1].documents / max(read, 1)
        figures.insert(2, Figure("most frequent reason", percent(share), _breakable(worst[0])))
    return Section("headline", "", (Text(_in_short(facts)), Figures(tuple(figures))))


def _in_short(facts: CorpusFacts) -> str:
    """What happened, as one would tell it."""
    accounts = facts.accounts
    steps = funnel_steps(facts, by_rule=False)
    read, kept = steps[0], steps[-1]
    sources = len(facts.corpus.facts.get("by_source", accounts.by["source"]))
    told = (
        f"{count(read.documents)} documents ({size(read.bytes)}) were read from {sources} "
        f"source{'s' if sources != 1 else ''}; {count(kept.documents)} of them "
        f"({size(kept.bytes)}) are kept."
    )
    held_out = read.documents - accounts.judged.documents
    if held_out:
        told += f" {count(held_out)} are held out for evaluation, before any rule."
    losses = sorted((s for s in steps[1:-1] if s.label in _causes(facts)), key=_documents)[::-1]
    if losses:
        named = [f"{step.label} ({count(step.documents)})" for step in losses[:3]]
        told += f" Most others left through {_listed(named)}."
    return told


def _causes(facts: CorpusFacts) -> set[str]:
    """The steps, and the reasons across parts, by which documents left."""
    return {fate.partition(".")[0] for fate in ordered_fates(facts)}


def _documents(step: FunnelStep) -> int:
    return step.documents


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


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
    if CUT in accounts.fates:
        steps.append(FunnelStep(CUT, 0, accounts.fates[CUT].bytes))
    steps.append(FunnelStep("kept", accounts.kept.documents, accounts.kept.bytes, "kept"))
    return steps


def ordered_fates(facts: CorpusFacts) -> list[str]:
    """All ways for a document to leave: by step, the most frequent rule of each first."""
    labels = labels_of(facts.steps)
    order = {label: number for number, label in reversed(list(enumerate(labels)))}
    fates = facts.accounts.fates

    def place(fate: str) -> tuple[int, int, str]:
        label = fate.partition(".")[0]
        across = len(labels) + 1 if "." not in fate else order.get(label, len(labels))
        return (-1 if fate == "empty" else across, -fates[fate].documents, fate)

    return sorted((fate for fate in fates if fate not in (KEPT, CUT)), key=place)


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
    drawing = Drawing(
        "The funnel of documents and text", funnel_svg(drawn), narrow_funnel_svg(drawn)
    )
    blocks: list[Block] = [drawing]
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
