"""What of a document is compared across parts, one row per kept document of a part.

content key, address key      -> exact duplicates
lines (optional)              -> repeated lines, with the bytes they take
shingles, signature           -> near-duplicates
held-out grams and spans      -> decontamination
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus.arrow_arrays import (
    bytes_array,
    number_array,
    number_lists,
    string_array,
)
from pipeline.corpus.dedup.held_out import HeldOut
from pipeline.corpus.dedup.keys import CONTENT_KEY_BYTES, url_key
from pipeline.corpus.dedup.line_keys import lines_of
from pipeline.corpus.dedup.minhash import Hashes, Shingles, shingles_of, signatures_of
from pipeline.corpus.dedup.settings import SignatureConfig
from pipeline.corpus.document import TextBatch, metadata_column
from pipeline.corpus.ngrams import OVERLAP_WORDS, Overlap
from pipeline.corpus.words import I64, WordTable, words_of

SIGNATURES = "signatures.arrow"
_NO_GRAMS = np.zeros(0, np.uint32)


def signature_schema(config: SignatureConfig) -> pa.Schema:
    """One row per kept document: what is compared across parts."""
    number = pa.uint64() if config.bits == 64 else pa.uint32()
    fields = [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("chars", pa.int64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("key", pa.binary(CONTENT_KEY_BYTES), nullable=False),
        pa.field("overlap", pa.float64(), nullable=False),
        pa.field("covered", pa.float64(), nullable=False),
        pa.field("held_out_grams", pa.list_(pa.uint32()), nullable=False),
        # Bytes of the text that held-out 13-grams take: begin, end, begin, end, ...
        pa.field("held_out_spans", pa.list_(pa.int64()), nullable=False),
        pa.field("num_shingles", pa.int64(), nullable=False),
        pa.field("signature", pa.list_(number, config.size), nullable=False),
        pa.field("shingles", pa.large_list(number), nullable=False),
    ]
    if config.urls:
        fields.append(pa.field("url_key", pa.uint64()))  # null without an address
    if config.lines is not None:
        fields += [
            pa.field("lines", pa.large_list(pa.uint64()), nullable=False),
            pa.field("line_spans", pa.large_list(pa.int64()), nullable=False),
            pa.field("visible_lines", pa.int64(), nullable=False),  # short ones too
        ]
    return pa.schema(fields)


def signatures_table(
    batch: TextBatch,
    keep: npt.NDArray[np.bool_],
    keys: Sequence[bytes],
    overlap: Overlap,
    config: SignatureConfig,
) -> pa.Table:
    """The rows of `batch` where `keep` (N,) is true; `keys` and `overlap` are of all N."""
    rows = np.flatnonzero(keep)
    words = words_of(batch)
    kept = words if keep.all() else words.select(keep)
    shingles = shingles_of(kept, config)
    columns = {
        "doc_id": batch.table.column("doc_id").take(number_array(rows)),
        "chars": number_array(words.code_points[keep]),
        "bytes": number_array(batch.num_bytes[keep]),
        "key": bytes_array([keys[row] for row in rows.tolist()], CONTENT_KEY_BYTES),
        "overlap": number_array(overlap.share[keep]),
        "covered": number_array(overlap.covered[keep]),
        **_held_out_columns(batch, words, overlap, rows),
        **shingle_columns(shingles, signatures_of(shingles, config), config),
    }
    if config.urls:
        urls = metadata_column(batch, "url")
        columns["url_key"] = pa.array([url_key(urls[row]) for row in rows.tolist()], pa.uint64())
    if config.lines is not None:
        some = batch if keep.all() else batch.filtered(keep)
        columns |= lines_of(some.data, some.offsets, config.lines)
    schema = signature_schema(config)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def held_out_table(held_out: HeldOut, config: SignatureConfig) -> list[tuple[str, pa.Table]]:
    """(name of the set, its documents as rows to be compared), one per held-out set."""
    columns = {
        "doc_id": string_array(held_out.doc_ids),
        "chars": number_array(held_out.chars),
        "key": pa.nulls(len(held_out.doc_ids), pa.binary(CONTENT_KEY_BYTES)),
        "url_key": pa.nulls(len(held_out.doc_ids), pa.uint64()),
        **shingle_columns(held_out.shingles, held_out.signatures, config),
    }
    table = pa.table(columns)
    sizes = Counter(held_out.set_names)
    first = 0
    tables = []
    for name in dict.fromkeys(held_out.set_names):
        tables.append((name, table.slice(first, sizes[name])))
        first += sizes[name]
    return tables


def shingle_columns(
    shingles: Shingles, signatures: Hashes, config: SignatureConfig
) -> dict[str, pa.Array]:
    """The columns `num_shingles`, `signature` and `shingles` of N documents."""
    return {
        "num_shingles": number_array(shingles.counts),
        "signature": pa.FixedSizeListArray.from_arrays(
            number_array(signatures.ravel()), config.size
        ),
        "shingles": pa.LargeListArray.from_arrays(
            number_array(shingles.bounds), number_array(shingles.hashes)
        ),
    }


def _held_out_columns(
    batch: TextBatch, words: WordTable, overlap: Overlap, rows: I64
) -> dict[str, pa.Array]:
    """Which held-out 13-grams each of the `rows` repeats, and on which bytes of its text."""
    grams: list[npt.NDArray[np.uint32]] = [_NO_GRAMS] * len(rows)
    spans: list[list[int]] = [[]] * len(rows)
    first_hit = np.searchsorted(overlap.hits, words.bounds)
    for place in np.flatnonzero(np.diff(overlap.bounds)[rows]).tolist():
        row = int(rows[place])
        grams[place] = overlap.grams[overlap.bounds[row] : overlap.bounds[row + 1]]
        spans[place] = _spans(batch, words, row, overlap.hits[first_hit[row] : first_hit[row + 1]])
    return {
        "held_out_grams": number_lists(grams, np.uint32),
        "held_out_spans": number_lists([np.array(span, np.int64) for span in spans], np.int64),
    }


def _spans(batch: TextBatch, words: WordTable, row: int, hits: I64) -> list[int]:
    """Bytes from the first word of each hit to the word after its last, runs joined."""
    end_word = words.bounds[row + 1]
    breaks = np.flatnonzero(np.diff(hits) > OVERLAP_WORDS) + 1
    firsts = hits[np.concatenate([[0], breaks])]
    lasts = hits[np.concatenate([breaks - 1, [len(hits) - 1]])] + OVERLAP_WORDS
    starts = np.append(words.begins, 0)
    ends = np.where(lasts < end_word, starts[lasts], batch.offsets[row + 1])
    pairs = np.stack([starts[firsts], ends], axis=1) - batch.offsets[row]
    spans: list[int] = pairs.ravel().tolist()
    return spans
