"""Where a large file of records may be cut, found in the same pass that hashes its pieces.

Each piece is known by its own hash: appending to a large file leaves all pieces but the last as
they were.
"""

import hashlib
from pathlib import Path

from pipeline.corpus.sources.inputs import Piece

BLOCK_BYTES = 1 << 20


def is_cuttable(separator: bytes) -> bool:
    """Whether occurrences of the separator cannot overlap: no beginning of it is also its end."""
    return not any(separator[:size] == separator[-size:] for size in range(1, len(separator)))


def cut_records(path: Path, *, separator: bytes, split_bytes: int) -> list[Piece]:
    """Pieces of at least `split_bytes` (but the last) that end behind a separator, in order."""
    pieces: list[Piece] = []
    digest = hashlib.sha256()
    start = position = first_row = rows = 0  # `position` is behind what was hashed
    kept = len(separator) - 1  # bytes of a block that may begin a separator
    tail = b""
    with open(path, "rb") as handle:
        while block := handle.read(BLOCK_BYTES):
            data = tail + block
            done = 0  # bytes of `data` that belong to finished or counted text
            while start + split_bytes <= position + len(data):
                target = start + split_bytes - position - len(separator)
                found = data.find(separator, max(done, target))
                if found < 0:
                    break
                end = found + len(separator)
                digest.update(data[done:end])
                rows += data.count(separator, done, end)
                stop = position + end
                identity = digest.hexdigest()
                pieces.append(Piece(start, stop, first_row, identity, stop - start))
                first_row += rows
                start, done, rows, digest = stop, end, 0, hashlib.sha256()
            # What may be the first half of a separator waits for the next block.
            split = max(done, len(data) - kept)
            last = data.rfind(separator, done)
            if last >= 0:
                split = max(split, last + len(separator))
            rows += data.count(separator, done, split)
            digest.update(data[done:split])
            position += split
            tail = data[split:]
    digest.update(tail)
    position += len(tail)
    if position > start:
        pieces.append(Piece(start, position, first_row, digest.hexdigest(), position - start))
    return pieces
