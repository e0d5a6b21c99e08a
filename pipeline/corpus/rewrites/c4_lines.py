"""C4's rules about lines (Raffel et al. 2020, section 2.2), decided as datatrove 0.10.1 does.

Menus, scripts, policies and fragments go; what stays is prose, line by line. Lines
that hold lorem ipsum or a curly bracket stay, for the filter `c4` after this to drop the document.
"""

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Rewrite, Rewritten
from pipeline.corpus.kernels.c4_text import (
    CITATIONS,
    FEW_WORDS,
    LONG_WORD,
    POLICIES,
    SCRIPT,
    UNFINISHED,
    rewrite_lines,
)
from pipeline.corpus.kernels.carry import carried_tokens
from pipeline.corpus.kernels.tokens import can_carry_tokens, tokens_of, with_tokens

_KINDS = {
    "lines_with_long_word": LONG_WORD,
    "lines_unfinished": UNFINISHED,
    "lines_with_few_words": FEW_WORDS,
    "lines_about_javascript": SCRIPT,
    "lines_about_policies": POLICIES,
    "citations": CITATIONS,
}


class C4LinesRewrite(Rewrite):
    """Trim every line, drop lines that are not prose, remove Wikipedia's citation marks."""

    kind: Literal["c4_lines"] = "c4_lines"
    min_words: int = Field(
        3, ge=0, title="Fewest words", description="Lines of fewer words are dropped."
    )
    max_word_chars: int = Field(
        1000,
        ge=1,
        title="Longest word",
        description="Lines with a word of more characters are dropped.",
    )
    require_terminal_mark: bool = Field(
        False,  # FineWeb leaves this rule of C4 out: it removed too much
        title="Require a terminal mark",
        description="Drop lines that do not end in . ? ! \" or ', or that end in three dots.",
    )
    remove_citations: bool = Field(
        True, title="Remove citation marks", description="[1], [], [edit], [citation needed]."
    )

    def apply(self, batch: TextBatch) -> Rewritten:
        """Counts lines by the rule that dropped them; `kept_bytes` is a share per document."""
        lines = rewrite_lines(
            batch.data,
            batch.offsets,
            min_words=self.min_words,
            max_word_chars=self.max_word_chars,
            needs_mark=self.require_terminal_mark,
            drops_citations=self.remove_citations,
        )
        found = {name: int(lines.counts[row].sum()) for name, row in _KINDS.items()}
        measures = {
            "kept_bytes": np.diff(lines.offsets) / np.maximum(batch.num_bytes, 1),
            "dropped_lines": lines.counts[LONG_WORD:CITATIONS].sum(axis=0),
        }
        rewritten = _with_bytes(batch, lines.data, lines.offsets)
        if can_carry_tokens(batch) and len(batch):
            with_tokens(rewritten, carried_tokens(tokens_of(batch), lines))
        return Rewritten(
            rewritten, {name: count for name, count in found.items() if count}, measures
        )


def _with_bytes(batch: TextBatch, data: np.ndarray, offsets: np.ndarray) -> TextBatch:
    """The batch with its texts replaced by slices of `data`, which is valid UTF-8."""
    if not len(batch):
        return batch
    texts = pa.LargeStringArray.from_buffers(len(batch), pa.py_buffer(offsets), pa.py_buffer(data))
    index = batch.table.schema.get_field_index("text")
    field = pa.field("text", pa.large_string(), nullable=False)
    return TextBatch(batch.table.set_column(index, field, texts))
