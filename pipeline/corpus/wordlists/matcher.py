"""Which terms a text mentions: a trie walked from every place where a term may begin.

    groups of terms -> TermMatcher -> (N, G) matches and matched bytes per document and group

In scripts with spaces a term matches whole words ("ass" is not in "class"); in scripts without
spaces it matches anywhere. Case does not count, any white space equals one space. Of the terms
that begin at one place all are counted that end there properly, then the search goes on behind the
longest one. A walk ends with the longest term, so time is linear in the text.

Legend: N documents, G groups of terms, S states of the trie, E its edges.
"""

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.corpus.document import TextBatch
from pipeline.corpus.kernels.classes import DIGIT, LETTER, MARK, SPACELESS, TABLE_SIZE, char_classes
from pipeline.corpus.kernels.compiled import leaf
from pipeline.corpus.rewrites.spans import I64, Text
from pipeline.store.errors import DataError

I32 = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

MAX_TERM_BYTES = 256
MAX_SPACES = 8  # white space characters in a row that still count as the space inside a term
_SPACES = b"\t\n\v\f\r "


@dataclass(frozen=True)
class Matches:
    """What was found in N documents."""

    counts: I32
    """(N, G) occurrences of each group's terms."""
    num_bytes: I64
    """(N,) bytes of text that belong to any term."""


class TermMatcher:
    """Finds the terms of G groups; build once, use for all batches.

    Without `whole_words` a term matches inside words too.
    """

    def __init__(self, groups: Sequence[Sequence[str]], *, whole_words: bool = True) -> None:
        self.num_groups = len(groups)
        self._whole_words = whole_words
        self._needs_lower = False
        edges: dict[int, int] = {}
        owners: dict[int, set[int]] = {}
        for group, terms in enumerate(groups):
            for term in terms:
                state = self._insert(_normal(term), edges)
                owners.setdefault(state, set()).add(group)
        size = 1 + max(edges.values(), default=0)
        keys = np.array(sorted(edges), np.int64)  # by state, then by byte
        self._edge_bytes = (keys & 255).astype(np.uint8)  # (E,)
        self._edge_to = np.array([edges[key] for key in keys.tolist()], np.int32)  # (E,)
        self._edge_bounds = np.searchsorted(keys >> 8, np.arange(size + 1))  # (S + 1,)
        sizes = np.array([len(owners.get(state, ())) for state in range(size)], np.int64)
        self._owner_bounds = np.concatenate([[0], np.cumsum(sizes)])  # (S + 1,)
        self._owners = np.array(
            [group for state in sorted(owners) for group in sorted(owners[state])], np.int32
        )
        self._may_begin = _first_pairs(edges, owners)

    def find(self, text: Text) -> Matches:
        """Count the terms in each document of `text`."""
        if self._needs_lower and bool((text.data[text.offsets[0] : text.offsets[-1]] > 127).any()):
            text = _lower(text)
        counts = np.zeros((len(text), max(self.num_groups, 1)), np.int32)
        num_bytes = np.zeros(len(text), np.int64)
        _find(
            text.data, text.offsets, self._may_begin, self._edge_bounds, self._edge_bytes,
            self._edge_to, self._owner_bounds, self._owners, _FOLD, _word_table(),
            self._whole_words, counts, num_bytes,
        )  # fmt: skip
        return Matches(counts[:, : self.num_groups], num_bytes)

    def _insert(self, term: str, edges: dict[int, int]) -> int:
        self._needs_lower |= any(char > "\x7f" and char.upper() != char.lower() for char in term)
        state = 0
        for byte in term.encode():
            state = edges.setdefault(state << 8 | byte, len(edges) + 1)
        return state


def _normal(term: str) -> str:
    """The term as it is looked for; DataError where nothing could ever match it."""
    normal = " ".join(unicodedata.normalize("NFC", term).lower().split())
    try:
        size = len(normal.encode())
    except UnicodeEncodeError as error:
        raise DataError(f"the term {term[:40]!r} holds half a character; write it anew") from error
    if not 0 < size <= MAX_TERM_BYTES:
        raise DataError(
            f"the term {term[:40]!r} has {size} bytes; a term has 1 to {MAX_TERM_BYTES}"
        )
    return normal


def _lower(text: Text) -> Text:
    """Lower-cased copy; only documents outside ASCII change, and those may change their size."""
    texts = [str(text.view[a:b], "utf-8").lower() for a, b in zip(
        text.offsets[:-1].tolist(), text.offsets[1:].tolist(), strict=True)]  # fmt: skip
    return Text.of(TextBatch.of(texts))


def _first_pairs(edges: dict[int, int], owners: dict[int, set[int]]) -> Flags:
    """(65536,) whether a term may begin with these two bytes."""
    table = np.zeros((256, 256), np.bool_)
    for key, state in edges.items():
        if key < 256:
            if state in owners:
                table[key] = True
            table[key, [edge & 255 for edge in _edges_of(state, edges)]] = True
    return table.ravel()


def _edges_of(state: int, edges: dict[int, int]) -> list[int]:
    return [state << 8 | byte for byte in range(256) if state << 8 | byte in edges]


@functools.cache
def _word_table() -> Flags:
    """(TABLE_SIZE,) characters that words of scripts with spaces are made of."""
    bits = char_classes()
    table = ((bits & (LETTER | DIGIT | MARK)) != 0) & ((bits & SPACELESS) == 0)
    table[ord("_")] = True
    return table


_FOLD = np.arange(256, dtype=np.uint8)
_FOLD[65:91] += 32
_FOLD[list(_SPACES)] = 32


@leaf
def _is_word(code: int, words: Flags) -> bool:
    return code < TABLE_SIZE and words[code]


@leaf
def _ends_word(data: Bytes, lower: int, end: int, words: Flags) -> bool:
    """Whether the character that ends at byte `end` belongs to a word; its bytes are >= lower."""
    if end <= lower:
        return False
    start = end - 1
    while start > lower and data[start] & 0xC0 == 0x80:
        start -= 1
    return _begins_word(data, start, end, words)


@leaf
def _begins_word(data: Bytes, start: int, upper: int, words: Flags) -> bool:
    """Whether the character at byte `start` belongs to a word."""
    if start >= upper:
        return False
    code = np.int64(data[start])
    if code >= 0xF0:
        size, code = 4, code & 0x07
    elif code >= 0xE0:
        size, code = 3, code & 0x0F
    elif code >= 0xC0:
        size, code = 2, code & 0x1F
    else:
        size = 1
    for k in range(1, size):
        code = (code << 6) | (np.int64(data[start + k]) & 0x3F)
    return _is_word(code, words)


@leaf
def _step(state: int, byte: int, bounds: I64, edge_bytes: Bytes, edge_to: I32) -> int:
    """The state behind the edge `byte`, or -1; edges of a state are sorted."""
    low, high = bounds[state], bounds[state + 1]
    while low < high:
        middle = (low + high) >> 1
        if edge_bytes[middle] < byte:
            low = middle + 1
        else:
            high = middle
    if low < bounds[state + 1] and edge_bytes[low] == byte:
        return np.int64(edge_to[low])  # type: ignore[return-value]
    return np.int64(-1)  # type: ignore[return-value]


@leaf
def _walk(
    data: Bytes, start: int, stop: int, document: int, bounds: I64, edge_bytes: Bytes,
    edge_to: I32, owner_bounds: I64, owners: I32, fold: Bytes, words: Flags, whole: bool,
    counts: I32,
) -> int:  # fmt: skip
    """Count the terms that begin at `start`; the end of the longest one, or -1."""
    state, position, longest = np.int64(0), start, np.int64(-1)
    while position < stop:
        byte = fold[data[position]]
        state = _step(state, byte, bounds, edge_bytes, edge_to)
        if state < 0:
            break
        position += 1
        if byte == 32:
            limit = min(stop, position + MAX_SPACES - 1)
            while position < limit and fold[data[position]] == 32:
                position += 1
        if owner_bounds[state] == owner_bounds[state + 1]:
            continue
        if (
            whole
            and _ends_word(data, start, position, words)
            and _begins_word(data, position, stop, words)
        ):
            continue
        for k in range(owner_bounds[state], owner_bounds[state + 1]):
            counts[document, owners[k]] += 1
        longest = np.int64(position)
    return longest  # type: ignore[return-value]


@leaf
def _find(
    data: Bytes, offsets: I64, may_begin: Flags, bounds: I64, edge_bytes: Bytes, edge_to: I32,
    owner_bounds: I64, owners: I32, fold: Bytes, words: Flags, whole: bool, counts: I32,
    num_bytes: I64,
) -> None:  # fmt: skip
    for document in range(len(offsets) - 1):
        position, stop = offsets[document], offsets[document + 1]
        lower = position
        while position < stop:
            first = np.int64(fold[data[position]])
            second = np.int64(fold[data[position + 1]]) if position + 1 < stop else 0
            if first & 0xC0 == 0x80 or not may_begin[first << 8 | second]:
                position += 1
                continue
            if (
                whole
                and _begins_word(data, position, stop, words)
                and _ends_word(data, lower, position, words)
            ):
                position += 1
                continue
            end = _walk(
                data, position, stop, document, bounds, edge_bytes, edge_to, owner_bounds, owners,
                fold, words, whole, counts,
            )  # fmt: skip
            if end < 0:
                position += 1
            else:
                num_bytes[document] += end - position
                position = end
