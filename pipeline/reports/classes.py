"""The section about classifiers: how often each is right, and what it takes for what."""

from pipeline.reports.blocks import Block, Section, Table, Text
from pipeline.reports.facts import RunFacts
from pipeline.reports.numbers import percent
from pipeline.reports.tables import evaluation_rows
from pipeline.store.files import read_json

CONFUSED_SHOWN = 5


def classes_section(run: RunFacts) -> Section | None:
    """Accuracy and macro F1 of every classifier beside the majority, then label by label."""
    blocks: list[Block] = []
    columns = ("measure", "value", "interval", "baseline", "counted")
    for report in run.class_evals:
        section = read_json(report.path / "report.json")["classes"]
        rows = tuple(tuple(str(row[name]) for name in columns) for row in evaluation_rows(report))
        majority = section["majority"]["label"]
        blocks.append(Table(columns, rows, right=frozenset({1})))
        blocks.append(Text(f"The baseline always says {majority!r}. {report.ref}"))
        labels = tuple(
            (
                label, f"{row['targets']:,}", percent(row["precision"]), percent(row["recall"]),
                percent(row["f1"]),
            )
            for label, row in section["per_label"].items()
        )  # fmt: skip
        heads = ("label", "held out", "precision", "recall", "F1")
        blocks.append(Table(heads, labels, right=frozenset({1, 2, 3, 4})))
        confused = tuple(
            (one["expected"], one["predicted"], f"{one['targets']:,}")
            for one in section["confused"][:CONFUSED_SHOWN]
        )
        if confused:
            blocks.append(Table(("label", "taken for", "times"), confused, right=frozenset({2})))
    return Section("classes", "Classification", tuple(blocks)) if blocks else None
