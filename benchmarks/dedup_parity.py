"""The peer's clusters from our own arithmetic: its words and hashes, our kernels and components.

    python -m benchmarks.dedup_parity FOLDER NORMALISATION.json OUT.json

Runs where spaCy lies beside our packages. Text is normalised as the peer documents it (lower case,
numbers to 0, punctuation to spaces, marks dropped after NFD), cut into spaCy's words, 5-grams
joined by spaces and hashed by xxhash64; permutations are those of numpy's RandomState(1). From
there signatures, bands and components are what the stage uses, with the unverified closure.
"""

import argparse
import json
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import xxhash

from pipeline.corpus.dedup.kernels import MERSENNE_61, band_keys, find_roots, sign_64, unite_buckets
from pipeline.corpus.document import TextBatch
from pipeline.corpus.kernels.peer_words import peer_table

WORDS, BANDS, ROWS, SEED = 5, 14, 8, 1
_NUMBER = re.compile(r"\d+(?:[.,\u060c\u066b\u2396\u2397\u2398]\d+)?")
_BATCH = 256


def main(arguments: Sequence[str] | None = None) -> int:
    """Find the clusters of all documents; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dedup_parity", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("normalisation", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args(arguments)
    punctuation = json.loads(given.normalisation.read_text(encoding="utf-8"))["punctuation"]
    ids: list[str] = []
    keys = []
    texts: list[str] = []
    for path in sorted(given.folder.glob("*.jsonl")):
        for line in path.open("rb"):
            row = orjson.loads(line)
            ids.append(row["id"])
            texts.append(normal(row["text"], punctuation))
            if len(texts) == _BATCH:
                keys.append(_band_keys(texts))
                texts = []
    keys.append(_band_keys(texts))
    clusters = components(np.concatenate(keys, axis=1))
    named = [[ids[i] for i in cluster] for cluster in clusters]
    given.out.write_text(json.dumps(named), encoding="utf-8")
    return 0


def normal(text: str, punctuation: str) -> str:
    """The text as the peer compares it."""
    text = _NUMBER.sub("0", text.lower())
    text = " ".join(text.translate(str.maketrans(dict.fromkeys(punctuation, " "))).split())
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(c for c in decomposed if unicodedata.category(c) != "Mn").strip()


def signatures(documents: Sequence[Sequence[bytes]]) -> tuple[np.ndarray, np.ndarray]:
    """((N, BANDS * ROWS) signatures, (N,) whether there is an n-gram at all) of lists of words."""
    grams = [
        [b" ".join(words[at : at + WORDS]) for at in range(len(words) - WORDS + 1)]
        for words in documents
    ]
    hashes = np.array([xxhash.xxh64_intdigest(g) for some in grams for g in some], np.uint64)
    counts = np.array([len(some) for some in grams], np.int64)
    random = np.random.RandomState(SEED)
    factors = random.randint(1, MERSENNE_61, dtype=np.uint64, size=BANDS * ROWS)
    offsets = random.randint(0, MERSENNE_61, dtype=np.uint64, size=BANDS * ROWS)
    found = np.full((len(documents), BANDS * ROWS), np.iinfo(np.uint64).max, np.uint64)
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    sign_64(hashes, bounds, factors, offsets, found)
    return found, counts > 0


def _band_keys(texts: Sequence[str]) -> np.ndarray:
    """(BANDS, N) keys; 0 for a document of fewer than WORDS words, which joins nothing."""
    documents: list[list[bytes]] = []
    if texts:
        table = peer_table(TextBatch.of(list(texts)))
        data = table.data.tobytes()
        words = [data[a:b] for a, b in zip(table.starts, table.ends, strict=True)]
        documents = [words[a:b] for a, b in zip(table.bounds[:-1], table.bounds[1:], strict=True)]
    found, has_grams = signatures(documents)
    keys = np.empty((BANDS, len(texts)), np.uint64)
    band_keys(found, BANDS, keys)
    keys[:, ~has_grams] = 0
    return keys


def components(keys: np.ndarray) -> list[list[int]]:
    """Groups of two and more documents that share a key of a band, directly or through others."""
    parents = np.arange(keys.shape[1], dtype=np.int32)
    for band in keys:
        members = np.flatnonzero(band)
        members = members[np.argsort(band[members], kind="stable")].astype(np.int32)
        unite_buckets(band[members], members, parents)
    groups: dict[int, list[int]] = defaultdict(list)
    for member, root in enumerate(find_roots(parents).tolist()):
        groups[root].append(member)
    return [group for group in groups.values() if len(group) > 1]


if __name__ == "__main__":
    sys.exit(main())
