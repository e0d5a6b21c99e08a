"""What the protocol answers: one JSON document, or its events as they come."""

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.serving.chat import Answer, Piece
from pipeline.serving.engine import Engine


def identity(engine: Engine, *, chat: bool) -> dict[str, Any]:
    """What every document of one request begins with; the fingerprint names the version."""
    return {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}",
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": engine.loaded.name,
        "system_fingerprint": engine.source,
    }


def model_document(engine: Engine) -> dict[str, Any]:
    """One entry of /v1/models."""
    return {
        "id": engine.loaded.name,
        "object": "model",
        "created": engine.started,
        "owned_by": "gristmill",
        "max_model_len": engine.loaded.context_length,
    }


def whole(head: dict[str, Any], found: Sequence[Answer], *, chat: bool) -> dict[str, Any]:
    """All answers in one document."""
    choices = []
    for index, answer in enumerate(found):
        message = {"message": {"role": "assistant", "content": answer.text}}
        content = message if chat else {"text": answer.text}
        choices.append(
            {"index": index, **content, "finish_reason": answer.finish_reason, "logprobs": None}
        )
    counts = _usage(
        sum(answer.prompt_tokens for answer in found),
        sum(answer.completion_tokens for answer in found),
    )
    return {**head, "choices": choices, "usage": counts}


def events(
    head: dict[str, Any], streams: Sequence[Iterator[Piece]], *, chat: bool, usage: bool
) -> Iterator[str]:
    """Server-sent events: a chunk per piece, one answer after the other, then `[DONE]`."""
    chunk = {**head, "object": "chat.completion.chunk"} if chat else head
    prompt_tokens = completion_tokens = 0
    for index, stream in enumerate(streams):
        if chat:
            opening = {"index": index, "delta": {"role": "assistant"}, "finish_reason": None}
            yield _event({**chunk, "choices": [opening]})
        last = None
        for last in stream:
            content = {"delta": {"content": last.text}} if chat else {"text": last.text}
            choice = {"index": index, **content, "finish_reason": last.finish_reason}
            yield _event({**chunk, "choices": [choice]})
        if last is not None:
            prompt_tokens += last.prompt_tokens
            completion_tokens += last.completion_tokens
    if usage:
        yield _event({**chunk, "choices": [], "usage": _usage(prompt_tokens, completion_tokens)})
    yield "data: [DONE]\n\n"


def _event(document: dict[str, Any]) -> str:
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n"


def _usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
