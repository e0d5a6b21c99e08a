"""What a server bears, asked by badly behaved clients."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from fastapi.testclient import TestClient

from pipeline.serving.chat import Piece, Request, pieces
from pipeline.serving.engine import Serving, Turns, answers
from pipeline.serving.loading import LoadedModel
from pipeline.serving.server import create_app
from tests.serving.servers import running

LONG = {"prompt": "a", "max_tokens": 40}


@pytest.fixture
def serving(tuned_model: LoadedModel) -> Serving:
    return Serving(tuned_model, "ref")


@dataclass
class Slow:
    """Answers whose tokens wait for `hold`."""

    hold: threading.Event = field(default_factory=threading.Event)
    begun: int = 0
    """Requests."""
    made: int = 0
    """Tokens."""

    def pieces(self, loaded: LoadedModel, request: Request) -> Iterator[Piece]:
        self.begun += 1
        return self._waiting(pieces(loaded, request))

    def _waiting(self, stream: Iterator[Piece]) -> Iterator[Piece]:
        for piece in stream:
            self.hold.wait(20)
            self.made += 1
            yield piece


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    made = Slow()
    monkeypatch.setattr("pipeline.serving.engine.pieces", made.pieces)
    return made


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not happen within 10 s"
        time.sleep(0.005)


def test_one_request_too_many_gets_a_503_and_health_still_answers(
    serving: Serving, slow: Slow
) -> None:
    with running(create_app(serving, max_requests=2)) as client:
        got: list[int] = []

        def ask() -> None:
            got.append(client.post("/v1/completions", json=LONG).status_code)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: slow.begun == 2)
        refused = client.post("/v1/completions", json=LONG)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["type"] == "server_error"
        assert client.get("/health").status_code == 200
        slow.hold.set()
        for thread in threads:
            thread.join()
        assert got == [200, 200]
        assert client.post("/v1/completions", json=LONG).status_code == 200, "the slots are free"


@pytest.mark.parametrize("length_named", [True, False])
def test_body_that_is_too_large_gets_a_413(serving: Serving, length_named: bool) -> None:
    body = b'{"prompt": "' + b"x" * 5000 + b'"}'
    content = body if length_named else iter([body[:3000], body[3000:]])
    with running(create_app(serving, max_body_bytes=4000)) as client:
        headers = {"content-type": "application/json"}
        answer = client.post("/v1/completions", content=content, headers=headers)
        assert answer.status_code == 413
        assert "4000 bytes" in answer.json()["error"]["message"]
        assert client.post("/v1/completions", json=LONG).status_code == 200


def test_nobody_computes_for_a_client_that_left(serving: Serving, slow: Slow) -> None:
    with running(create_app(serving)) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/completions", json=LONG, timeout=0.3)
        time.sleep(0.8)  # the server looks every quarter of a second
        slow.hold.set()
        client.post("/v1/completions", json={**LONG, "max_tokens": 1})
    assert slow.made <= 4, "the forty tokens of the request given up were made all the same"


@pytest.mark.parametrize(
    "body",
    [b"", b"[" * 100_000, b'{"prompt": "x", "temperature": NaN}', b'{"prompt": 1}',
     b'{"prompt": "x", "model": "\\ud800"}', b'{"prompt": "x", "stop": ' + b'["a"]' * 1 + b"]}",
     b'{"prompt": "x", "seed": 1e400}', b"\xff\xfe", b'{"prompt": null}'],
)  # fmt: skip
def test_malformed_body_is_a_4xx_in_the_protocols_form(serving: Serving, body: bytes) -> None:
    client = TestClient(create_app(serving), raise_server_exceptions=False)
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/completions", content=body, headers=headers)
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["message"]


def test_page_of_another_site_cannot_post_without_a_preflight(serving: Serving) -> None:
    with running(create_app(serving)) as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            answer = client.post(
                "/v1/completions", content=b'{"prompt": "x"}', headers={"content-type": kind}
            )
            assert answer.status_code == 400
            assert "access-control-allow-origin" not in answer.headers


def test_lone_surrogate_and_parts_and_developer_turns_are_answered(serving: Serving) -> None:
    turns = [
        {"role": "developer", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b\ud800"}]},
    ]
    with running(create_app(serving)) as client:
        body = {"messages": turns, "max_tokens": 2, "max_completion_tokens": 3}
        headers = {"content-type": "application/json"}
        content = json.dumps(body)  # a lone surrogate as its escape, which httpx cannot write
        found = client.post("/v1/chat/completions", content=content, headers=headers)
    assert found.status_code == 200
    asked = "a\n\nb\N{REPLACEMENT CHARACTER}".encode()
    assert found.json()["usage"]["prompt_tokens"] == len(asked) + 1


def test_connection_that_sends_no_body_holds_no_slot(serving: Serving) -> None:
    with running(create_app(serving, max_requests=1)) as client:
        address = (str(client.base_url.host), int(client.base_url.port or 0))
        with socket.create_connection(address) as silent:
            silent.sendall(
                b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n"
                b"content-type: application/json\r\n\r\n{"
            )
            assert client.post("/v1/completions", json=LONG).status_code == 200


def test_turns_are_taken_in_the_order_of_asking() -> None:
    turns, order = Turns(), []
    threads = []
    with turns:
        for number in range(5):
            thread = threading.Thread(target=_take, args=(turns, order, number))
            thread.start()
            threads.append(thread)
            while len(turns._waiting) <= number:  # until it stands in the row
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]


def _take(turns: Turns, order: list[int], number: int) -> None:
    with turns:
        order.append(number)


def test_long_answer_does_not_starve_a_short_one(tuned_model: LoadedModel) -> None:
    engine = Serving(tuned_model, "ref").current
    finished: list[str] = []

    def run(name: str, tokens: int) -> None:
        stream = engine.pieces(Request(prompt="a", max_tokens=tokens, temperature=2.0, seed=1))
        answers([stream])
        finished.append(name)

    long = threading.Thread(target=lambda: [run("long", 40) for _ in range(20)])
    long.start()
    run("short", 3)
    assert finished.count("long") < 20
    long.join()
