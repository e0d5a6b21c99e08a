"""An n-gram model in a given number of bytes: prune by count, serialise, score what was serialised.

The file is a trie, level by level, in the order of its keys; per entry
    token       2 bytes (4 above 65,536 ids)
    count       1 byte: exact below 128, then in steps of 7 %
    2 bits      "last of its context" and "is itself a context"
    mass        1 byte if the entry is a context: what it leaves for the lower order, in 3 % steps
so 3.25 bytes per entry and one more per context. Entries keep their Kneser-Ney counts from the
whole text; what pruning takes from a context goes to its mass, and every context sums to one.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evals.baselines_ngram import (
    Counts,
    Floats,
    Ints,
    Level,
    NgramModel,
    discounts,
    kneser_ney,
)
from pipeline.store.errors import ConfigError

_EXACT_COUNTS = 128
_COUNT_VALUES = np.concatenate(
    [np.arange(_EXACT_COUNTS), _EXACT_COUNTS * 1.07 ** np.arange(256 - _EXACT_COUNTS)]
)
_MASS_VALUES = np.exp(-(np.arange(256) + 1) / 32)  # 0.97 down to 0.0003
_LENGTH = struct.Struct("<I")
_HEADER_BYTES = 480  # about; the loop in `prune` corrects it


@dataclass(frozen=True)
class Pruned:
    """A serialised model: how it was cut, and the bytes."""

    data: bytes
    entries: tuple[int, ...]
    """Kept n-grams per order."""
    min_count: int
    """Every n-gram seen this often is kept; those seen once less fill what room is left."""


def prune(counts: Sequence[Counts], *, vocab_size: int, max_bytes: int | None) -> Pruned:
    """The most frequent n-grams that fit into `max_bytes`, serialised (None: all of them).

    Frequency is occurrences in the text, so an entry's context is always at least as frequent.
    """
    model = kneser_ney(counts, vocab_size=vocab_size)
    tables = [discounts(level.adjusted).tolist() for level in counts]
    if max_bytes is None:
        everything = [np.ones(len(level.keys), bool) for level in counts]
        return _serialise(counts, model, tables, everything, min_count=1)
    spare = max_bytes - _HEADER_BYTES
    while True:
        min_count = _smallest_threshold(counts, vocab_size, spare)
        keep = _fill(counts, vocab_size, min_count, spare)
        pruned = _serialise(counts, model, tables, keep, min_count=min_count)
        excess = len(pruned.data) - max_bytes
        if excess <= 0:
            return pruned
        if not any(pruned.entries):
            raise ConfigError(
                f"an n-gram model needs {len(pruned.data)} bytes before its first entry and the "
                f"limit is {max_bytes}; measure a larger model"
            )
        spare -= excess


def load_pruned(data: bytes) -> NgramModel:
    """The model in `data`, exactly as it is scored."""
    size = _LENGTH.unpack_from(data)[0]
    header = json.loads(data[_LENGTH.size : _LENGTH.size + size])
    reader = _Reader(data, _LENGTH.size + size)
    vocab_size, entries = int(header["vocab_size"]), header["entries"]
    token_type = _token_type(vocab_size)
    contexts, num_contexts = np.zeros(1, np.int64), 1
    mass = np.array([header["root_mass"]])
    levels = []
    for k, count in enumerate(entries):
        token = reader.array(token_type, count).astype(np.int64)
        value = _COUNT_VALUES[reader.array(np.dtype("u1"), count)]
        last = reader.bits(count)
        group: Ints = np.cumsum(last) - last  # which of the contexts each entry belongs to
        parent = contexts[group] if count else np.zeros(0, np.int64)
        discounted = value - np.asarray(header["discounts"][k])[np.minimum(value, 3).astype(int)]
        total = np.bincount(parent, weights=discounted, minlength=num_contexts)
        backoff = np.ones(num_contexts)
        backoff[contexts] = mass if count else 1.0
        weight = discounted * ((1 - backoff) / np.maximum(total, 1e-300))[parent]
        levels.append(Level(parent * vocab_size + token, weight, backoff))
        is_context = reader.bits(count)
        contexts, num_contexts = np.flatnonzero(is_context), count
        mass = _MASS_VALUES[reader.array(np.dtype("u1"), len(contexts))]
    return NgramModel(vocab_size, tuple(levels))


def entry_bytes(vocab_size: int) -> float:
    """Bytes per n-gram, its mass byte as a context excluded."""
    return _token_type(vocab_size).itemsize + 1 + 2 / 8


def _smallest_threshold(counts: Sequence[Counts], vocab_size: int, spare: int) -> int:
    """The smallest count such that everything seen that often fits into `spare` bytes."""
    most = 1 + max((int(level.raw.max()) for level in counts if len(level.raw)), default=0)
    entries, contexts = np.zeros(most + 1), np.zeros(most + 1)
    for k, level in enumerate(counts):
        entries += np.bincount(level.raw, minlength=most + 1)
        if k and len(level.keys):
            first_child = np.flatnonzero(np.diff(level.keys // vocab_size, prepend=-1))
            most_frequent_child = np.maximum.reduceat(level.raw, first_child)
            contexts += np.bincount(most_frequent_child, minlength=most + 1)
    size = (entries * entry_bytes(vocab_size) + contexts)[::-1].cumsum()[::-1]
    fits = size <= spare
    return int(np.argmax(fits)) if fits.any() else most


def _fill(
    counts: Sequence[Counts], vocab_size: int, min_count: int, spare: int
) -> list[npt.NDArray[np.bool_]]:
    """Everything seen `min_count` times, then, shorter n-grams first, what was seen once less."""
    keep = [level.raw >= min_count for level in counts]
    per_entry = entry_bytes(vocab_size)
    parents = [level.keys // vocab_size for level in counts]
    is_context = [
        np.bincount(parents[k][keep[k]], minlength=len(counts[k - 1].keys) if k else 1) > 0
        for k in range(len(counts))
    ]
    size = sum(
        mask.sum() * per_entry + (has_children.sum() if k else 0)
        for k, (mask, has_children) in enumerate(zip(keep, is_context, strict=True))
    )
    for k, level in enumerate(counts):
        candidates = np.flatnonzero(level.raw == min_count - 1)
        parent = parents[k][candidates]
        new_context = (k > 0) & ~is_context[k][parent] & (np.diff(parent, prepend=-1) != 0)
        cost = np.cumsum(per_entry + new_context)
        room = int(np.searchsorted(cost, spare - size, side="right"))
        keep[k][candidates[:room]] = True
        if room < len(candidates):
            break  # longer n-grams may need the ones that did not fit as contexts
        size += cost[-1] if len(cost) else 0.0
    return keep


def _serialise(
    counts: Sequence[Counts],
    model: NgramModel,
    tables: Sequence[Sequence[float]],
    keep: Sequence[npt.NDArray[np.bool_]],
    *,
    min_count: int,
) -> Pruned:
    vocab_size = model.vocab_size
    token_type = _token_type(vocab_size)
    body: list[bytes] = []
    root_mass = 1.0
    for k, level in enumerate(counts):
        kept = keep[k]
        keys = level.keys[kept]
        parent = keys // vocab_size
        last = np.append(parent[1:] != parent[:-1], True)[: len(keys)]
        body += [
            (keys % vocab_size).astype(token_type).tobytes(),
            _count_codes(level.adjusted[kept]),
        ]
        body.append(np.packbits(last).tobytes())
        if k == 0:
            root_mass = 1.0 - float(model.levels[0].weight[kept].sum())
        is_context, mass = _context_mass(counts, model, keep, k)
        body += [np.packbits(is_context).tobytes(), _mass_codes(mass)]
    entries = tuple(int(mask.sum()) for mask in keep)
    header = json.dumps(
        {"vocab_size": vocab_size, "entries": entries, "root_mass": root_mass, "discounts": tables}
    ).encode()
    return Pruned(b"".join([_LENGTH.pack(len(header)), header, *body]), entries, min_count)


def _context_mass(
    counts: Sequence[Counts], model: NgramModel, keep: Sequence[npt.NDArray[np.bool_]], k: int
) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Of the kept entries of level `k`: which are contexts, and what mass those back off."""
    if k + 1 == len(counts):
        return np.zeros(int(keep[k].sum()), bool), np.zeros(0)
    below = keep[k + 1]
    parent = counts[k + 1].keys[below] // model.vocab_size
    rows = len(counts[k].keys)
    used = np.bincount(parent, weights=model.levels[k + 1].weight[below], minlength=rows)
    is_context = np.bincount(parent, minlength=rows) > 0
    return is_context[keep[k]], 1.0 - used[is_context].astype(np.float64)


def _count_codes(adjusted: Ints) -> bytes:
    nearest = np.searchsorted(_COUNT_VALUES, adjusted, side="right") - 1
    return nearest.astype("u1").tobytes()


def _mass_codes(mass: Floats) -> bytes:
    code = np.rint(-np.log(np.maximum(mass, _MASS_VALUES[-1])) * 32 - 1)
    return np.clip(code, 0, 255).astype("u1").tobytes()


def _token_type(vocab_size: int) -> np.dtype:
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


@dataclass
class _Reader:
    data: bytes
    offset: int

    def array(self, dtype: np.dtype, count: int) -> npt.NDArray:
        found = np.frombuffer(self.data, dtype, count, self.offset)
        self.offset += found.nbytes
        return found

    def bits(self, count: int) -> npt.NDArray[np.bool_]:
        packed = self.array(np.dtype("u1"), (count + 7) // 8)
        return np.unpackbits(packed, count=count).astype(bool)
