"""Answers, whole or piece by piece as the tokens come.

prompt -> ids in the model's form -> tokens -> bytes -> text that no later byte can change
"""

import codecs
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from model.generate import stream
from model.sampling import Sampling
from pipeline.serving.forms import message_ids, text_ids
from pipeline.serving.loading import LoadedModel
from pipeline.store.errors import ConfigError

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Request:
    """One prompt, or one conversation, and how to answer it."""

    prompt: str | None = None
    messages: Sequence[Mapping[str, Any]] | None = None
    max_tokens: int = 128
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    """Texts that end the answer and are not part of it."""
    seed: int = 0


@dataclass(frozen=True)
class Piece:
    """The next bit of an answer; the last one has a `finish_reason`."""

    text: str
    finish_reason: FinishReason | None
    prompt_tokens: int
    completion_tokens: int
    """So far."""


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int


def answer(loaded: LoadedModel, prompt: str, **settings: Any) -> Answer:
    """Answer one prompt; `settings` are the other fields of Request."""
    return complete(loaded, Request(prompt=prompt, **settings))


def stream_answer(loaded: LoadedModel, prompt: str, **settings: Any) -> Iterator[str]:
    """The answer's text as it comes."""
    for piece in pieces(loaded, Request(prompt=prompt, **settings)):
        yield piece.text


def complete(loaded: LoadedModel, request: Request) -> Answer:
    """The whole answer to `request`."""
    texts, last = [], None
    for last in pieces(loaded, request):
        texts.append(last.text)
    assert last is not None and last.finish_reason is not None  # a stream ends with a reason
    return Answer("".join(texts), last.finish_reason, last.prompt_tokens, last.completion_tokens)


def pieces(loaded: LoadedModel, request: Request) -> Iterator[Piece]:
    """The pieces of an answer; checks happen now, before the first one is asked for.

    ConfigError for a prompt that is empty or leaves no room, with its tokens and the limit.
    """
    ids = request_ids(loaded, request)
    stops = frozenset(loaded.stop_ids)
    try:
        sampling = Sampling(request.temperature, request.top_k, request.top_p)
        tokens = stream(
            loaded.model, [ids], request.max_tokens, sampling, stop_ids=sorted(stops),
            seed=request.seed,
        )  # fmt: skip
    except ValueError as error:  # ModelError and what a setting's check raises
        raise ConfigError(str(error)) from error
    bytes_of = loaded.tokenizer.token_bytes
    silent = frozenset(loaded.tokenizer.specials.values())  # never shown
    size = loaded.tokenizer.vocab_size  # a model may have rows behind it

    def shown(token: int) -> bytes:
        return b"" if token in silent or token >= size else bytes_of(token)

    return _text(
        ((shown(new.token), new.stopped) for new in tokens),
        request.stop,
        len(ids),
    )


def request_ids(loaded: LoadedModel, request: Request) -> list[int]:
    """The token ids before the answer."""
    if (request.prompt is None) == (request.messages is None):
        raise ConfigError("give either a prompt or messages")
    if request.messages is not None:
        return message_ids(
            request.messages, loaded.tokenizer, loaded.prompt_form, loaded.message_form
        )
    assert request.prompt is not None
    return text_ids(request.prompt, loaded.tokenizer, loaded.prompt_form)


def _text(
    tokens: Iterator[tuple[bytes, bool]], stop: tuple[str, ...], prompt_tokens: int
) -> Iterator[Piece]:
    """Bytes to text: whole characters only, and nothing that may still become a stop text."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    waiting = ""
    count = 0
    for data, stopped in tokens:
        if stopped:
            yield Piece(waiting + decoder.decode(b"", final=True), "stop", prompt_tokens, count)
            return
        count += 1
        waiting += decoder.decode(data)
        found = [at for text in stop if text and (at := waiting.find(text)) >= 0]
        if found:
            yield Piece(waiting[: min(found)], "stop", prompt_tokens, count)
            return
        keep = max((_overlap(waiting, text) for text in stop), default=0)
        ready, waiting = waiting[: len(waiting) - keep], waiting[len(waiting) - keep :]
        if ready:
            yield Piece(ready, None, prompt_tokens, count)
    yield Piece(waiting + decoder.decode(b"", final=True), "length", prompt_tokens, count)


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that a stop text begins with."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
