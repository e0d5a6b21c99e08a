"""The OpenAI-style protocol: what a request may say, and how a mistake in it is answered."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.serving.chat import Request

MAX_PROMPTS = 128
MAX_MESSAGES = 10_000
MAX_STOPS = 16
MAX_SEED = 1 << 63
MAX_TOKENS = 1 << 20  # far above any context; the context is the real limit
# Fields of the protocol we do not implement, with the values that change nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (1,), "echo": (False,), "suffix": ("",), "logprobs": (False, 0),
    "top_logprobs": (0,), "presence_penalty": (0,), "frequency_penalty": (0,), "logit_bias": ({},),
    "tools": ([],), "functions": ([],), "response_format": ({"type": "text"},),
}  # fmt: skip


class Body(BaseModel):
    """What both endpoints understand; None stands for the default, as in the protocol."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    n: Annotated[int, Field(ge=1, le=MAX_PROMPTS)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    seed: Annotated[int, Field(ge=0, lt=MAX_SEED)] | None = None
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None

    def requests(self, **what: Any) -> list[Request]:
        """The `n` requests for one prompt or conversation; the first has the seed asked for."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        first = self.seed if self.seed is not None else secrets.randbits(31)
        return [
            Request(
                max_tokens=self.max_tokens or 128,
                temperature=self.temperature or 0.0,
                top_k=self.top_k or None,
                top_p=self.top_p,
                stop=tuple(text for text in stops if text),
                seed=(first + number) % MAX_SEED,
                **what,
            )
            for number in range(self.n or 1)
        ]


class CompletionBody(Body):
    """POST /v1/completions."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS)]

    def all_requests(self) -> list[Request]:
        """`n` for each prompt, in the order of the prompts; Refusal where that is too much."""
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        if len(prompts) * (self.n or 1) > MAX_PROMPTS:
            raise Refusal(
                400,
                f"{len(prompts)} prompts with n={self.n} are more than {MAX_PROMPTS} answers; ask "
                "for fewer",
                "n",
            )
        return [request for prompt in prompts for request in self.requests(prompt=prompt)]


class TextPart(BaseModel):
    """A piece of a message; only text can be read."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn of a conversation."""

    role: str
    content: str | list[TextPart]

    def turn(self) -> dict[str, str]:
        """The turn as the models know it: one text; `developer` is a newer name of `system`."""
        parts = [self.content] if isinstance(self.content, str) else [p.text for p in self.content]
        return {
            "role": "system" if self.role == "developer" else self.role,
            "content": "".join(parts),
        }


class ChatBody(Body):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None

    def all_requests(self) -> list[Request]:
        """`n` for the conversation; the newer name of the limit wins."""
        requests = self.requests(messages=[message.turn() for message in self.messages])
        if self.max_completion_tokens is None:
            return requests
        limit = self.max_completion_tokens
        return [replace(request, max_tokens=limit) for request in requests]


class Refusal(Exception):
    """A request that is answered with a 4xx or 503 and a message in the protocol's form."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "error": {
                "message": message,
                "type": "invalid_request_error" if status < 500 else "server_error",
                "param": param,
                "code": "model_not_found" if status == 404 and param == "model" else None,
            }
        }


_WANTED = {"prompt": "a string or a list of strings", "content": "a string or parts of type text"}


def invalid_body(fault: Mapping[str, Any]) -> Refusal:
    """The first of pydantic's faults in the protocol's form, with the name of the field."""
    # A fault in one member of a union is named after the member: prompt.str, messages.0.content.str
    names = [str(part) for part in fault["loc"] if part != "body" and "[" not in str(part)]
    names = names[:-1] if names and names[-1] == "str" else names
    if fault["type"] == "json_invalid":
        cause = fault.get("ctx", {}).get("error", fault["msg"])
        return Refusal(400, f"the body is not JSON: {cause} at character {fault['loc'][-1]}")
    where = ".".join(names) or "body"
    wanted = _WANTED.get(names[-1]) if names and fault["type"] == "string_type" else None
    message = fault["msg"] if wanted is None else f"give {wanted}"
    return Refusal(400, f"{where}: {message}", where)
