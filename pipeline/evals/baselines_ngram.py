"""Interpolated modified Kneser-Ney n-grams over token ids: exact, vectorised, one pass per order.

    tokens + document starts -> count_ngrams -> kneser_ney -> NgramModel -> nats per document

A level holds every distinct k-gram as (row of its first k-1 tokens in level k-1, last token), in
order, so a text is looked up with one `searchsorted` per order. Chen & Goodman 1998, section 4.1.6.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """The distinct k-grams of one order; `raw` as seen, `adjusted` as Kneser-Ney smooths them."""

    keys: Ints  # (n,) sorted: context row * vocabulary + token
    raw: Ints  # (n,) occurrences
    adjusted: Ints  # (n,) distinct left neighbours; occurrences at the top order and after bos


@dataclass(frozen=True)
class Level:
    """One order of a smoothed model: P_k = weight of the k-gram + backoff[context] * P_(k-1)."""

    keys: Ints  # (n,) sorted: context row * vocabulary + token
    weight: Floats  # (n,) discounted count / context total
    backoff: (
        Floats  # (rows of level k-1,) mass left for the lower order; 1 for a context never seen
    )


@dataclass(frozen=True)
class NgramModel:
    """P(token | up to n-1 tokens before it, not beyond the document's bos); sums to one."""

    vocab_size: int
    levels: tuple[Level, ...]

    @property
    def order(self) -> int:
        """The longest n-gram."""
        return len(self.levels)

    def probabilities(self, tokens: Ints, place: Ints) -> Floats:
        """P of every token of a stream, (N,); `place` is each token's index in its document.

        The first token of a document (its bos) gets the unigram probability; callers skip it.
        """
        probability = np.full(len(tokens), 1.0 / self.vocab_size)
        context = np.zeros(len(tokens), np.int64)  # the empty context is row 0
        for k, level in enumerate(self.levels, start=1):
            if not len(level.keys):
                break  # pruned away, and with it every longer n-gram
            keys = context * self.vocab_size + tokens
            row, found = _rows(level.keys, keys)
            known = context >= 0
            found &= known
            backoff = np.where(known, level.backoff[np.maximum(context, 0)], 1.0)
            probability *= backoff
            probability[found] += level.weight[row[found]]
            row[~found] = -1
            context = np.full(len(tokens), -1)
            context[1:] = row[:-1]
            context[place < k] = -1  # k tokens before it would reach into the document before
        return probability

    def distribution(self, history: Sequence[int]) -> Floats:
        """P of every id after `history` (which starts with bos), (V,)."""
        size = self.vocab_size
        rows = np.tile(np.asarray([*history, 0], np.int64), (size, 1))
        rows[:, -1] = np.arange(size)
        place = np.tile(np.arange(rows.shape[1]), size)
        return self.probabilities(rows.ravel(), place)[rows.shape[1] - 1 :: rows.shape[1]]


def count_ngrams(tokens: Ints, place: Ints, *, vocab_size: int, order: int) -> list[Counts]:
    """Distinct n-grams of orders 1..order inside documents, with raw and continuation counts.

    `place` is each token's index in its document; no n-gram crosses a document's start.
    """
    row = np.zeros(len(tokens), np.int64)  # the k-gram that ends at each token, as a row of order k
    context = row  # the (k-1)-gram before each token; the empty one is row 0
    counts: list[Counts] = []
    for k in range(1, order + 1):
        ends = np.flatnonzero(place >= k - 1)
        keys, inverse = np.unique(context[ends] * vocab_size + tokens[ends], return_inverse=True)
        raw = np.bincount(inverse, minlength=len(keys))
        if counts:
            somewhere = np.empty(len(keys), np.int64)
            somewhere[inverse] = ends
            counts[-1] = _with_continuations(counts[-1], row[somewhere], first_order=k == 2)
        row = np.full(len(tokens), -1, np.int64)
        row[ends] = inverse
        context = np.concatenate([[-1], row[:-1]])
        counts.append(Counts(keys, raw, raw))
    return counts


def _with_continuations(counts: Counts, suffix: Ints, *, first_order: bool) -> Counts:
    """Distinct tokens seen before each k-gram; `suffix` has one row per distinct (k+1)-gram."""
    adjusted = np.bincount(suffix, minlength=len(counts.keys))
    if not first_order:  # only a bos has nothing before it: what starts with one keeps its count
        adjusted = np.where(adjusted == 0, counts.raw, adjusted)
    return Counts(counts.keys, counts.raw, adjusted)


def discounts(adjusted: Ints) -> Floats:
    """The four discounts D(0)=0, D(1), D(2), D(3+) of one order (Chen & Goodman, eq. 26)."""
    n1, n2, n3, n4 = (int(np.count_nonzero(adjusted == i)) for i in (1, 2, 3, 4))
    if not n1 or not n2:
        return np.array([0.0, 0.5, 0.5, 0.5])  # too small to estimate; absolute discounting
    y = n1 / (n1 + 2 * n2)
    ratios = (n2 / n1, n3 / n2, n4 / n3 if n3 else 0.0)
    found = [i + 1 - (i + 2) * y * ratio for i, ratio in enumerate(ratios)]
    # A discount of 0 would leave nothing for unseen tokens, one above the count less than nothing.
    return np.array([0.0, *(min(max(d, 0.05), i + 0.95) for i, d in enumerate(found))])


def kneser_ney(counts: Sequence[Counts], *, vocab_size: int) -> NgramModel:
    """The interpolated modified Kneser-Ney model of `counts`, down to uniform over the ids."""
    levels = []
    contexts = 1
    for order in counts:
        parent = order.keys // vocab_size
        discounted = order.adjusted - discounts(order.adjusted)[np.minimum(order.adjusted, 3)]
        total = np.bincount(parent, weights=order.adjusted, minlength=contexts)
        kept = np.bincount(parent, weights=discounted, minlength=contexts)
        seen = np.maximum(total, 1.0)
        backoff = np.where(total > 0, 1.0 - kept / seen, 1.0)
        levels.append(Level(order.keys, discounted / seen[parent], backoff))
        contexts = len(order.keys)
    return NgramModel(vocab_size, tuple(levels))


def document_nats(model: NgramModel, tokens: Ints, starts: Ints) -> Floats:
    """Negative log-likelihood of each document in nats, (documents,); its bos is given, not scored.

    `tokens` are rows `[bos] + text` one after another, `starts` the index of each bos.
    """
    place = places(len(tokens), starts)
    nats = -np.log(model.probabilities(tokens, place))
    nats[starts] = 0.0
    return np.add.reduceat(nats, starts)


def places(length: int, starts: Ints) -> Ints:
    """Index of each of `length` tokens within its document, (length,)."""
    lengths = np.diff(np.append(starts, length))
    return np.arange(length) - np.repeat(starts, lengths)


def _rows(table: Ints, keys: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    if not len(table):
        return np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
    row = np.searchsorted(table, keys)
    row = np.minimum(row, len(table) - 1)
    return row, table[row] == keys
