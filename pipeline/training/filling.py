"""What an encoder says: the likeliest tokens in the places of `<|mask|>` in a text.

"the <|mask|> sat" -> bos the <m> sat eos -> probabilities at <m> -> cat 0.31, dog 0.12, ...
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from model.language_model import LanguageModel
from pipeline.store.errors import ConfigError
from pipeline.tokens.tokenizer import MASK


class MaskTokenizer(Protocol):
    """What filling needs of a tokenizer; ours and Hugging Face's both have it."""

    @property
    def vocab_size(self) -> int:
        """One more than the highest id."""

    @property
    def bos(self) -> int:
        """Opens a text."""

    @property
    def eos(self) -> int:
        """Ends a text."""

    @property
    def mask(self) -> int:
        """Stands for a hidden token."""

    @property
    def specials(self) -> Mapping[str, int]:
        """Special token text -> id."""

    def encode(self, text: str) -> list[int]:
        """Ordinary ids of `text`."""

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`."""


@dataclass(frozen=True)
class Candidate:
    """One token for one masked place."""

    token: int
    text: str
    probability: float


def masked_ids(tokenizer: MaskTokenizer, text: str) -> list[int]:
    """`bos ... eos` of a text in which `<|mask|>` is the mask token, and nothing else is special.

    White space before a mask belongs to it, as a token of a byte-level BPE begins with the space
    before its word. ConfigError for a text without one.
    """
    pieces = _pieces(text)
    if len(pieces) < 2:
        raise ConfigError(f"{text[:60]!r} masks nothing; write {MASK} where a token is to be found")
    ids = [tokenizer.bos, *tokenizer.encode(pieces[0])]
    for piece in pieces[1:]:
        ids += [tokenizer.mask, *tokenizer.encode(piece)]
    return [*ids, tokenizer.eos]


@torch.inference_mode()
def fill_masks(
    model: LanguageModel, tokenizer: MaskTokenizer, text: str, *, count: int = 5
) -> list[list[Candidate]]:
    """The `count` likeliest tokens for each `<|mask|>` of `text`, best first.

    Special tokens and ids beyond the tokenizer's are no candidates. ConfigError for a text without
    a mask, ContextLengthError for one that is too long.
    """
    ids = masked_ids(tokenizer, text)
    inputs = torch.tensor([ids], device=model.device)
    places = torch.tensor([i for i, token in enumerate(ids) if token == tokenizer.mask])
    logits = model.logits(model.hidden(inputs)[0, places.to(model.device)]).float()  # (M, V)
    logits[:, tokenizer.vocab_size :] = float("-inf")
    logits[:, sorted(tokenizer.specials.values())] = float("-inf")
    best = logits.softmax(dim=-1).topk(min(count, tokenizer.vocab_size - len(tokenizer.specials)))
    return [
        [
            Candidate(token, tokenizer.decode([token]), probability)
            for token, probability in zip(tokens, probabilities, strict=True)
        ]
        for tokens, probabilities in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def filled(text: str, candidates: Sequence[Sequence[Candidate]]) -> str:
    """The text with the likeliest token in each masked place, in brackets."""
    pieces = _pieces(text)
    found = [f"[{of_place[0].text}]" for of_place in candidates]
    return "".join(piece + word for piece, word in zip(pieces, [*found, ""], strict=True))


def _pieces(text: str) -> list[str]:
    """What stands between the masks."""
    *before, last = text.split(MASK)
    return [*(piece.rstrip() for piece in before), last]
