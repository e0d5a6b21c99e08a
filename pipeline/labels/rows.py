"""Labelled examples into rows of token ids: several to a row, isolated, each with its targets.

    text   ids  b The cat . e          word  ids  b The cat s . e       b bos, e eos
           target 2 0 0 0 0                target 0 1 0 2 2 0           number of the label
           trainable 1 0 0 0 0             trainable 0 1 1 0 1 0        a word's first token only

What follows a word's first token is read and never scored, so that long words count no more than
short ones (Devlin et al. 2018, section 5.3).
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from model.bert_classifier import Level
from pipeline.conversations.template import TextEncoder
from pipeline.labels.example import Labelled
from pipeline.store.errors import DataError
from pipeline.store.files import replacing
from pipeline.tokens.fitting import lay_out
from pipeline.tokens.labelled import SCHEMA


@dataclass(frozen=True)
class Encoded:
    """The ids of one example, and where its labels are read."""

    ids: list[int]
    places: list[int]
    """Of the first units, in order; those beyond the context have none."""
    cut: int
    """Tokens that did not fit, of the text."""


def encoded(
    units: Sequence[str], tokenizer: TextEncoder, *, level: Level, context_length: int
) -> Encoded:
    """`bos text eos`, cut at the end to `context_length`.

    A word but the first is encoded with the space before it, as it stands in a text.
    """
    room = context_length - 2
    if level == "text":
        whole = tokenizer.encode(units[0])
        kept = whole[:room]
        return Encoded([tokenizer.bos, *kept, tokenizer.eos], [0], len(whole) - len(kept))
    ids: list[int] = []
    places: list[int] = []
    for number, word in enumerate(units):
        places.append(len(ids))
        ids += tokenizer.encode(f" {word}" if number else word)
    kept = ids[:room]
    seen = [place + 1 for place in places if place < len(kept)]
    return Encoded([tokenizer.bos, *kept, tokenizer.eos], seen, len(ids) - len(kept))


def write_rows(
    examples: Iterable[Labelled],
    tokenizer: TextEncoder,
    path: Path,
    *,
    labels: Sequence[str],
    level: Level,
    context_length: int,
    pack: bool,
) -> dict[str, Any]:
    """Write the rows of `examples`, in their order; counts of rows, targets and what was cut.

    DataError where there is no example.
    """
    number = {label: index for index, label in enumerate(labels)}
    fitted: list[tuple[Encoded, list[int]]] = []
    for one in examples:
        item = encoded(one.units, tokenizer, level=level, context_length=context_length)
        fitted.append((item, [number[label] for label in one.labels[: len(item.places)]]))
    if not fitted:
        raise DataError(f"{path.stem}: there is no labelled example to train on")
    lengths = np.array([len(item.ids) for item, _ in fitted], np.int64)
    layout = lay_out(lengths, context_length, pack=pack)
    members = [layout.pieces[a:b].tolist() for a, b in itertools.pairwise(layout.offsets.tolist())]
    members.sort(key=min)  # longest first is how they were made; the first rows are like the rest
    columns: dict[str, list[np.ndarray]] = {name: [] for name in SCHEMA.names}
    for of_row in members:
        size = int(lengths[of_row].sum())
        row = {name: np.zeros(size, np.uint32) for name in SCHEMA.names}
        at = 0
        for segment, member in enumerate(of_row, start=1):
            item, targets = fitted[member]
            stop = at + len(item.ids)
            row["ids"][at:stop] = item.ids
            row["segment"][at:stop] = segment
            places = np.array(item.places, np.int64) + at
            row["trainable"][places] = 1
            row["target"][places] = targets
            at = stop
        for name, values in row.items():
            columns[name].append(values)
    _write(path, columns, context_length, str(getattr(tokenizer, "sha256", "")))
    tokens = int(lengths.sum())
    return {
        "rows": len(members),
        "examples": len(fitted),
        "targets": sum(len(targets) for _, targets in fitted),
        "tokens": tokens,
        "truncated": sum(item.cut > 0 for item, _ in fitted),
        "efficiency": tokens / (len(members) * context_length),
    }


def _write(
    path: Path, columns: dict[str, list[np.ndarray]], context_length: int, tokenizer: str
) -> None:
    facts = {"context_length": str(context_length), "tokenizer_sha256": tokenizer}
    schema = SCHEMA.with_metadata(facts)
    lengths = [len(row) for row in columns["ids"]]
    offsets = pa.array(np.cumsum([0, *lengths]), pa.int32())
    lists = [
        pa.ListArray.from_arrays(
            offsets, pa.array(np.concatenate(columns[name]), schema.field(name).type.value_type)
        )
        for name in schema.names
    ]
    with replacing(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        with pa.ipc.new_file(sink, schema) as writer:
            writer.write_batch(pa.record_batch(lists, schema=schema))
