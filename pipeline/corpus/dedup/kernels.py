"""The inner loops of deduplication, compiled: signatures, Jaccard, components.

N documents; `bounds` (N + 1,) says which run of a flat array belongs to which document.
"""

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.compiled import kernel
from pipeline.corpus.word_kernel import mixed

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

_STEP = 0xD6E8FEB86659FD93  # odd
MERSENNE_61 = (1 << 61) - 1


@kernel
def drop_repeats(values: npt.NDArray[np.unsignedinteger], bounds: I64, new_bounds: I64) -> None:
    """Keep each value once where it repeats within a sorted run; in place, from the front."""
    to = 0
    for document in range(len(bounds) - 1):
        new_bounds[document] = to
        for at in range(bounds[document], bounds[document + 1]):
            if to == new_bounds[document] or values[to - 1] != values[at]:
                values[to] = values[at]
                to += 1
    new_bounds[len(bounds) - 1] = to


@kernel
def sign_32(hashes: U32, bounds: I64, factors: U32, offsets: U32, signatures: U32) -> None:
    """(N, size) smallest a * h + b modulo 2^32; rows without hashes are left as they are."""
    for document in range(len(bounds) - 1):
        row = signatures[document]
        for at in range(bounds[document], bounds[document + 1]):
            value = hashes[at]
            for i in range(len(factors)):
                row[i] = min(row[i], np.uint32(factors[i] * value + offsets[i]))


@kernel
def sign_64(hashes: U64, bounds: I64, factors: U64, offsets: U64, signatures: U64) -> None:
    """(N, size) smallest (a * h + b modulo 2^64) modulo 2^61 - 1."""
    prime = np.uint64(MERSENNE_61)
    for document in range(len(bounds) - 1):
        row = signatures[document]
        for at in range(bounds[document], bounds[document + 1]):
            value = hashes[at]
            for i in range(len(factors)):
                hashed = factors[i] * value + offsets[i]
                hashed = (hashed & prime) + (hashed >> np.uint64(61))
                hashed = hashed - prime if hashed >= prime else hashed
                row[i] = min(row[i], hashed)


@kernel
def band_keys(signatures: npt.NDArray[np.unsignedinteger], bands: int, keys: U64) -> None:
    """(bands, N) one 64-bit key per band of columns; `bands` divides the size of a signature."""
    rows = signatures.shape[1] // bands
    step = np.uint64(_STEP)
    for document in range(len(signatures)):
        for band in range(bands):
            key = np.uint64(0)
            for column in range(band * rows, (band + 1) * rows):
                key = mixed((key + np.uint64(signatures[document, column])) * step)
            keys[band, document] = key


@kernel
def shared(
    a: npt.NDArray[np.unsignedinteger], b: npt.NDArray[np.unsignedinteger], least: int
) -> int:
    """Elements in both ascending sets; gives up (with what it has) once `least` is out of reach."""
    i = j = both = 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            both += 1
            i += 1
            j += 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
        if both + min(len(a) - i, len(b) - j) < least:
            return both
    return both


@kernel
def squeeze_spaces(data: U8, offsets: I64, out: U8, out_offsets: I64) -> None:
    """Every run of white space (what `str.split` takes for it) as one space, none at the ends."""
    to = 0
    for document in range(len(offsets) - 1):
        out_offsets[document] = to
        at, end = offsets[document], offsets[document + 1]
        pending = False
        while at < end:
            byte = data[at]
            width = 0
            if byte <= 0x20:
                is_space = byte == 0x20 or 9 <= byte <= 13 or 0x1C <= byte <= 0x1F
                width = 1 if is_space else 0
            elif byte == 0xC2:  # U+0085, U+00A0
                width = 2 if data[at + 1] == 0x85 or data[at + 1] == 0xA0 else 0
            elif byte == 0xE1:  # U+1680
                width = 3 if data[at + 1] == 0x9A and data[at + 2] == 0x80 else 0
            elif byte == 0xE2:  # U+2000 to 200A, 2028, 2029, 202F, 205F
                second, third = data[at + 1], data[at + 2]
                general = second == 0x80 and (
                    third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF
                )
                width = 3 if general or (second == 0x81 and third == 0x9F) else 0
            elif byte == 0xE3:  # U+3000
                width = 3 if data[at + 1] == 0x80 and data[at + 2] == 0x80 else 0
            if width:
                pending = to > out_offsets[document]
                at += width
            else:
                if pending:
                    out[to] = 0x20
                    to += 1
                    pending = False
                out[to] = byte
                to += 1
                at += 1
    out_offsets[len(offsets) - 1] = to


@kernel
def find_root(parents: I32, member: int) -> int:
    """The smallest member of a component, halving the path on the way."""
    while parents[member] != member:
        parents[member] = parents[parents[member]]
        member = parents[member]
    return member


@kernel
def find_roots(parents: I32) -> I32:
    """(M,) the smallest member of each one's component."""
    roots = np.empty_like(parents)
    for member in range(len(parents)):
        roots[member] = find_root(parents, member)
    return roots


@kernel
def unite_buckets(keys: U64, members: I32, parents: I32) -> None:
    """Unite neighbours of one key; `keys` ascend, and so do the `members` of each."""
    for at in range(1, len(keys)):
        if keys[at] == keys[at - 1]:
            a, b = find_root(parents, members[at - 1]), find_root(parents, members[at])
            if a < b:
                parents[b] = a
            elif b < a:
                parents[a] = b


@kernel
def crowd_pairs(
    ranks: I32,
    heads: I64,
    sizes: I64,
    num_fixed: int,
    all_up_to: int,
    first: int,
    near: int,
    codes: U64,
) -> int:
    """Fill `codes` with (later << 32) | earlier of each bucket; returns how many.

    A bucket is ranks[head : head + size], ascending. Pairs whose later one is below `num_fixed` are
    left out: it cannot leave.
    """
    count = 0
    for bucket in range(len(heads)):
        head, size = heads[bucket], sizes[bucket]
        for later in range(1, size):
            rank = ranks[head + later]
            if rank < num_fixed:
                continue
            code = np.uint64(rank) << np.uint64(32)
            if size <= all_up_to:
                for earlier in range(later):
                    codes[count] = code | np.uint64(ranks[head + earlier])
                    count += 1
            else:
                for earlier in range(min(first, later)):
                    codes[count] = code | np.uint64(ranks[head + earlier])
                    count += 1
                for earlier in range(max(first, later - near), later):
                    codes[count] = code | np.uint64(ranks[head + earlier])
                    count += 1
    return count


@kernel
def verify_pairs(
    earlier: I64,
    later: I64,
    sets: npt.NDArray[np.unsignedinteger],
    bounds: I64,
    places: I64,
    min_jaccard: float,
    reason: U8,
    twin: I32,
    jaccard: npt.NDArray[np.float32],
    num_held_out: int,
    held_out_reason: int,
    near_reason: int,
) -> int:
    """Go through pairs by (later, earlier): who is alike one that stays leaves; returns compared.

    `earlier` and `later` are ranks; `places` (P, 2) say which run of `sets` belongs to each. The
    similarity is |A and B| / |A or B| of the shingle sets; comparing stops when it cannot reach
    `min_jaccard` any more.
    """
    compared = 0
    for pair in range(len(later)):
        a, b = earlier[pair], later[pair]
        if reason[a] != 0 or reason[b] != 0:
            continue
        left = sets[bounds[places[pair, 0]] : bounds[places[pair, 0] + 1]]
        right = sets[bounds[places[pair, 1]] : bounds[places[pair, 1] + 1]]
        total = len(left) + len(right)
        least = int(np.ceil(min_jaccard * total / (1 + min_jaccard) - 1e-6))
        compared += 1
        both = shared(left, right, least)
        similarity = both / max(total - both, 1)
        if similarity >= min_jaccard:
            reason[b] = held_out_reason if a < num_held_out else near_reason
            twin[b] = a
            jaccard[b] = similarity
    return compared
