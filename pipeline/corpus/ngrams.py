"""Word n-grams as 64-bit hashes, and the index of held-out 13-grams that decontamination asks.

    WordTable -> gram_hashes(words, n) -> (G,) hashes, (N + 1,) bounds, never across documents
    EvalSet documents -> HeldOutGrams -> which of them a training document repeats

Thirteen words is GPT-3's choice (Brown et al. 2020, appendix C). In scripts written without spaces
a word is a character, so the same thirteen covers about six Chinese words.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.compiled import kernel
from pipeline.corpus.word_kernel import mixed
from pipeline.corpus.words import I64, U64, WordTable, ascending

OVERLAP_WORDS = 13
_STEP = 0xD6E8FEB86659FD93  # odd; another multiplier than inside words
_FILTER_BITS = 22  # a 4 MB table answers "surely absent" for all but a few per cent


def gram_hashes(words: WordTable, n: int) -> tuple[U64, I64]:
    """((G,) hashes, (N + 1,) bounds) of all word n-grams; shorter documents have none."""
    counts = np.maximum(words.counts - (n - 1), 0)
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    hashes = np.empty(bounds[-1], np.uint64)
    roll_grams(words.hashes, words.bounds, np.full(len(words), n), bounds, hashes)
    return hashes, bounds


@kernel
def roll_grams(words: U64, bounds: I64, sizes: I64, gram_bounds: I64, grams: U64) -> None:
    """Hash every run of `sizes[i]` words of document i into `grams`; `gram_bounds` is given.

    A gram is mix(sum(word_k * S^(n - k))), kept up to date word by word, whatever n.
    """
    step = np.uint64(_STEP)
    for document in range(len(sizes)):
        n = sizes[document]
        first, end = gram_bounds[document], gram_bounds[document + 1]
        if first == end:
            continue
        at = bounds[document]
        value = np.uint64(0)
        leaving = np.uint64(1)
        for k in range(n):
            value = (value + words[at + k]) * step
            leaving *= step
        grams[first] = mixed(value)
        for place in range(first + 1, end):
            value = (value - words[at] * leaving + words[at + n]) * step
            at += 1
            grams[place] = mixed(value)


@kernel
def sift_grams(
    words: U64,
    bounds: I64,
    n: int,
    present: npt.NDArray[np.bool_],
    bits: int,
    first_words: I64,
    grams: U64,
) -> int:
    """Fill `first_words` and `grams` with the n-grams whose first `bits` bits are present."""
    step = np.uint64(_STEP)
    shift = np.uint64(64 - bits)
    count = 0
    for document in range(len(bounds) - 1):
        at, end = bounds[document], bounds[document + 1]
        if end - at < n:
            continue
        value = np.uint64(0)
        leaving = np.uint64(1)
        for k in range(n):
            value = (value + words[at + k]) * step
            leaving *= step
        while True:
            gram = mixed(value)
            if present[gram >> shift]:
                first_words[count] = at
                grams[count] = gram
                count += 1
            if at + n == end:
                break
            value = (value - words[at] * leaving + words[at + n]) * step
            at += 1
    return count


@dataclass(frozen=True)
class HeldOutGrams:
    """The distinct 13-grams of the held-out documents.

    `grams` (D,) sorted; `occurrences` (D,) how often each occurs in the held-out text; the E
    documents that hold gram g are `owners[owner_bounds[g]:owner_bounds[g + 1]]`.
    """

    grams: U64
    occurrences: I64
    owners: I64
    owner_bounds: I64
    sizes: I64
    """(E,) distinct 13-grams of each held-out document."""
    present: npt.NDArray[np.bool_]
    """Whether any gram begins with these _FILTER_BITS bits."""

    @classmethod
    def of(cls, words: WordTable) -> "HeldOutGrams":
        """The index of the documents in `words`."""
        hashes, bounds = gram_hashes(words, OVERLAP_WORDS)
        grams, slots, occurrences = np.unique(hashes, return_inverse=True, return_counts=True)
        documents = np.repeat(np.arange(len(words)), np.diff(bounds))
        pairs = np.unique(slots * len(words) + documents) if len(slots) else slots
        owners = pairs % max(len(words), 1)
        present = np.zeros(1 << _FILTER_BITS, np.bool_)
        present[grams >> np.uint64(64 - _FILTER_BITS)] = True
        return cls(
            grams=grams,
            occurrences=occurrences.astype(np.int64),
            owners=owners,
            owner_bounds=np.searchsorted(pairs // max(len(words), 1), np.arange(len(grams) + 1)),
            sizes=np.bincount(owners, minlength=len(words)),
            present=present,
        )

    def overlap(self, words: WordTable) -> "Overlap":
        """Which held-out 13-grams each document in `words` repeats."""
        maybe, hashes = self._maybe_present(words)
        slot = np.searchsorted(self.grams, hashes)
        found = slot < len(self.grams)
        found[found] = self.grams[slot[found]] == hashes[found]
        first_words, slot = maybe[found], slot[found]
        document = np.searchsorted(words.bounds, first_words, side="right") - 1
        hits = np.bincount(document, minlength=len(words))
        share = hits / np.maximum(words.counts - (OVERLAP_WORDS - 1), 1)
        pairs = ascending(document.astype(np.uint64) << np.uint64(32) | slot.astype(np.uint64))
        distinct = (pairs & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        rows = (pairs >> np.uint64(32)).astype(np.int64)
        covered = self._covered(distinct.astype(np.int64), rows, len(words))
        limits = np.searchsorted(rows, np.arange(len(words) + 1))
        return Overlap(share, covered, distinct, limits, first_words)

    def _maybe_present(self, words: WordTable) -> tuple[I64, U64]:
        """((P,) first words, (P,) hashes) of the 13-grams that the filter lets through."""
        if not len(self.grams):
            return np.zeros(0, np.int64), np.zeros(0, np.uint64)
        # Room for every gram; what is not written to takes no memory.
        first_words = np.empty(len(words.hashes), np.int64)
        hashes = np.empty(len(words.hashes), np.uint64)
        count = sift_grams(
            words.hashes, words.bounds, OVERLAP_WORDS, self.present, _FILTER_BITS,
            first_words, hashes,
        )  # fmt: skip
        return first_words[:count], hashes[:count]

    def _covered(self, grams: I64, rows: I64, count: int) -> npt.NDArray[np.float64]:
        """(count,) largest share of one held-out document among the distinct (row, gram) pairs."""
        largest = np.zeros(count)
        repeats = self.owner_bounds[grams + 1] - self.owner_bounds[grams]  # documents per gram
        first = np.repeat(self.owner_bounds[grams] - (np.cumsum(repeats) - repeats), repeats)
        owners = self.owners[first + np.arange(len(first))]
        codes = np.repeat(rows, repeats) * max(len(self.sizes), 1) + owners
        pairs, shared = np.unique(codes, return_counts=True)
        row, owner = np.divmod(pairs, max(len(self.sizes), 1))
        np.maximum.at(largest, row, shared / self.sizes[owner])
        return largest


@dataclass(frozen=True)
class Overlap:
    """What N documents share with the held-out text."""

    share: npt.NDArray[np.float64]
    """(N,) fraction of the document's own 13-grams that occur in held-out text; 0 without any."""
    covered: npt.NDArray[np.float64]
    """(N,) largest fraction of one held-out document's distinct 13-grams that the document has."""
    grams: npt.NDArray[np.uint32]
    """Distinct held-out 13-grams (index into HeldOutGrams.grams) per document, back to back."""
    bounds: I64
    """(N + 1,)."""
    hits: I64
    """(H,) index of the first word of each 13-gram that occurs in held-out text, ascending."""
