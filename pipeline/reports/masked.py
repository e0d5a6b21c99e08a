"""The section about an encoder: how well it finds hidden tokens, and what it fills in; about an
encoder-decoder: how well it writes targets, and which.
"""

from pipeline.reports.blocks import Block, Section, Table, Text
from pipeline.reports.facts import RunFacts
from pipeline.reports.numbers import percent
from pipeline.reports.tables import evaluation_rows
from pipeline.store.files import read_json

CANDIDATES_SHOWN = 3


def masked_section(run: RunFacts) -> Section | None:
    """The figures with their label, and what the model made of a few texts."""
    if run.masked_eval is None:
        return None
    content = read_json(run.masked_eval.path / "report.json")
    columns = ("measure", "value", "interval", "counted")
    rows = tuple(
        tuple(str(row[name]) for name in columns) for row in evaluation_rows(run.masked_eval)
    )
    measured = content.get("masked") or content["targets"]
    blocks: list[Block] = [
        Table(columns, rows, right=frozenset({1})),
        Text(measured["label"]),
    ]
    if "targets" in content:
        written = tuple((one["text"], one["target"], one["filled"]) for one in content["examples"])
        if written:
            blocks.append(Table(("source", "target", "filled in"), written))
        return Section("masked", "Targets", tuple(blocks))
    examples = tuple(
        (
            example["text"],
            "; ".join(
                ", ".join(
                    f"{c['text'].strip() or repr(c['text'])} {percent(c['probability'])}"
                    for c in place[:CANDIDATES_SHOWN]
                )
                for place in example["candidates"]
            ),
        )
        for example in content["examples"]
    )
    if examples:
        blocks.append(Table(("text", "likeliest"), examples))
    return Section("masked", "Hidden tokens", tuple(blocks))
