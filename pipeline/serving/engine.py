"""The model that answers now, and the turns that requests take at it.

request -> Serving.current -> Engine -> pieces          a swap leaves begun requests alone
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

import torch

from pipeline.serving.chat import Answer, Piece, Request, pieces
from pipeline.serving.forms import text_ids
from pipeline.serving.loading import LoadedModel
from pipeline.serving.protocol import NEUTRAL, Body, Refusal
from pipeline.store.errors import ArtifactError, ConfigError


class Turns:
    """A lock that goes to whoever has waited longest, so that no answer starves another."""

    def __init__(self) -> None:
        self._inside = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._taken = False

    def __enter__(self) -> None:
        with self._inside:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()  # until the one before us releases it

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._inside:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False


class Engine:
    """One loaded model; a token of one answer at a time, so that streams share the processor."""

    def __init__(self, loaded: LoadedModel, reference: str, turns: Turns) -> None:
        self.loaded = loaded
        self.names = (loaded.name, reference)
        self.source = loaded.description.partition(":")[0]
        """Where it comes from, `NAME version 3`."""
        self.started = int(time.time())
        self._turns = turns

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
            return self._in_turn(pieces(self.loaded, request))
        except ConfigError as error:
            where = "prompt" if request.messages is None else "messages"
            raise Refusal(400, str(error), where) from error

    def _in_turn(self, stream: Iterator[Piece]) -> Iterator[Piece]:
        while True:
            with self._turns:
                piece = next(stream, None)
            if piece is None:
                return
            yield piece


class Serving:
    """Which engine answers now. Replacing it is one assignment; begun requests keep theirs."""

    def __init__(
        self, loaded: LoadedModel, reference: str = "", version: int | None = None
    ) -> None:
        self.reference = reference
        self.version = version
        """Of the registered model; None for anything else."""
        self.problem: str | None = None
        """Why a newer champion does not answer, or why nobody knows whether there is one."""
        self._turns = Turns()
        check_finite(loaded)
        self.current = Engine(loaded, reference, self._turns)

    def swap(self, loaded: LoadedModel, version: int | None) -> None:
        """Let `loaded` answer what comes from now on; ArtifactError if it cannot."""
        check_finite(loaded)
        self.current = Engine(loaded, self.reference, self._turns)
        self.version, self.problem = version, None


def answers(
    streams: Sequence[Iterator[Piece]], given_up: Callable[[], bool] = lambda: False
) -> list[Answer]:
    """The whole answers, one after the other; fewer once nobody waits for them any more."""
    found: list[Answer] = []
    for stream in streams:
        texts, last = [], None
        for last in stream:
            if given_up():
                return found
            texts.append(last.text)
        assert last is not None and last.finish_reason is not None  # a stream ends with a reason
        found.append(
            Answer("".join(texts), last.finish_reason, last.prompt_tokens, last.completion_tokens)
        )
    return found


@torch.inference_mode()
def check_finite(loaded: LoadedModel) -> None:
    """ArtifactError for a model that is none: an encoder, or logits that are not numbers."""
    loaded.require_decoder("mill serve")
    ids = text_ids("a", loaded.tokenizer, loaded.prompt_form)
    device = next(loaded.model.parameters()).device
    logits = loaded.model(torch.tensor([ids], device=device))  # (1, T, V)
    if not bool(torch.isfinite(logits).all()):
        raise ArtifactError(f"{loaded.description}: its logits are not finite numbers")
