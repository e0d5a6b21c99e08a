"""Ranks of a byte-level BPE: `token bytes -> id`, where a lower id is merged earlier.

On disk tiktoken's own text form, one line `base64(token) id` per token, ids ascending from 0.
"""

import base64
import binascii
from collections.abc import Collection, Mapping

from pipeline.store.errors import DataError

NUM_BYTES = 256
Ranks = dict[bytes, int]


def format_ranks(ranks: Mapping[bytes, int]) -> bytes:
    """The ranks as the bytes of a `.tiktoken` file."""
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ordered)


def parse_ranks(data: bytes, *, where: str, others: Collection[int] = ()) -> Ranks:
    """Ranks from the bytes of a `.tiktoken` file; DataError names the line that is wrong.

    `others` are ids that special tokens have.
    """
    ranks: Ranks = {}
    for number, line in enumerate(data.splitlines(), start=1):
        if not line:
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise DataError(
                f"{where} line {number} is not `base64 rank`: {line[:60]!r}; use an intact file"
            ) from error
    check_ranks(ranks, where=where, others=others)
    return ranks


def check_ranks(ranks: Mapping[bytes, int], *, where: str, others: Collection[int] = ()) -> None:
    """DataError unless ids are 0..n-1 and every byte is a token, so any text can be encoded.

    Ids in `others` are left out: a special token may stand before or between the ranks.
    """
    last = max(ranks.values(), default=-1)
    taken = frozenset(others)
    if sorted(ranks.values()) != [i for i in range(last + 1) if i not in taken]:
        raise DataError(f"{where} does not hold the ranks 0 to {len(ranks) - 1}, each once")
    missing = [byte for byte in range(NUM_BYTES) if bytes([byte]) not in ranks]
    if missing:
        raise DataError(f"{where} lacks {len(missing)} single bytes, first {missing[0]:#04x}")


def merge_of(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes] | None:
    """The two tokens whose merge makes `token`, found by merging its bytes with lower ranks only.

    None if lower ranks never join it from two tokens (a token no text can produce).
    """
    limit = ranks[token]
    pieces = [token[i : i + 1] for i in range(len(token))]
    while len(pieces) > 2:
        best, at = limit, -1
        for i in range(len(pieces) - 1):
            rank = ranks.get(pieces[i] + pieces[i + 1], limit)
            if rank < best:
                best, at = rank, i
        if at < 0:
            return None
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    return (pieces[0], pieces[1]) if len(pieces) == 2 else None
