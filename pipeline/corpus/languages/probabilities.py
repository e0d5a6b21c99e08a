"""The compiled half of lid176: from UTF-8 bytes to the probability of each label.

A language's words return: the sum of a word's vectors is kept in a table of recent words, which
makes this twice as fast and changes no answer, because every word is summed by itself.

Legend: N documents, L labels, D width.
"""

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.compiled import kernel
from pipeline.corpus.languages.lid176 import F32, I32, Lid176

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
_MEMO_SIZE = 16_384  # words, a power of two; 1 MB of sums
_MEMO_BASIS, _MEMO_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # 64-bit FNV
_FNV_BASIS, _FNV_PRIME = np.uint32(2_166_136_261), np.uint32(16_777_619)
_FLOOR = np.float32(1e-5)  # fastText adds it to every share
_END_OF_LINE = 0  # row of </s>, the commonest word


def probabilities(model: Lid176, data: U8, starts: I64, ends: I64) -> F32:
    """(N, L) probability of each label for `data[starts[i]:ends[i]]`; white space is alike."""
    return _probabilities(
        data, starts, ends, model.table, model.word_slots, model.word_bounds, model.word_bytes,
        model.bucket_bits, model.bucket_rows, model.min_n, model.max_n, model.nodes, model.children,
    )  # fmt: skip


@kernel
def _probabilities(
    data: U8, starts: I64, ends: I64, table: F32, slots: I32, bounds: I32, words: U8,
    bucket_bits: U8, bucket_rows: npt.NDArray[np.uint16], min_n: int, max_n: int,
    nodes: F32, children: I32,
) -> F32:  # fmt: skip
    num_labels = nodes.shape[1] + 1
    found = np.zeros((len(starts), num_labels), np.float32)
    hidden = np.zeros(table.shape[1], np.float32)
    sums = np.zeros(num_labels - 1, np.float32)
    shares = np.zeros(2 * num_labels - 1, np.float32)
    memo_keys = np.zeros(_MEMO_SIZE, np.uint64)
    memo_counts = np.zeros(_MEMO_SIZE, np.int32)
    memo_sums = np.zeros((_MEMO_SIZE, table.shape[1]), np.float32)
    for document in range(len(starts)):
        hidden[:] = table[_END_OF_LINE]
        rows = 1
        position, end = starts[document], ends[document]
        while position < end:
            if _is_space(data[position]):
                position += 1
                continue
            first = position
            key = _MEMO_BASIS
            while position < end and not _is_space(data[position]):
                key = (key ^ np.uint64(data[position])) * _MEMO_PRIME
                position += 1
            slot = np.int64((key >> np.uint64(32)) & np.uint64(_MEMO_SIZE - 1))
            if memo_keys[slot] != key:
                memo_keys[slot] = key
                memo_sums[slot] = 0
                memo_counts[slot] = _add_word(
                    data, first, position, memo_sums[slot], table, slots, bounds, words,
                    bucket_bits, bucket_rows, min_n, max_n,
                )  # fmt: skip
            _add(hidden, memo_sums[slot])
            rows += memo_counts[slot]
        _spread(hidden, rows, nodes, children, sums, shares)
        found[document] = shares[:num_labels]
    return found


@kernel
def _is_space(byte: int) -> bool:
    return byte == 32 or 9 <= byte <= 13 or byte == 0


@kernel
def _hashed(value: np.uint32, byte: np.uint8) -> np.uint32:
    return np.uint32((value ^ np.uint32(np.int8(byte))) * _FNV_PRIME)


@kernel
def _add(hidden: F32, row: F32) -> None:
    for k in range(len(hidden)):
        hidden[k] += row[k]


@kernel
def _add_word(
    data: U8, first: int, end: int, hidden: F32, table: F32, slots: I32, bounds: I32, words: U8,
    bucket_bits: U8, bucket_rows: npt.NDArray[np.uint16], min_n: int, max_n: int,
) -> int:  # fmt: skip
    """Add the vectors of one word and of its n-grams between "<" and ">"; how many they were."""
    value = _FNV_BASIS
    for k in range(first, end):
        value = _hashed(value, data[k])
    count = 0
    row = _find(data, first, end, int(value), slots, bounds, words)
    if row >= 0:
        _add(hidden, table[row])
        count += 1
    buckets = np.uint32(len(bucket_rows))
    last = end  # the position of ">"
    for i in range(first - 1, last + 1):  # first - 1 is the position of "<"
        if first <= i < last and (data[i] & 0xC0) == 0x80:
            continue  # inside a character
        value = _FNV_BASIS
        j, n = i, 1
        while j <= last and n <= max_n:
            byte = np.uint8(60) if j < first else (np.uint8(62) if j == last else data[j])
            value = _hashed(value, byte)
            j += 1
            while first < j < last and (data[j] & 0xC0) == 0x80:
                value = _hashed(value, data[j])
                j += 1
            if n >= min_n:
                bucket = value % buckets
                # Most n-grams were pruned; the small table of bits stays in the core's cache.
                if bucket_bits[bucket >> np.uint32(3)] >> (bucket & np.uint32(7)) & 1:
                    _add(hidden, table[bucket_rows[bucket]])
                    count += 1
            n += 1
    return count


@kernel
def _find(data: U8, first: int, end: int, value: int, slots: I32, bounds: I32, words: U8) -> int:
    """The row of a word, or -1."""
    mask = len(slots) - 1
    slot = value & mask
    while slots[slot] >= 0:
        row = slots[slot]
        start, stop = bounds[row], bounds[row + 1]
        if stop - start == end - first:
            same = True
            for k in range(end - first):
                if data[first + k] != words[start + k]:
                    same = False
                    break
            if same:
                return row
        slot = (slot + 1) & mask
    return -1


@kernel
def _spread(hidden: F32, rows: int, nodes: F32, children: I32, sums: F32, shares: F32) -> None:
    """Probabilities from the root, which is the last node, down to the labels.

    fastText adds logarithms of (share + 1e-5); here the same numbers are multiplied.
    """
    num_nodes = len(sums)
    sums[:] = 0
    for k in range(len(hidden)):  # the long loop inside: no order of additions to keep
        weight = hidden[k] / np.float32(rows)
        for node in range(num_nodes):
            sums[node] += weight * nodes[k, node]
    shares[2 * num_nodes] = 1
    for node in range(num_nodes - 1, -1, -1):
        share = shares[num_nodes + 1 + node]
        right = np.float32(1) / (np.float32(1) + np.exp(-sums[node]))
        shares[children[node, 0]] = share * (np.float32(1) - right + _FLOOR)
        shares[children[node, 1]] = share * (right + _FLOOR)
