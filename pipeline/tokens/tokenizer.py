"""Text to token ids and back: a tiktoken encoding plus our special tokens, read from an artifact.

    tokenizer.tiktoken   ranks, `base64 id` per line         the only file that fixes the encoding
    tokenizer.json       name, pattern, specials, roles, sha256 of the ranks
    hf/                  the same tokenizer for `transformers` (pipeline/tokens/huggingface.py)

Text never turns into a special token here: `<|eos|>` in a document is seven ordinary characters.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count, takewhile
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import tiktoken

from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.files import read_json, sha256_bytes, write_bytes, write_json
from pipeline.tokens.merges import Ranks, format_ranks, parse_ranks
from pipeline.tokens.patterns import for_search

RANKS_FILE = "tokenizer.tiktoken"
DESCRIPTION_FILE = "tokenizer.json"
BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
SYSTEM, USER, ASSISTANT, END = "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
SPECIALS = (BOS, EOS, PAD, SYSTEM, USER, ASSISTANT, END)
MASK = "<|mask|>"
"""Stands for a hidden token; only in tokenizers that were asked for it."""
SENTINEL = "<extra_id_{}>"
"""Stands for a span cut out of a text, numbered from 0: T5's name. Only where asked for."""

# Above about a million characters of one white-space run the split's backtracking stack overflows.
PIECE_CHARACTERS = 100_000
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()


@dataclass(frozen=True)
class Tokenizer:
    """A byte-level BPE with special tokens, which in ours stand after its ranks."""

    name: str
    pattern: str
    """Regular expression that cuts text into pieces before merging."""
    ranks: Ranks
    specials: Mapping[str, int]
    """Special token text -> id."""
    roles: Mapping[str, str]
    """`<|bos|>` ... `<|end|>` -> the special token that plays the role."""
    normalizer: Literal["NFC"] | None = None
    """The Unicode form that text is brought into first; None in all but some models of others."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the tokenizer of an artifact directory; ArtifactError if its files disagree."""
        description = read_json(path / DESCRIPTION_FILE)
        try:
            data = (path / RANKS_FILE).read_bytes()
        except FileNotFoundError as error:
            raise ArtifactError(f"{path / RANKS_FILE} does not exist") from error
        if sha256_bytes(data) != description["ranks_sha256"]:
            raise ArtifactError(
                f"{path / RANKS_FILE} is damaged: sha256 expected {description['ranks_sha256']}, "
                f"found {sha256_bytes(data)}; delete {path} and rerun to rebuild it"
            )
        specials = description["specials"]
        ranks = parse_ranks(data, where=str(path / RANKS_FILE), others=specials.values())
        names = (description["name"], description["pattern"])
        normalizer = description.get("normalizer")
        return cls(*names, ranks, specials, description["roles"], normalizer)

    def save(self, path: Path) -> None:
        """Write the ranks and the description into `path`."""
        write_bytes(path / RANKS_FILE, format_ranks(self.ranks))
        description = {
            "name": self.name,
            "pattern": self.pattern,
            "specials": dict(self.specials),
            "roles": dict(self.roles),
            **({"normalizer": self.normalizer} if self.normalizer else {}),
            "vocab_size": self.vocab_size,
            "ranks_sha256": sha256_bytes(format_ranks(self.ranks)),
            "sha256": self.sha256,
        }
        write_json(path / DESCRIPTION_FILE, description)

    @cached_property
    def encoding(self) -> tiktoken.Encoding:
        """The tiktoken encoding that does the work."""
        return tiktoken.Encoding(
            self.name,
            pat_str=for_search(self.pattern),
            mergeable_ranks=self.ranks,
            special_tokens=dict(self.specials),
        )

    @cached_property
    def sha256(self) -> str:
        """Identity of the encoding: ranks, pattern, special tokens, Unicode form; not the name."""
        specials = "".join(f"{text} {i}\n" for text, i in sorted(self.specials.items()))
        roles = "".join(f"{role} {text}\n" for role, text in sorted(self.roles.items()))
        parts = (format_ranks(self.ranks), self.pattern.encode(), specials.encode(), roles.encode())
        form = (self.normalizer.encode(),) if self.normalizer else ()
        return sha256_bytes(b"\0".join((*parts, *form)))

    @cached_property
    def vocab_size(self) -> int:
        """One more than the highest id; a published vocabulary may leave ids below it unused."""
        return 1 + max(self.last_rank, *self.specials.values())

    @cached_property
    def last_rank(self) -> int:
        """The highest id that stands for text."""
        return max(self.ranks.values())

    @property
    def bos(self) -> int:
        """Opens a document, a conversation, and in fine-tuning the answer."""
        return self._role(BOS)

    @property
    def eos(self) -> int:
        """Ends a document and an answer; the same id as bos in an encoding with one separator."""
        return self._role(EOS)

    @property
    def pad(self) -> int:
        """Fills rows; never looked for in data, padding is known by length."""
        return self._role(PAD)

    @property
    def system(self) -> int:
        """Opens a system turn."""
        return self._role(SYSTEM)

    @property
    def user(self) -> int:
        """Opens a user turn."""
        return self._role(USER)

    @property
    def assistant(self) -> int:
        """Opens an assistant turn."""
        return self._role(ASSISTANT)

    @property
    def end(self) -> int:
        """Ends a turn."""
        return self._role(END)

    @property
    def mask(self) -> int:
        """Stands for a hidden token; ConfigError in a tokenizer without one."""
        if MASK not in self.roles:
            raise ConfigError(
                f"the tokenizer {self.name} has no mask token; set tokenizer.mask to true"
            )
        return self._role(MASK)

    @property
    def has_mask(self) -> bool:
        """Whether there is a mask token."""
        return MASK in self.roles

    @cached_property
    def sentinels(self) -> tuple[int, ...]:
        """What stands for the first, second, ... span cut out of a text; none in most."""
        named = (self.specials.get(SENTINEL.format(number)) for number in count())
        return tuple(takewhile(lambda token: token is not None, named))  # type: ignore[arg-type]

    def _role(self, role: str) -> int:
        return self.specials[self.roles[role]]

    def encode(self, text: str) -> list[int]:
        """Ordinary ids of `text`, never a special one; a lone surrogate counts as U+FFFD."""
        ids: list[int] = self.encode_array(text).tolist()
        return ids

    def encode_array(self, text: str) -> npt.NDArray[np.uint32]:
        """Like `encode`, as a read-only array, without a Python list between."""
        try:
            return self._encode(self._normalized(text))
        except UnicodeEncodeError:
            whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return self._encode(self._normalized(whole))

    def _normalized(self, text: str) -> str:
        """The text in the tokenizer's Unicode form, by the tables of the package it came from.

        That package's Unicode is older than Python's, which orders marks it does not know; what is
        normal to Python is to it, too.
        """
        if self.normalizer is None or unicodedata.is_normalized(self.normalizer, text):
            return text
        # Imported here: ours, which have no normalizer, are used where the package is absent.
        from tokenizers.normalizers import NFC

        normal: str = NFC().normalize_str(text)
        return normal

    def _encode(self, text: str) -> npt.NDArray[np.uint32]:
        try:
            return self.encoding.encode_to_numpy(text, disallowed_special=())
        except ValueError as error:
            if isinstance(error, UnicodeError) or len(text) <= PIECE_CHARACTERS:
                raise
            starts = range(0, len(text), PIECE_CHARACTERS)
            pieces = [self._encode(text[start : start + PIECE_CHARACTERS]) for start in starts]
            return np.concatenate(pieces)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`, special tokens included as their text; broken UTF-8 becomes U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Bytes of `ids`; an id below `vocab_size` that stands for nothing becomes U+FFFD."""
        wanted = [int(i) for i in ids]
        for i in (min(wanted, default=0), max(wanted, default=0)):
            self.token_bytes(i)  # raises where the range is left
        return b"".join(map(self.table.__getitem__, wanted))

    def token_bytes(self, token: int) -> bytes:
        """The bytes one id stands for; ConfigError for an id outside the vocabulary."""
        table = self.table
        token = int(token)
        if not 0 <= token < len(table):
            raise ConfigError(f"token id {token} is outside the vocabulary of {self.vocab_size}")
        return table[token]

    @cached_property
    def table(self) -> Sequence[bytes]:
        """The bytes of every id in order."""
        table = [_REPLACEMENT] * self.vocab_size
        for token, rank in self.ranks.items():
            table[rank] = token
        for text, i in self.specials.items():
            table[i] = text.encode()
        return table


def is_sentinel(text: str) -> bool:
    """Whether a special token's text is that of a sentinel."""
    before, after = SENTINEL.split("{}")
    number = text.removeprefix(before).removesuffix(after)
    return number.isdecimal() and number.isascii() and text == SENTINEL.format(int(number))


def with_our_specials(name: str, pattern: str, ranks: Ranks) -> Tokenizer:
    """A tokenizer whose special tokens are ours, in order, right after the ranks."""
    specials = {text: len(ranks) + i for i, text in enumerate(SPECIALS)}
    return Tokenizer(name, pattern, ranks, specials, {text: text for text in SPECIALS})


def with_more_specials(
    tokenizer: Tokenizer, more: Sequence[str], *, mask: bool, sentinels: int = 0
) -> Tokenizer:
    """The tokenizer with a mask token and sentinels, if asked for, and `more` special tokens last.

    No id that was there changes its meaning. ConfigError for one that is there already, is a piece
    of text, or could not be told from one in a tokenizer.json.
    """
    added = [MASK] * (mask and MASK not in tokenizer.roles)
    added += [SENTINEL.format(number) for number in range(len(tokenizer.sentinels), sentinels)]
    added += more
    specials, roles = dict(tokenizer.specials), dict(tokenizer.roles)
    for text in added:
        if not (text and text.isascii() and text.isprintable() and " " not in text):
            raise ConfigError(
                f"the special token {text!r} must be printable ASCII without spaces, such as "
                "<|tool|>"
            )
        if text in specials or text.encode() in tokenizer.ranks:
            raise ConfigError(
                f"the special token {text!r} is in the vocabulary already; name another"
            )
        specials[text] = 1 + max(tokenizer.last_rank, *specials.values())
    if MASK in added:
        roles[MASK] = MASK
    return replace(tokenizer, specials=specials, roles=roles)


def extends(tokenizer: Tokenizer, earlier: Tokenizer) -> bool:
    """Whether every id of `earlier` means the same in `tokenizer`, which may have more after it."""
    return (
        (tokenizer.pattern, tokenizer.normalizer) == (earlier.pattern, earlier.normalizer)
        and tokenizer.ranks == earlier.ranks
        and all(tokenizer.specials.get(text) == i for text, i in earlier.specials.items())
        and all(
            i >= earlier.vocab_size
            for text, i in tokenizer.specials.items()
            if text not in earlier.specials
        )
    )
