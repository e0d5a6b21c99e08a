"""What an encoder-decoder writes: a target for a source, from the start symbol to the end symbol.

    "Return the <extra_id_0> of the list."  ->  "<extra_id_0> length <extra_id_1> ..."
    shown while training as                     "Return the [length] of the list."

A text without sentinels is a source like any other: a question, a sentence to be translated.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from model.generate import generate
from model.language_model import LanguageModel
from pipeline.store.errors import ConfigError
from pipeline.tokens.tokenizer import SENTINEL
from pipeline.training.filling import MaskTokenizer

_SENTINELS = re.compile(SENTINEL.format(r"(\d+)"))


@dataclass(frozen=True)
class Written:
    """One target."""

    ids: tuple[int, ...]
    """Without start and end."""
    text: str
    ended: bool
    """Whether the model wrote the end symbol itself."""


def source_ids(tokenizer: MaskTokenizer, text: str) -> list[int]:
    """`... eos` of a text in which `<extra_id_0>` is a sentinel, and nothing else is special.

    White space before a sentinel belongs to it, as a token of a byte-level BPE begins with the
    space before its word. ConfigError for a sentinel the tokenizer does not have.
    """
    ids: list[int] = []
    at = 0
    for match in _SENTINELS.finditer(text):
        token = tokenizer.specials.get(match.group())
        if token is None:
            raise ConfigError(
                f"{match.group()} is no token of this tokenizer; use the sentinels it has, or set "
                "tokenizer.sentinels before training"
            )
        ids += [*tokenizer.encode(text[at : match.start()].rstrip()), token]
        at = match.end()
    return [*ids, *tokenizer.encode(text[at:]), tokenizer.eos]


def write_targets(
    model: LanguageModel,
    tokenizer: MaskTokenizer,
    texts: Sequence[str],
    *,
    max_tokens: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> list[Written]:
    """The target of each text, at most `max_tokens` long; greedy unless a temperature is given."""
    room = model.config.context_length - 1
    found = generate(
        model,
        [[tokenizer.bos]] * len(texts),
        min(max_tokens, room),
        temperature,
        top_k,
        top_p,
        (tokenizer.eos,),
        seed,
        sources=[source_ids(tokenizer, text) for text in texts],
    )
    words = tokenizer.vocab_size
    return [
        Written(
            tuple(ids),
            tokenizer.decode([i for i in ids if i < words]),
            len(ids) < min(max_tokens, room),
        )
        for ids in found
    ]


def shown(text: str, target: str) -> str:
    """What a person wants to see: the source with its gaps filled, or the target where none is."""
    return filled_spans(text, target) if _SENTINELS.search(text) else target


def filled_spans(text: str, target: str) -> str:
    """The source with what the target writes for each sentinel, in brackets; [?] where nothing."""
    pieces = _SENTINELS.split(target)  # before, number, text, number, text, ...
    spans: dict[str, str] = {}
    for number, span in zip(pieces[1::2], pieces[2::2], strict=True):
        spans.setdefault(number, span)
    return _SENTINELS.sub(lambda match: f"[{spans.get(match.group(1), '?').strip()}]", text)
