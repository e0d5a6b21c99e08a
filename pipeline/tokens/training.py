"""Byte-pair merges learnt from a corpus with rustbpe, and a check that the corpus supports them.

    sample (each source its even share of the bytes) -> rustbpe -> ranks -> count of each merge

A merge that the sample makes only once memorises one place of it: such a vocabulary is refused,
and the message names the largest one the data supports.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import rustbpe

from pipeline.store.errors import ConfigError, DataError
from pipeline.tokens.compression import Measured
from pipeline.tokens.merges import NUM_BYTES, Ranks, check_ranks, merge_of
from pipeline.tokens.tokenizer import PIECE_CHARACTERS, SPECIALS, Tokenizer, with_our_specials

_BUFFER_TEXTS = 1024
FIRST_LOOK_BYTES = 4 << 20  # text counted before the first look whether all merges occur


class TrainedRanks(NamedTuple):
    """A tokenizer and how it does on the text it was trained on."""

    tokenizer: Tokenizer
    sample_bytes: int
    measured: Measured
    """Over the first texts of the sample: as many as it took to see every merge often enough."""


def even_shares(bytes_by_source: Mapping[str, int], budget: int) -> dict[str, float]:
    """The fraction of each source to take so that all give equally many bytes, `budget` in total.

    A source smaller than its share gives all it has, and the others share the rest.
    """
    shares: dict[str, float] = {}
    left = budget
    ordered = sorted(bytes_by_source.items(), key=lambda item: (item[1], item[0]))
    for i, (source, size) in enumerate(ordered):
        given = min(size, left // (len(ordered) - i))
        shares[source] = given / size if size else 1.0
        left -= given
    return shares


def train_ranks(
    read: Callable[[], Iterable[str]], *, vocab_size: int, pattern: str, min_pair_count: int
) -> TrainedRanks:
    """A tokenizer of exactly `vocab_size` ids, special tokens included, trained on `read()`.

    `read` is called twice: to train and to look at the result. DataError without text; ConfigError
    when fewer than the wanted merges occur `min_pair_count` times, with what is possible.
    """
    check_vocab_size(vocab_size)
    wanted = vocab_size - len(SPECIALS)
    trainer = rustbpe.Tokenizer()
    size = 0

    def counted() -> Iterator[str]:
        nonlocal size
        for piece in _pieces(read()):
            size += len(piece) if piece.isascii() else len(piece.encode("utf-8", "surrogatepass"))
            yield piece

    trainer.train_from_iterator(counted(), wanted, buffer_size=_BUFFER_TEXTS, pattern=pattern)
    ranks: Ranks = {bytes(token): rank for token, rank in trainer.get_mergeable_ranks()}
    check_ranks(ranks, where="the trainer's result")
    if size == 0:
        raise DataError(
            "there is no text to train a tokenizer on; the corpus or the sample is empty"
        )
    tokenizer = with_our_specials("trained", pattern, ranks)
    measured, supported = _look(read(), tokenizer, min_pair_count)
    if supported < wanted - NUM_BYTES:
        possible = NUM_BYTES + supported + len(SPECIALS)
        raise ConfigError(
            f"tokenizer.vocab_size={vocab_size} exceeds the {possible} that {size} bytes of text "
            f"support (merges seen at least min_pair_count={min_pair_count} times); set it to at "
            f"most {possible}, or raise tokenizer.sample_bytes or the amount of text"
        )
    return TrainedRanks(tokenizer, size, measured)


def check_vocab_size(vocab_size: int) -> None:
    """ConfigError when single bytes and special tokens alone do not fit."""
    least = NUM_BYTES + len(SPECIALS)
    if vocab_size < least:
        raise ConfigError(
            f"tokenizer.vocab_size={vocab_size} is below {least} ({NUM_BYTES} bytes and "
            f"{len(SPECIALS)} special tokens); set it to {least} or more"
        )


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    """Texts in pieces the splitter can take: a run of a million spaces overflows its stack."""
    for text in texts:
        for start in range(0, len(text), PIECE_CHARACTERS):
            yield text[start : start + PIECE_CHARACTERS]


def _look(texts: Iterable[str], tokenizer: Tokenizer, min_pair_count: int) -> tuple[Measured, int]:
    """How the texts are compressed, and how many merges, from the first on, they support.

    More text only adds occurrences, so reading ends where all merges occur often enough.
    """
    merges = _Merges(tokenizer.ranks)
    counts = np.zeros(len(tokenizer.ranks), np.int64)
    measured, next_look = Measured(), FIRST_LOOK_BYTES
    for piece in _pieces(texts):
        ids = measured.add(tokenizer, piece)
        counts += np.bincount(ids, minlength=len(counts))
        if measured.bytes >= next_look:
            supported = merges.supported(counts, min_pair_count)
            if supported == len(tokenizer.ranks) - NUM_BYTES:
                return measured, supported
            next_look *= 2
    return measured, merges.supported(counts, min_pair_count)


class _Merges:
    """Of which two tokens each one is made, found once."""

    def __init__(self, ranks: Ranks) -> None:
        self._tokens = sorted(ranks, key=ranks.__getitem__)
        parts = [merge_of(t, ranks) if len(t) > 1 else None for t in self._tokens]
        self._parts = [p and (ranks[p[0]], ranks[p[1]]) for p in parts]

    def supported(self, counts: npt.NDArray[np.int64], min_pair_count: int) -> int:
        """How many merges, from the first on, were made at least `min_pair_count` times.

        Encoding makes token t wherever it ends up in the result and wherever a longer token was
        made from it, so going from the last rank down, each token hands its count to its parts.
        """
        made: list[int] = counts.tolist()
        for rank in range(len(made) - 1, -1, -1):
            parts = self._parts[rank]
            if parts is not None:
                for part in parts:
                    made[part] += made[rank]
        merges = [n for n, token in zip(made, self._tokens, strict=True) if len(token) > 1]
        return next((i for i, n in enumerate(merges) if n < min_pair_count), len(merges))
