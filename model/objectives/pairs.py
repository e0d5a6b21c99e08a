"""Pairs of source and target: what the rows of fine-tuning are to an encoder-decoder.

    row       What is 2+2? <s> four </s>      loss on: four </s>
    source    What is 2+2? </s>               what the encoder reads
    inputs    <s> four                        teacher forcing
    targets   four </s>

Several pairs in a row stay pairs of their own. B rows, T tokens of a row; sources and targets of a
row together are no longer than it, an end for each source included.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from model.batch import AttentionPattern
from model.errors import ModelError
from model.objectives.rows import Arrays, Objective, RowKeys, Vocabulary
from model.settings import FORBID_EXTRA


@dataclass(frozen=True)
class AnswerPairs:
    """Write the answer of each example from its prompt."""

    kind: Literal["pairs"] = "pairs"
    attention: ClassVar[AttentionPattern] = "encoder-decoder"
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    @property
    def predicted_share(self) -> float:
        """Positions of the target per token of a row: all at most."""
        return 1.0

    def build(self, vocabulary: Vocabulary) -> Objective:
        """The objective for these ids; ModelError without start and end."""
        if vocabulary.start is None or vocabulary.end is None:
            raise ModelError("pairs need a start and an end symbol; use a tokenizer with both")
        return Pairing(vocabulary.start, vocabulary.end)


@dataclass(frozen=True)
class Pairing:
    """Divides rows of prompt and answer between the encoder and the decoder."""

    start: int
    end: int

    def __call__(self, arrays: Arrays, keys: RowKeys) -> Arrays:
        """The arrays as of span corruption, each (B, T); ModelError for several answers in one."""
        rows, length = arrays["inputs"].shape
        source, source_segments = np.zeros((2, rows, length), np.int64)
        inputs, targets, segments, positions = np.zeros((4, rows, length), np.int64)
        loss_mask = np.zeros((rows, length), np.float32)
        for row in range(rows):
            read = wrote = 0
            of_row = arrays["segment_ids"][row]
            for number in np.unique(of_row[of_row > 0]):
                trained = np.flatnonzero((of_row == number) & (arrays["loss_mask"][row] > 0))
                if not len(trained):
                    continue
                first, last = int(trained[0]), int(trained[-1])
                if last - first + 1 != len(trained):
                    raise ModelError(
                        "an example has several answers; an encoder-decoder learns one target for "
                        "one source: give pairs of prompt and answer"
                    )
                given = arrays["inputs"][row, np.flatnonzero(of_row == number)[0] : first]
                wanted = arrays["targets"][row, trained]
                part = slice(read, read + len(given) + 1)
                source[row, part] = np.concatenate((given, [self.end]))
                source_segments[row, part] = number
                read = part.stop
                part = slice(wrote, wrote + len(wanted))
                targets[row, part], segments[row, part] = wanted, number
                inputs[row, part] = np.concatenate(([self.start], wanted[:-1]))
                positions[row, part] = np.arange(len(wanted))
                loss_mask[row, part] = arrays["loss_mask"][row, trained]
                wrote = part.stop
        return {
            "inputs": inputs, "targets": targets, "loss_mask": loss_mask, "segment_ids": segments,
            "positions": positions, "source_inputs": source, "source_segments": source_segments,
        }  # fmt: skip
