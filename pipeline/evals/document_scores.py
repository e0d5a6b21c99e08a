"""What a model needed for each held-out document, and the file that keeps it for comparisons."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.evals.token_tally import TokenTally
from pipeline.store.files import replacing

DOCUMENT_SCORES_SCHEMA = pa.schema([
    ("doc_id", pa.string()), ("source", pa.string()), ("nats", pa.float64()),
    ("tokens", pa.int64()), ("bytes", pa.int64()), ("overlap", pa.float64()),
    ("eos_nats", pa.float64()), ("words", pa.int64()), ("language", pa.string()),
])  # fmt: skip


@dataclass(frozen=True)
class DocumentScores:
    """Per-document sums, all of length D."""

    doc_ids: tuple[str, ...]
    sources: tuple[str, ...]
    languages: tuple[str, ...]
    nats: np.ndarray  # (D,) float64, over the text's tokens
    tokens: np.ndarray  # (D,) int64
    num_bytes: np.ndarray  # (D,) int64, UTF-8
    words: np.ndarray  # (D,) int64, between white space
    eos_nats: np.ndarray  # (D,) float64
    tally: TokenTally = field(default_factory=TokenTally, compare=False)


def write_scores(path: Path, scores: DocumentScores, overlap: np.ndarray | None = None) -> None:
    """Write documents.arrow (an IPC file); `overlap` (D,) with the training text, where known."""
    table = pa.table(
        [
            list(scores.doc_ids), list(scores.sources), scores.nats, scores.tokens,
            scores.num_bytes, [None] * len(scores.nats) if overlap is None else overlap,
            scores.eos_nats, scores.words, list(scores.languages),
        ],
        schema=DOCUMENT_SCORES_SCHEMA,
    )  # fmt: skip
    with replacing(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)


def read_scores(path: Path) -> pa.Table:
    """The table `write_scores` wrote."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()
