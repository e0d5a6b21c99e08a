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
    facts = [np.empty(room, values.dtype) for values in tokens.facts]
    bounds = np.zeros(len(tokens) + 1, np.int64)
    _carry(
        tokens.starts,
        tokens.ends,
        tokens.bounds,
        *tokens.facts,
        lines.sources,
        lines.targets,
        lines.sizes,
        lines.bounds,
        fresh.starts,
        fresh.ends,
        fresh.bounds,
        *fresh.facts,
        starts,
        ends,
        bounds,
        *facts,
    )
    count = int(bounds[-1])
    return TokenTable.with_facts(
        lines.data, starts[:count], ends[:count], bounds, [values[:count] for values in facts]
    )


@leaf
def _carry(
    starts: Array,
    ends: Array,
    bounds: Array,
    hashes: Array,
    chars: Array,
    flags: Array,
    sources: Array,
    targets: Array,
    sizes: Array,
    lines: Array,
    fresh_starts: Array,
    fresh_ends: Array,
    fresh_bounds: Array,
    fresh_hashes: Array,
    fresh_chars: Array,
    fresh_flags: Array,
    new_starts: Array,
    new_ends: Array,
    new_bounds: Array,
    new_hashes: Array,
    new_chars: Array,
    new_flags: Array,
) -> None:
    count, cited = 0, 0
    for row in range(len(bounds) - 1):
        k, last = bounds[row], bounds[row + 1]
        for line in range(lines[row], lines[row + 1]):
            first = sources[line]
            if first < 0:
                for fresh in range(fresh_bounds[cited], fresh_bounds[cited + 1]):
                    new_starts[count], new_ends[count] = fresh_starts[fresh], fresh_ends[fresh]
                    new_hashes[count], new_chars[count] = fresh_hashes[fresh], fresh_chars[fresh]
                    new_flags[count] = fresh_flags[fresh]
                    count += 1
                cited += 1
                continue
            shift = targets[line] - first
            while k < last and starts[k] < first:
                k += 1
            while k < last and starts[k] < first + sizes[line]:
                new_starts[count], new_ends[count] = starts[k] + shift, ends[k] + shift
                new_hashes[count], new_chars[count] = hashes[k], chars[k]
                new_flags[count] = flags[k]
                count += 1
                k += 1
        new_bounds[row + 1] = count
