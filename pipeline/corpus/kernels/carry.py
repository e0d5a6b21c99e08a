"""Tokens of a rewritten text from those of the old one: lines that were only moved keep theirs.

No token reaches across white space, so a line that was copied whole has the tokens it had. This
saves a second pass of the tokenizer, whichever it was. Legend: N documents, W tokens.
"""

import numpy as np

from pipeline.corpus.kernels.c4_text import KeptLines
from pipeline.corpus.kernels.compiled import Array, leaf
from pipeline.corpus.kernels.tokens import TokenTable


def carried_tokens(tokens: TokenTable, lines: KeptLines) -> TokenTable:
    """The tokens of `lines.data`; lines that lost citations are split anew by our own rules."""
    cited = np.flatnonzero(lines.sources < 0)
    begins = lines.targets[cited]
    fresh = TokenTable.of(lines.data, begins, begins + lines.sizes[cited])
    room = len(tokens.starts) + len(fresh.starts)
    starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
    flags, bounds = np.empty(room, np.uint8), np.zeros(len(tokens) + 1, np.int64)
    _carry(
        tokens.starts,
        tokens.ends,
        tokens.bounds,
        tokens.flags,
        lines.sources,
        lines.targets,
        lines.sizes,
        lines.bounds,
        fresh.starts,
        fresh.ends,
        fresh.bounds,
        fresh.flags,
        starts,
        ends,
        bounds,
        flags,
    )
    count = int(bounds[-1])
    return TokenTable.with_flags(lines.data, starts[:count], ends[:count], bounds, flags[:count])


@leaf
def _carry(
    starts: Array,
    ends: Array,
    bounds: Array,
    flags: Array,
    sources: Array,
    targets: Array,
    sizes: Array,
    lines: Array,
    fresh_starts: Array,
    fresh_ends: Array,
    fresh_bounds: Array,
    fresh_flags: Array,
    new_starts: Array,
    new_ends: Array,
    new_bounds: Array,
    new_flags: Array,
) -> None:
    cited = 0
    count, one = np.uint64(0), np.uint64(1)
    for row in range(len(bounds) - 1):
        k, last = np.uint64(bounds[row]), np.uint64(bounds[row + 1])
        for line in range(lines[row], lines[row + 1]):
            first = sources[line]
            if first < 0:
                for fresh in range(fresh_bounds[cited], fresh_bounds[cited + 1]):
                    new_starts[count], new_ends[count] = fresh_starts[fresh], fresh_ends[fresh]
                    new_flags[count] = fresh_flags[fresh]
                    count += one
                cited += 1
                continue
            shift, end = targets[line] - first, first + sizes[line]
            while k < last and starts[k] < first:
                k += one
            while k < last and starts[k] < end:
                new_starts[count], new_ends[count] = starts[k] + shift, ends[k] + shift
                new_flags[count] = flags[k]
                count += one
                k += one
        new_bounds[row + 1] = count
