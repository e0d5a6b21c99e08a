"""Harmful words, line by line: the lines that hold them go, the rest of the document stays."""

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Measures, Rewrite, Rewritten
from pipeline.corpus.filters.word_list import HasWords
from pipeline.corpus.rewrites.spans import I64, Text, replace

_NEWLINE = 10


class HarmfulLines(HasWords, Rewrite):
    """Which words a line may not hold."""

    kind: Literal["harmful_lines"] = "harmful_lines"
    max_matches: int = Field(
        0, ge=0, title="Most matches", description="Lines with more matches are dropped."
    )

    def apply(self, batch: TextBatch) -> Rewritten:
        """Counts of `lines` and `documents`; measures `lines` and `bytes` dropped, (N,)."""
        text = Text.of(batch)
        matcher = self.matcher()
        measures: Measures = {
            "lines": np.zeros(len(batch), np.int32),
            "bytes": np.zeros(len(batch), np.int64),
        }
        if not len(batch):
            return Rewritten(batch, {}, measures)
        # Only documents with a match are cut into lines.
        suspects = matcher.find(text).counts[:, 0] > self.max_matches
        if not suspects.any():
            return Rewritten(batch, {}, measures)
        lines = _lines(text, suspects)
        bad = matcher.find(lines).counts[:, 0] > self.max_matches
        if not bad.any():
            return Rewritten(batch, {}, measures)
        starts, ends = _runs(text, lines.offsets[:-1][bad], lines.offsets[1:][bad])
        documents = text.documents_of(lines.offsets[:-1][bad])
        measures["lines"] = np.bincount(documents, minlength=len(batch)).astype(np.int32)
        shorter = replace(text, starts, ends, [b""] * len(starts))
        measures["bytes"] = np.diff(text.offsets) - np.diff(shorter.offsets)
        counts = {"documents": int((measures["lines"] > 0).sum()), "lines": int(bad.sum())}
        return Rewritten(shorter.into(batch), counts, measures)


def _lines(text: Text, wanted: npt.NDArray[np.bool_]) -> Text:
    """The lines of the wanted documents, newlines included; every other document is one line."""
    newlines = text.positions_of(_NEWLINE)
    newlines = newlines[wanted[text.documents_of(newlines)]]
    return Text(text.data, np.sort(np.concatenate([text.offsets, newlines + 1])))


def _runs(text: Text, starts: I64, ends: I64) -> tuple[I64, I64]:
    """Neighbouring lines as one span; at a document's end the newline before goes, too."""
    documents = text.documents_of(starts)
    heads = np.ones(len(starts), np.bool_)
    heads[1:] = (starts[1:] != ends[:-1]) | (documents[1:] != documents[:-1])
    first = np.flatnonzero(heads)
    last = np.append(first[1:], len(starts)) - 1
    begins, stops, owners = starts[first].copy(), ends[last], documents[first]
    open_end = (stops == text.offsets[owners + 1]) & (text.data[stops - 1] != _NEWLINE)
    begins[open_end & (begins > text.offsets[owners])] -= 1
    return begins, stops
