"""One text through the model, every step kept: tokens, ids, inputs and targets, shapes, loss.

    text -> ids -> inputs, targets, mask (1, T) -> embedding (1, T, D) -> blocks -> hidden (1, T, D)
         -> logits (1, T, V) -> probability and loss per position -> sum(loss * mask) / sum(mask)

T positions (padding included), D width, V vocabulary. Nothing is trained and nothing is written.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from model.attention import padding_mask, sequence_mask
from model.language_model import LanguageModel
from pipeline.store.errors import ConfigError

PADDING = 3  # positions of padding shown, where the context leaves room
TOP = 5
SPACE = "\N{OPEN BOX}"


class TraceTokenizer(Protocol):
    """The part of a tokenizer a trace needs."""

    @property
    def bos(self) -> int:
        """Opens a text, or an answer."""

    @property
    def eos(self) -> int:
        """Ends a text, or an answer."""

    @property
    def pad(self) -> int:
        """Fills a row."""

    def encode(self, text: str) -> list[int]:
        """Ordinary ids of `text`."""

    def token_bytes(self, token: int, /) -> bytes:
        """The bytes one id stands for."""


@dataclass(frozen=True)
class Shape:
    """A tensor on the way through the model."""

    name: str
    shape: tuple[int, ...]
    meaning: str


@dataclass(frozen=True)
class Guess:
    """A token the model thinks likely."""

    token: str
    probability: float


@dataclass(frozen=True)
class Position:
    """One prediction: what is read, what should follow, how likely the model finds it."""

    index: int
    input_id: int
    input_token: str
    target_id: int
    target_token: str
    mask: int
    """1 if this prediction is part of the loss."""
    probability: float
    nats: float
    top: tuple[Guess, ...]
    """The likeliest tokens, best first."""


@dataclass(frozen=True)
class Trace:
    """Everything between a text and its loss."""

    text: str
    answer: str | None
    rule: str
    """How ids are put together, in words."""
    ids: tuple[int, ...]
    """Without padding."""
    tokens: tuple[str, ...]
    trainable: tuple[int, ...]
    """Per id: whether it is trained on; the mask is this, moved by one."""
    padding: int
    positions: tuple[Position, ...]
    """Every predicting position, those of padding too."""
    shapes: tuple[Shape, ...]
    may_attend: tuple[tuple[bool, ...], ...]
    """(T, T): row i may read column j; padding mask and sequence mask together."""
    valid: tuple[bool, ...]
    """(T,): False where padded."""
    sum_nats: float
    scored: int

    @property
    def loss(self) -> float:
        """Mean nats over the masked-in positions."""
        return self.sum_nats / self.scored

    @property
    def perplexity(self) -> float:
        """exp(loss): among how many equally likely tokens the model seems to choose."""
        return math.exp(min(self.loss, 700.0))


def trace(
    model: LanguageModel,
    tokenizer: TraceTokenizer,
    text: str,
    answer: str | None = None,
    *,
    padding: int = PADDING,
) -> Trace:
    """Follow `text` through `model`; with an `answer`, as in fine-tuning: only the answer counts.

    ConfigError if the tokens do not fit the model's context or there is nothing to predict.
    """
    ids, trainable, rule = _row(tokenizer, text, answer)
    context = int(model.config.context_length)
    if len(ids) - 1 > context:
        raise ConfigError(
            f"the text has {len(ids)} tokens, bos and eos included, and the model reads at most "
            f"{context + 1}; shorten it"
        )
    if max(ids) >= model.config.vocab_size:
        raise ConfigError(
            f"the tokenizer gives id {max(ids)}, the model knows ids below "
            f"{model.config.vocab_size}; use the tokenizer it was trained with"
        )
    padding = min(padding, context - (len(ids) - 1))
    return _follow(model, tokenizer, (text, answer, rule), ids, trainable, padding)


def _row(
    tokenizer: TraceTokenizer, text: str, answer: str | None
) -> tuple[list[int], list[int], str]:
    words = tokenizer.encode(text)
    if answer is None:
        ids = [tokenizer.bos, *words, tokenizer.eos]
        return ids, [0] + [1] * (len(ids) - 1), "bos + text + eos; every next token is trained"
    said = tokenizer.encode(answer)
    ids = [*words, tokenizer.bos, *said, tokenizer.eos]
    rule = "prompt + bos + answer + eos; only the answer and eos are trained"
    return ids, [0] * (len(words) + 1) + [1] * (len(said) + 1), rule


@torch.no_grad()
def _follow(
    model: LanguageModel,
    tokenizer: TraceTokenizer,
    told: tuple[str, str | None, str],
    ids: list[int],
    trainable: list[int],
    padding: int,
) -> Trace:
    real = len(ids) - 1
    device = model.device
    inputs = torch.tensor([ids[:-1] + [tokenizer.pad] * padding], device=device)  # (1, T)
    targets = torch.tensor([ids[1:] + [tokenizer.pad] * padding], device=device)  # (1, T)
    mask = torch.tensor([trainable[1:] + [0] * padding], device=device)  # (1, T): moved by one
    valid = torch.tensor([[True] * real + [False] * padding], device=device)  # (1, T)
    was_training = model.training
    model.eval()
    try:
        with _watching(model) as seen:
            logits = model(inputs, segment_ids=valid.long())  # (1, T, V)
    finally:
        model.train(was_training)
    log_probability = torch.log_softmax(logits.double(), dim=-1)  # (1, T, V)
    nats = -log_probability.gather(-1, targets[..., None]).squeeze(-1)  # (1, T)
    best = log_probability.topk(min(TOP, logits.shape[-1]), dim=-1)
    allowed = (padding_mask(valid) + sequence_mask(real + padding, device=device)) == 0
    positions = _positions(tokenizer, inputs, targets, mask, nats, best)
    return Trace(
        *told,
        ids=tuple(ids),
        tokens=tuple(shown(tokenizer, i) for i in ids),
        trainable=tuple(trainable),
        padding=padding,
        positions=positions,
        shapes=(
            *seen,
            Shape("logits", tuple(logits.shape), "a score for every token of the vocabulary"),
        ),
        may_attend=tuple(tuple(row) for row in allowed[0, 0].tolist()),
        valid=tuple(valid[0].tolist()),
        sum_nats=float((nats * mask).sum()),
        scored=int(mask.sum()),
    )


def _positions(
    tokenizer: TraceTokenizer,
    inputs: Tensor,
    targets: Tensor,
    mask: Tensor,
    nats: Tensor,
    best: Any,
) -> tuple[Position, ...]:
    rows = zip(
        inputs[0].tolist(), targets[0].tolist(), mask[0].tolist(), nats[0].tolist(),
        best.values[0].exp().tolist(), best.indices[0].tolist(), strict=True,
    )  # fmt: skip
    return tuple(
        Position(
            t, i, shown(tokenizer, i), target, shown(tokenizer, target), counted,
            math.exp(-cost), cost,
            tuple(Guess(shown(tokenizer, g), p) for g, p in zip(guesses, chances, strict=True)),
        )
        for t, (i, target, counted, cost, chances, guesses) in enumerate(rows)
    )  # fmt: skip


@contextmanager
def _watching(model: LanguageModel) -> Iterator[list[Shape]]:
    """Note the shape of what the model's parts return, in the order they run."""
    seen: list[Shape] = []

    def watch(module: nn.Module, name: str, meaning: str) -> Any:
        def note(_module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            if not seen and inputs:
                seen.append(Shape("inputs", tuple(inputs[0].shape), "token ids"))
            seen.append(Shape(name, tuple(output.shape), meaning))

        return module.register_forward_hook(note)

    handles = [watch(model.embedding, "embedding", "a vector for every token")]
    handles += [
        watch(block, f"block {i}", "attention to earlier tokens, then a feed-forward layer")
        for i, block in enumerate(model.blocks, start=1)
    ]
    if model.norm is not None:
        handles.append(watch(model.norm, "hidden", "normalised: what the head multiplies"))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def shown(tokenizer: TraceTokenizer, token: int) -> str:
    """A token on one line: a space is drawn, everything else that cannot be seen is escaped."""
    text = tokenizer.token_bytes(token).decode("utf-8", "backslashreplace")
    text = text.replace(" ", SPACE)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
