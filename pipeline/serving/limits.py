"""What a server bears: so many requests at a time, bodies so large and no slower.

It stands before everything else, so that a slot is given back however a request ends.
"""

import threading
from collections.abc import Callable, Mapping

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.serving.protocol import Refusal

MAX_BODY_BYTES = 4 << 20  # 128 prompts of 32 kB
BODY_SECONDS = 30.0
GONE_SECONDS = 0.25  # how often a client that waits is looked at
CLOSE: Mapping[str, str] = {"connection": "close"}


class Limits:
    """ASGI middleware: 413, 408 and 503 in the protocol's form."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_requests: int,
        max_body_bytes: int = MAX_BODY_BYTES,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._app = app
        self._max_requests = max_requests
        self._max_body_bytes = max_body_bytes
        self._body_seconds = body_seconds
        self._busy = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._body(scope, receive)
            if body is None:  # the client went away
                return
            if self._busy >= self._max_requests:
                raise Refusal(
                    503, f"{self._busy} requests are being answered already; try again soon"
                )
        except Refusal as refusal:
            headers = {**CLOSE, **({"retry-after": "1"} if refusal.status == 503 else {})}
            response = JSONResponse(refusal.body, refusal.status, headers)
            await response(scope, receive, send)
            return
        self._busy += 1
        try:
            await self._app(scope, _replay(body, receive), send)
        finally:
            self._busy -= 1

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if lengths and lengths[0].isdigit() and int(lengths[0]) > self._max_body_bytes:
            raise self._too_large()
        body = bytearray()
        with anyio.move_on_after(self._body_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                body += message.get("body", b"")
                if len(body) > self._max_body_bytes:
                    raise self._too_large()
                if not message.get("more_body", False):
                    return bytes(body)
        raise Refusal(408, f"the body did not arrive within {self._body_seconds:g} s")

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the body has more than {self._max_body_bytes} bytes; send less")


def _replay(body: bytes, receive: Receive) -> Receive:
    """`receive` for a request whose body was read."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


async def until_gone(http: Request, gone: threading.Event, work: Callable[[], None]) -> None:
    """Run `work` in a thread; `gone` is set as soon as its client is known to have left."""

    async def watch() -> None:
        while not await http.is_disconnected():
            await anyio.sleep(GONE_SECONDS)
        gone.set()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        await anyio.to_thread.run_sync(work)
        group.cancel_scope.cancel()
