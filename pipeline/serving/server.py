"""An OpenAI-style HTTP server for one model, on loopback unless told otherwise.

    GET  /v1/models    POST /v1/completions    POST /v1/chat/completions    GET /health

It follows an alias: a new champion is loaded beside the old one and answers from then on. No
authentication: put a proxy in front before other machines may reach it.
"""

import ipaddress
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import uvicorn
from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from pipeline.serving.chat import Answer, Request
from pipeline.serving.engine import Engine, Serving, answers
from pipeline.serving.following import Follower
from pipeline.serving.limits import MAX_BODY_BYTES, Limits, until_gone
from pipeline.serving.loading import load_model
from pipeline.serving.protocol import Body, ChatBody, CompletionBody, Refusal, invalid_body
from pipeline.serving.responses import events, identity, model_document, whole
from pipeline.store.errors import ConfigError
from pipeline.tracking.config import TrackingConfig

MAX_REQUESTS = 32
GRACE_SECONDS = 30
"""For answers that are being made when the server is stopped."""
SPARE_THREADS = 8


def create_app(
    serving: Serving,
    *,
    hosts: Sequence[str] = (),
    max_requests: int = MAX_REQUESTS,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> FastAPI:
    """The application; `hosts` are the Host headers it answers (empty: all)."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Every answer takes a thread while it makes a token.
        anyio.to_thread.current_default_thread_limiter().total_tokens = max_requests + SPARE_THREADS
        yield

    app = FastAPI(
        title="gristmill", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    app.add_middleware(Limits, max_requests=max_requests, max_body_bytes=max_body_bytes)
    if hosts:
        # A page in a browser could otherwise reach a loopback server under a name of its own.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    _add_errors(app)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        engine = serving.current
        return {
            "status": "ok",
            "model": engine.loaded.description,
            "version": serving.version,
            "problem": serving.problem,
        }

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model_document(serving.current)]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        engine = serving.current
        if name not in engine.names:
            raise Refusal(404, f"model {name!r} is not served here", "model")
        return model_document(engine)

    @app.post("/v1/completions")
    async def completions(body: CompletionBody, http: HttpRequest) -> Response:
        return await _respond(serving.current, body, body.all_requests(), http, chat=False)

    @app.post("/v1/chat/completions")
    async def chat_completions(body: ChatBody, http: HttpRequest) -> Response:
        return await _respond(serving.current, body, body.all_requests(), http, chat=True)

    return app


def serve(
    reference: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    root: Path = Path("runs"),
    tracking: TrackingConfig | None = None,
    follow_seconds: float | None = 10.0,
    max_requests: int = MAX_REQUESTS,
) -> None:
    """Load the model and answer until interrupted; an alias is looked at every `follow_seconds`.

    ConfigError or ArtifactError if the model cannot be loaded, ConfigError if the port is taken.
    """
    serving, follower = _opened(reference, root, tracking, follow=follow_seconds is not None)
    loopback = _is_loopback(host)
    hosts = ("localhost", "127.0.0.1", "[::1]", "::1", host) if loopback else ()
    app = create_app(serving, hosts=hosts, max_requests=max_requests)
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=GRACE_SECONDS
    )
    try:
        listening = config.bind_socket()
    except SystemExit as error:  # what uvicorn makes of a taken port
        raise ConfigError(f"port {port} on {host} cannot be used; choose another one") from error
    if not loopback:
        _say(
            f"warning: whoever reaches {host}:{port} can use this model: there is no password and "
            "no encryption; put a proxy with both in front"
        )
    print(f"{serving.current.loaded.description}\nhttp://{host}:{port}/v1  (Ctrl-C stops)")
    stop = threading.Event()
    if follower is not None and follow_seconds is not None:
        print(f"following {reference}, looking every {follow_seconds:g} s")
        threading.Thread(target=follower.run, args=(stop, follow_seconds), daemon=True).start()
    sys.stdout.flush()
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        stop.set()


def _opened(
    reference: str, root: Path, tracking: TrackingConfig | None, *, follow: bool
) -> tuple[Serving, Follower | None]:
    """What answers first, and who replaces it."""
    if not reference.startswith("models:/") or not follow:
        return Serving(load_model(reference, root, tracking=tracking), reference), None
    from pipeline.tracking.aliases import AliasReader, is_alias  # mlflow: a second
    from pipeline.tracking.store import UNAVAILABLE

    if not is_alias(reference):
        return Serving(load_model(reference, root, tracking=tracking), reference), None
    reader = AliasReader(reference, root, tracking)
    try:
        version = reader.version()
    except UNAVAILABLE:
        version = None  # load_model restores a lost registry, and explains what is wrong otherwise
    chosen = reference if version is None else version.uri
    number = None if version is None else version.number
    serving = Serving(load_model(chosen, root, tracking=tracking), reference, number)
    follower = Follower(
        serving,
        reader.version,
        lambda version: load_model(version.uri, root, tracking=tracking),
        say=_say,
    )
    return serving, follower


def _add_errors(app: FastAPI) -> None:
    """Every mistake is answered in the protocol's form."""

    @app.exception_handler(Refusal)
    async def refused(_: HttpRequest, error: Refusal) -> JSONResponse:
        return JSONResponse(error.body, error.status)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: HttpRequest, error: RequestValidationError) -> JSONResponse:
        refusal = invalid_body(error.errors()[0])
        return JSONResponse(refusal.body, refusal.status)

    @app.exception_handler(HTTPException)
    async def failed(_: HttpRequest, error: HTTPException) -> JSONResponse:
        refusal = Refusal(error.status_code, str(error.detail))
        return JSONResponse(refusal.body, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def broken(_: HttpRequest, error: Exception) -> JSONResponse:
        refusal = Refusal(500, f"the server failed ({type(error).__name__}); its log says more")
        return JSONResponse(refusal.body, refusal.status)


async def _respond(
    engine: Engine, body: Body, requests: Sequence[Request], http: HttpRequest, *, chat: bool
) -> Response:
    """One JSON document, or its events as they come."""
    engine.check(body)
    # All prompts are checked before the first byte: afterwards the status cannot change.
    streams = await anyio.to_thread.run_sync(lambda: [engine.pieces(r) for r in requests])
    head = identity(engine, chat=chat)
    if body.stream:
        usage = bool((body.stream_options or {}).get("include_usage"))
        return StreamingResponse(
            events(head, streams, chat=chat, usage=usage), media_type="text/event-stream"
        )
    gone = threading.Event()
    found: list[Answer] = []

    def work() -> None:
        found.extend(answers(streams, gone.is_set))

    await until_gone(http, gone, work)
    if gone.is_set():
        return Response(status_code=499)  # nobody reads it
    return JSONResponse(whole(head, found, chat=chat))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
