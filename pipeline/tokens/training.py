"""Byte-pair merges learnt from a corpus with rustbpe, and a check that the corpus supports them.

    sample (each source its even share of the bytes) -> rustbpe -> ranks -> count of each merge

A merge that the sample makes only once memorises one place of it: such a vocabulary is refused,
and the message names the largest one the data supports.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

import numpy as np
import rustbpe

from pipeline.store.errors import ConfigError, DataError
from pipeline.tokens.compression import Measured
from pipeline.tokens.merges import NUM_BYTES, Ranks, check_ranks
from pipeline.tokens.patterns import for_search
from pipeline.tokens.tokenizer import PIECE_CHARACTERS, SPECIALS, Tokenizer, with_our_specials

_BUFFER_TEXTS = 1024
MEASURED_BYTES = 1 << 20  # of text, spread over the sample, that the compression is measured on


class TrainedRanks(NamedTuple):
    """A tokenizer and how it does on the text it was trained on."""

    tokenizer: Tokenizer
    sample_bytes: int
    measured: Measured
    """Over texts spread evenly over the sample."""


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

    `read` is called again to look at the result. DataError without text; ConfigError
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

    trainer.train_from_iterator(
        counted(), wanted, buffer_size=_BUFFER_TEXTS, pattern=for_search(pattern)
    )
    ranks: Ranks = {bytes(token): rank for token, rank in trainer.get_mergeable_ranks()}
    check_ranks(ranks, where="the trainer's result")
    if size == 0:
        raise DataError(
            "there is no text to train a tokenizer on; the corpus or the sample is empty"
        )
    tokenizer = with_our_specials("trained", pattern, ranks)
    measured = _measured(read(), tokenizer, stride=max(1, size // MEASURED_BYTES))
    supported = _supported(read, tokenizer, min_pair_count)
    if supported < wanted:
        possible = supported + len(SPECIALS)
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


def _measured(texts: Iterable[str], tokenizer: Tokenizer, *, stride: int) -> Measured:
    """How every `stride`-th text is compressed: from all sources alike, about MEASURED_BYTES."""
    measured = Measured()
    for piece in islice(_pieces(texts), 0, None, stride):
        measured.add(tokenizer, piece)
    return measured


def _supported(read: Callable[[], Iterable[str]], tokenizer: Tokenizer, min_pair_count: int) -> int:
    """How many ranks, bytes included, the texts support: up to the last frequent enough merge.

    Training takes the most frequent pair each time, so merges only become rarer: where the last one
    is frequent enough all are, and else the last that is found by halving.
    """
    tokens = sorted(tokenizer.ranks, key=tokenizer.ranks.__getitem__)

    def frequent(count: int) -> bool:
        first = {token: rank for rank, token in enumerate(tokens[:count])}
        cut = with_our_specials("cut", tokenizer.pattern, first)
        return _is_made(read(), cut, min_pair_count)

    if len(tokens) == NUM_BYTES or _is_made(read(), tokenizer, min_pair_count):
        return len(tokens)
    enough, too_many = NUM_BYTES, len(tokens)
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        if frequent(middle):
            enough = middle
        else:
            too_many = middle
    return enough


def _is_made(texts: Iterable[str], tokenizer: Tokenizer, min_count: int) -> bool:
    """Whether encoding makes the last rank so often; only texts that hold its bytes are encoded."""
    last = len(tokenizer.ranks) - 1
    token, made = tokenizer.token_bytes(last), 0
    for piece in _pieces(texts):
        if token in piece.encode("utf-8", "surrogatepass"):
            made += int(np.count_nonzero(tokenizer.encode_array(piece) == last))
            if made >= min_count:
                return True
    return False
