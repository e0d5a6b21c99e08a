"""What of a document is compared across parts: its content key, shingles, signature, overlap."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus.dedup.keys import CONTENT_KEY_BYTES
from pipeline.corpus.dedup.minhash import shingles_of, signatures_of
from pipeline.corpus.dedup.settings import SignatureConfig
from pipeline.corpus.document import TextBatch
from pipeline.corpus.ngrams import Overlap
from pipeline.corpus.words import words_of

SIGNATURES = "signatures.arrow"


def signature_schema(config: SignatureConfig) -> pa.Schema:
    """One row per kept document: what is compared across parts."""
    return pa.schema(
        [
            pa.field("doc_id", pa.string(), nullable=False),
            pa.field("chars", pa.int64(), nullable=False),
            pa.field("bytes", pa.int64(), nullable=False),
            pa.field("key", pa.binary(CONTENT_KEY_BYTES), nullable=False),
            pa.field("overlap", pa.float64(), nullable=False),
            pa.field("covered", pa.float64(), nullable=False),
            pa.field("held_out_grams", pa.list_(pa.uint32()), nullable=False),
            pa.field("signature", pa.list_(pa.uint32(), config.size), nullable=False),
            pa.field("shingles", pa.large_list(pa.uint32()), nullable=False),
        ]
    )


def signatures_table(
    batch: TextBatch,
    keep: npt.NDArray[np.bool_],
    keys: Sequence[bytes],
    overlap: Overlap,
    config: SignatureConfig,
) -> pa.Table:
    """The rows of `batch` where `keep` (N,) is true; `keys` and `overlap` are of all N."""
    rows = np.flatnonzero(keep)
    shingles = shingles_of(words_of(batch).select(keep), shingle_words=config.shingle_words)
    signatures = signatures_of(shingles, size=config.size, seed=config.seed)
    grams = [overlap.grams[overlap.bounds[row] : overlap.bounds[row + 1]] for row in rows]
    return pa.table(
        {
            "doc_id": batch.table.column("doc_id").take(pa.array(rows)),
            "chars": pa.array(batch.num_chars[keep]),
            "bytes": pa.array(batch.num_bytes[keep]),
            "key": pa.array([keys[row] for row in rows.tolist()], pa.binary(CONTENT_KEY_BYTES)),
            "overlap": pa.array(overlap.share[keep]),
            "covered": pa.array(overlap.covered[keep]),
            "held_out_grams": pa.array(grams, pa.list_(pa.uint32())),
            "signature": pa.FixedSizeListArray.from_arrays(
                pa.array(signatures.ravel()), config.size
            ),
            "shingles": pa.LargeListArray.from_arrays(
                pa.array(shingles.bounds), pa.array(shingles.hashes)
            ),
        }
    ).cast(signature_schema(config))
