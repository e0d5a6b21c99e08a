"""An OpenAI-style HTTP server for one model, on loopback unless told otherwise.

    GET  /v1/models    POST /v1/completions    POST /v1/chat/completions    GET /health

No authentication: put a proxy in front before other machines may reach it.
"""

import ipaddress
import json
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from pipeline.serving.chat import Answer, Piece, Request, pieces
from pipeline.serving.loading import LoadedModel, load_model
from pipeline.serving.protocol import NEUTRAL, Body, ChatBody, CompletionBody, Refusal
from pipeline.store.errors import ConfigError
from pipeline.tracking.config import TrackingConfig


class Engine:
    """Runs one token of one answer at a time, so that streams share the processor fairly."""

    def __init__(self, loaded: LoadedModel, reference: str) -> None:
        self.loaded = loaded
        self.names = (loaded.name, reference)
        self.started = int(time.time())
        self._lock = threading.Lock()

    def check(self, body: Body) -> None:
        """Refuse another model's name and fields that would change the answer if we had them."""
        if body.model is not None and body.model not in self.names:
            raise Refusal(
                404, f"model {body.model!r} is not served here; use {self.loaded.name!r}", "model"
            )
        for name, value in (body.model_extra or {}).items():
            if name in NEUTRAL and value is not None and value not in NEUTRAL[name]:
                raise Refusal(400, f"{name}={value!r:.100} is not supported; leave it out", name)

    def pieces(self, request: Request) -> Iterator[Piece]:
        """The pieces of an answer; a refused prompt raises now."""
        try:
            return self._locked(pieces(self.loaded, request))
        except ConfigError as error:
            where = "prompt" if request.messages is None else "messages"
            raise Refusal(400, str(error), where) from error

    def answer(self, request: Request) -> Answer:
        """The whole answer."""
        found = list(self.pieces(request))
        last = found[-1]
        assert last.finish_reason is not None  # a stream ends with a reason
        text = "".join(piece.text for piece in found)
        return Answer(text, last.finish_reason, last.prompt_tokens, last.completion_tokens)

    def _locked(self, stream: Iterator[Piece]) -> Iterator[Piece]:
        while True:
            with self._lock:
                piece = next(stream, None)
            if piece is None:
                return
            yield piece


def create_app(loaded: LoadedModel, reference: str = "", *, hosts: Sequence[str] = ()) -> FastAPI:
    """The application for one model; `hosts` are the Host headers it answers (empty: all)."""
    engine = Engine(loaded, reference)
    app = FastAPI(title=loaded.description, docs_url=None, redoc_url=None, openapi_url=None)
    if hosts:
        # A page in a browser could otherwise reach a loopback server under a name of its own.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "model": loaded.description}

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(engine)]}

    @app.get("/v1/models/{name:path}")
    def model(name: str) -> dict[str, Any]:
        if name not in engine.names:
            raise Refusal(404, f"model {name!r} is not served here", "model")
        return _model(engine)

    @app.post("/v1/completions")
    def completions(body: CompletionBody) -> Response:
        engine.check(body)
        prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
        requests = [body.request(prompt=prompt) for prompt in prompts]
        return _respond(engine, body, requests, chat=False)

    @app.post("/v1/chat/completions")
    def chat_completions(body: ChatBody) -> Response:
        engine.check(body)
        if body.max_completion_tokens is not None:
            body = body.model_copy(update={"max_tokens": body.max_completion_tokens})
        messages = [message.model_dump() for message in body.messages]
        return _respond(engine, body, [body.request(messages=messages)], chat=True)

    @app.exception_handler(Refusal)
    def refused(_: HttpRequest, error: Refusal) -> JSONResponse:
        return JSONResponse(error.body, error.status)

    @app.exception_handler(RequestValidationError)
    def invalid(_: HttpRequest, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
        refusal = Refusal(400, f"{where}: {first['msg']}", where)
        return JSONResponse(refusal.body, refusal.status)

    @app.exception_handler(HTTPException)
    def failed(_: HttpRequest, error: HTTPException) -> JSONResponse:
        return JSONResponse(Refusal(error.status_code, str(error.detail)).body, error.status_code)

    return app


def serve(
    reference: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    root: Path = Path("runs"),
    tracking: TrackingConfig | None = None,
) -> None:
    """Load the model and answer until interrupted.

    ConfigError or ArtifactError if the model cannot be loaded, ConfigError if the port is taken.
    """
    loaded = load_model(reference, root, tracking=tracking)
    loaded.require_decoder("mill serve")
    hosts = ("localhost", "127.0.0.1", "[::1]", "::1", host) if _is_loopback(host) else ()
    config = uvicorn.Config(
        create_app(loaded, reference, hosts=hosts), host=host, port=port, log_level="warning"
    )
    try:
        listening = config.bind_socket()
    except SystemExit as error:  # what uvicorn makes of a taken port
        raise ConfigError(f"port {port} on {host} cannot be used; choose another one") from error
    print(f"{loaded.description}\nhttp://{host}:{port}/v1  (Ctrl-C stops)", flush=True)
    uvicorn.Server(config).run(sockets=[listening])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _model(engine: Engine) -> dict[str, Any]:
    return {
        "id": engine.loaded.name,
        "object": "model",
        "created": engine.started,
        "owned_by": "gristmill",
        "max_model_len": engine.loaded.context_length,
    }


def _respond(engine: Engine, body: Body, requests: Sequence[Request], *, chat: bool) -> Response:
    """One JSON document, or its events as they come."""
    identity = {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}",
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": engine.loaded.name,
    }
    if body.stream:
        # All prompts are checked before the first byte: afterwards the status cannot change.
        streams = [engine.pieces(request) for request in requests]
        usage = bool((body.stream_options or {}).get("include_usage"))
        events = _events(identity, streams, chat=chat, usage=usage)
        return StreamingResponse(events, media_type="text/event-stream")
    answers = [engine.answer(request) for request in requests]
    choices = [
        {
            "index": index,
            **(
                {"message": {"role": "assistant", "content": found.text}}
                if chat
                else {"text": found.text}
            ),
            "finish_reason": found.finish_reason,
            "logprobs": None,
        }
        for index, found in enumerate(answers)
    ]
    counts = _usage(
        sum(found.prompt_tokens for found in answers),
        sum(found.completion_tokens for found in answers),
    )
    return JSONResponse({**identity, "choices": choices, "usage": counts})


def _events(
    identity: dict[str, Any], streams: Sequence[Iterator[Piece]], *, chat: bool, usage: bool
) -> Iterator[str]:
    """Server-sent events: a chunk per piece, one answer after the other, then `[DONE]`."""
    chunk = {**identity, "object": "chat.completion.chunk"} if chat else identity
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
