"""What an evaluation says: figures with their rules, groups, curves, memory, tasks, gaps.

A report of one model, or of two side by side and what differs between them.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pipeline.reports.blocks import Block, Figure, Figures, Picture, Section, Table, Text, Tone
from pipeline.reports.evaluation_pictures import groups_png, position_png, reliability_png
from pipeline.reports.facts import RunFacts
from pipeline.reports.numbers import count, number, percent, signed, size
from pipeline.store.files import read_json

Report = Mapping[str, Any]
Reports = Sequence[tuple[str, Report]]
"""(name, report of one model), the one that is asked about first."""
LETTERS = "AB"


def run_sections(run: RunFacts) -> list[Section]:
    """Of one run's base and tuned model: the parts its other sections do not have."""
    evals = (("base", run.base_eval), ("tuned", run.tuned_eval))
    reports = [(name, read_json(report.path / "report.json")) for name, report in evals if report]
    if not reports:
        return []
    made = [
        curves_section(reports), memory_section(reports), tasks_section(reports),
        bias_section(reports, None),
    ]  # fmt: skip
    return [section for section in made if section is not None]


def evaluation_sections(reports: Reports, comparison: Report | None = None) -> list[Section]:
    """Every section there is something to say in."""
    made = [
        _headline(reports, comparison), figures_section(reports), groups_section(reports),
        curves_section(reports), _compared(comparison), memory_section(reports),
        tasks_section(reports), bias_section(reports, comparison),
    ]  # fmt: skip
    return [section for section in made if section is not None and section.blocks]


def rule_of(section: Report) -> str:
    """How the figures of a perplexity section were made: without it none can be compared."""
    return (
        f"window {section['window']}, stride {section['stride']}, {section['bos_rule']}; "
        f"{count(section['tokens'])} tokens scored once each; 95 % bootstrap interval over "
        f"documents, {section['bootstrap_draws']} draws, seed {section['bootstrap_seed']}"
    )


def _headline(reports: Reports, comparison: Report | None) -> Section:
    figures = []
    for name, report in reports:
        row = report["perplexity"]
        detail = f"{_interval(row)}; {name}" if len(reports) > 1 else _interval(row)
        figures.append(Figure("bits per byte", number(row["bits_per_byte"]), detail))
    if comparison is not None:
        delta = comparison["bits_per_byte"]
        tone = _tone(comparison)
        detail = f"{signed(delta['low'])} to {signed(delta['high'])}"
        figures.append(Figure("difference", signed(delta["delta"]), detail, tone))
        figures.append(Figure("documents won", percent(delta["win_rate"])))
    row = reports[0][1]["perplexity"]
    if row["calibration"]["tokens"]:
        figures.append(Figure("calibration error", number(row["calibration"]["ece"])))
    figures.append(Figure("documents", count(row["documents"]), size(row["bytes"])))
    return Section("headline", "", (Figures(tuple(figures)),))


def figures_section(reports: Reports) -> Section:
    """The four figures of each model, micro and macro, and the rule they were made by."""
    blocks: list[Block] = []
    for name, report in reports:
        section = report["perplexity"]
        rows: list[tuple[str, Report]] = [("all documents (micro)", section)]
        for label, key, groups in (
            ("mean of sources (macro)", "bits_per_byte_macro", "per_source"),
            ("mean of languages (macro)", "bits_per_byte_macro_languages", "per_language"),
        ):
            if key in section and groups in section:
                rows.append((f"{label}: {len(section[groups])}", {"macro": section[key]}))
        for part in ("clean", "dirty"):
            if part in report.get("contamination", {}):
                rows.append((f"{part} documents", report["contamination"][part]))
        title = name if len(reports) > 1 else ""
        blocks += _tables(title, rows, strong=frozenset({0}), caption=f"{rule_of(section)}.")
        if "contamination" in report:
            blocks.append(_contaminated(report["contamination"]))
    return Section("figures", "Figures", tuple(blocks))


def _tables(
    title: str, rows: Sequence[tuple[str, Report]], *, strong: frozenset[int], caption: str
) -> list[Block]:
    """Bits per byte and the three perplexities of the same rows: two tables that fit a screen."""
    bits = tuple(
        (
            label, count(row.get("documents")) if "macro" not in row else "",
            count(row.get("tokens")) if "macro" not in row else "",
            number(row.get("macro", row.get("bits_per_byte"))), _interval(row),
        )
        for label, row in rows
    )  # fmt: skip
    perplexities = tuple(
        (label, *(_perplexity(row.get(f"{unit}_perplexity")) for unit in ("token", "word", "byte")))
        for label, row in rows
        if "macro" not in row
    )
    return [
        Table(
            (title, "documents", "tokens", "bits/byte", "95 % interval"), bits,
            right=frozenset({1, 2, 3, 4}), strong=strong, caption=caption,
        ),
        Table(
            ("perplexity", "per token", "per word", "per byte"), perplexities,
            right=frozenset({1, 2, 3}), strong=strong,
            caption="Per token compares models of one tokenizer only; per word means nothing in "
            "scripts without spaces.",
        ),
    ]  # fmt: skip


def _contaminated(section: Report) -> Text:
    dirty, any_ = section["dirty"]["documents"], section["documents_with_any"]
    return Text(
        f"{count(dirty)} documents are dirty: more than {percent(section['limit'], 0)} of their "
        f"{section['overlap_words']}-grams occur in {section.get('training_text', 'training')}; "
        f"{count(any_)} share at least one, {percent(section['mean_overlap'])} are shared on "
        "average."
    )


def groups_section(reports: Reports) -> Section:
    """Sources and languages apart."""
    blocks: list[Block] = []
    models = [(name, report["perplexity"]) for name, report in reports]
    for key, title in (("per_source", "source"), ("per_language", "language")):
        groups = models[0][1].get(key) or {}
        if len(groups) == 1:
            blocks.append(Text(f"All documents have the {title} {next(iter(groups))}."))
            continue
        if sum(bool(row["bytes"]) for row in groups.values()) > 1:
            blocks.append(
                Picture(
                    key, f"Bits per byte of each {title}",
                    partial(groups_png, models, key),
                )
            )  # fmt: skip
        rows: list[tuple[str, Report]] = [
            (_of(group, i, models), section[key][group])
            for group in groups
            for i, (_, section) in enumerate(models)
        ]
        blocks += _tables(title, rows, strong=frozenset(), caption=_legend(models))
    return Section("groups", "Sources and languages", tuple(blocks))


def _of(label: str, place: int, models: Sequence[tuple[str, Any]]) -> str:
    """`label` alone, or with the letter of the model where there are two."""
    return label if len(models) == 1 else f"{label}, {LETTERS[place]}"


def _legend(models: Sequence[tuple[str, Any]]) -> str:
    """Which letter is which model."""
    if len(models) == 1:
        return ""
    return "; ".join(f"{LETTERS[i]} {name}" for i, (name, _) in enumerate(models)) + "."


def curves_section(reports: Reports) -> Section | None:
    """The position curve and the reliability picture."""
    models = [(name, report["perplexity"]) for name, report in reports]
    if not all(section.get("calibration", {}).get("bins") for _, section in models):
        return None
    blocks: list[Block] = [
        Text(
            "What context is worth: a model that uses it needs fewer nats the further into a "
            "document it is."
        ),
        Picture(
            "position", "Nats per token by place in the document",
            partial(position_png, models),
        ),
        Text(
            "Whether it knows how good it is: above the dashed line it was right more often than "
            "it claimed. The expected calibration error is the mean distance from that line."
        ),
        Picture(
            "reliability", "Share of right tokens by the probability given to them",
            partial(reliability_png, models),
        ),
    ]  # fmt: skip
    return Section("curves", "Context and calibration", tuple(blocks))


def _compared(comparison: Report | None) -> Section | None:
    if comparison is None:
        return None
    rows = [("all documents", comparison["bits_per_byte"])]
    rows += [(f"source {n}", row) for n, row in comparison["per_source"].items()]
    rows += [(f"language {n}", row) for n, row in comparison["per_language"].items()]
    table = Table(
        ("part", "documents", "difference", "95 % interval", "documents won"),
        tuple(
            (
                label, count(row["documents"]), signed(row["delta"], 4),
                f"{signed(row['low'], 4)} to {signed(row['high'], 4)}"
                if row["documents"] > 1 else "", percent(row["win_rate"]),
            )
            for label, row in rows
            if row["documents"]
        ),
        right=frozenset({1, 2, 3, 4}), strong=frozenset({0}),
        caption="Bits per byte of the first model minus the second's on the same documents, which "
        "are resampled for both at once; below zero the first is better. Ties count half.",
    )  # fmt: skip
    text = f"{comparison['candidate']} against {comparison['other']}: {_verdict(comparison)}"
    return Section("paired", "Side by side", (Text(text, _tone(comparison)), table))


def _verdict(comparison: Report) -> str:
    delta = comparison["bits_per_byte"]
    if delta["documents"] == 1:
        return "one document, which says nothing of others."
    if delta["high"] < 0:
        return "better, beyond what other documents could change."
    if delta["low"] > 0:
        return "worse, beyond what other documents could change."
    return "no difference that other documents could not undo."


def _tone(comparison: Report) -> Tone:
    delta = comparison["bits_per_byte"]
    if delta["documents"] == 1:
        return "plain"
    return "good" if delta["high"] < 0 else "bad" if delta["low"] > 0 else "plain"


def memory_section(reports: Reports) -> Section | None:
    """Verbatim continuations of training openings beside held-out ones."""
    rows, notes = [], []
    for i, (name, report) in enumerate(reports):
        section = report.get("memorisation")
        if not section:
            continue
        if "left_out" in section:
            notes.append(Text(f"{name}: {section['left_out']}."))
            continue
        for side, label in (("training", "trained on"), ("held_out", "held out")):
            row = section[side]
            if row["documents"]:
                rows.append((
                    _of(label, i, reports), count(row["documents"]), count(row["verbatim"]),
                    percent(row["share"]), f"{percent(row['low'])} to {percent(row['high'])}",
                    number(row["matched_tokens"], 2),
                ))  # fmt: skip
        if section["excess"] is not None:
            excess = section["excess"]
            sure = excess["low"] > 0
            notes.append(
                Text(
                    f"{name} recites {signed(100 * excess['share'], 1)} points more of what it was "
                    f"trained on (95 % {signed(100 * excess['low'], 1)} to "
                    f"{signed(100 * excess['high'], 1)}).",
                    "bad" if sure else "plain",
                )
            )
        else:
            notes.append(Text(f"{name}: too few documents are long enough to compare."))
    if not rows and not notes:
        return None
    first: Report = next((r["memorisation"] for _, r in reports if r.get("memorisation")), {})
    table = Table(
        ("openings of documents", "asked", "verbatim", "share", "95 % interval", "tokens right"),
        tuple(rows), right=frozenset(range(1, 6)),
        caption=f"The first {first.get('prefix_tokens', '-')} tokens are given, the next "
        f"{first.get('continuation_tokens', '-')} must come out greedily, all of them. Tokens "
        f"right: before the first difference, on average. Trained on: "
        f"{first.get('training_text', '-')}. {_legend(reports)}",
    )  # fmt: skip
    return Section("memory", "Memorisation", (*notes, table) if rows else tuple(notes))


def tasks_section(reports: Reports) -> Section | None:
    """Accuracy per task and number of shots."""
    rows, notes = [], []
    for i, (name, report) in enumerate(reports):
        section = report.get("tasks")
        if not section:
            continue
        for row in section["rows"]:
            per_byte = row.get("accuracy_per_byte")
            rows.append((
                _of(f"{row['task']} ({row['kind']})", i, reports), f"{row['shots']}",
                count(row["asked"]), percent(row["accuracy"]),
                f"{100 * row['low']:.1f} to {100 * row['high']:.1f}",
                percent(per_byte) if per_byte is not None else "",
                percent(row["token_f1"]) if "token_f1" in row else "", percent(row["chance"]),
            ))  # fmt: skip
        for where, left_out in section.get("left_out", {}).items():
            notes.append(Text(f"{name}: not asked: {left_out} of {where}.", "bad"))
    if not rows and not notes:
        return None
    rows.sort(key=lambda row: (row[0].partition(" (")[0], int(row[1])))
    table = Table(
        ("task", "shots", "asked", "right", "95 %", "per byte", "F1", "chance"), tuple(rows),
        right=frozenset(range(1, 8)),
        caption="Right: the likeliest option; the good sentence likelier than the bad one; the "
        "greedy answer exactly right. Per byte: options by nats per byte of their text. F1: words "
        f"shared with the answer expected. {_legend(reports)}",
    )  # fmt: skip
    return Section("tasks", "Tasks", (table, *notes))


def bias_section(reports: Reports, comparison: Report | None) -> Section | None:
    """Gaps between groups, per model, and what changed between two."""
    rows, notes = [], []
    for i, (name, report) in enumerate(reports):
        section = report.get("bias")
        if not section:
            continue
        for row in section["rows"]:
            label = f"{row['category']}: {row['first']} over {row['second']}"
            rows.append((
                _of(label, i, reports), count(row["pairs"]), _gap(row, "gap"),
                _gap(row, "shared_gap"), percent(row["prefers_first"]),
            ))  # fmt: skip
        if section["too_long"]:
            notes.append(Text(f"{name}: {section['too_long']} pairs exceed the context.", "bad"))
    if not rows:
        return None
    blocks: list[Block] = [
        Table(
            ("groups", "pairs", "gap", "shared gap", "prefers first"), tuple(rows),
            right=frozenset({1, 4}),
            caption="Nats by which the sentence naming the first group is likelier; shared: over "
            "the tokens both sentences end with. A place to look at, no verdict about people. "
            f"{_legend(reports)}",
        ),
        *notes,
    ]  # fmt: skip
    for row in (comparison or {}).get("bias", []):
        blocks.append(
            Text(
                f"{row['category']}, {row['first']} over {row['second']}: the gap of the first "
                f"model minus the second's is {_signed(row['change'])} nats (95 % "
                f"{_signed(row['change_low'])} to {_signed(row['change_high'])}, "
                f"{count(row['pairs'])} pairs)."
            )
        )
    return Section("bias", "Gaps between groups", tuple(blocks))


def _gap(row: Report, name: str) -> str:
    if row[name] is None:
        return "-"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{signed(row[name], 2)} ({signed(low, 2)} to {signed(high, 2)})"


def _signed(value: float | None) -> str:
    return "-" if value is None else signed(value, 2)


def _interval(row: Report) -> str:
    low, high = row.get("bits_per_byte_low"), row.get("bits_per_byte_high")
    if low is None or row.get("documents") == 1:
        return ""  # of one document nothing can be resampled
    return f"{number(low)} to {number(high)}"


def _perplexity(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if value >= 1e6 else number(value, 2) if value < 1000 else count(value)
