import json

import pytest
from fastapi.testclient import TestClient

from pipeline.serving.chat import Request, complete
from pipeline.serving.engine import Serving
from pipeline.serving.loading import LoadedModel
from pipeline.serving.server import create_app

HOSTS = ("127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def client(tuned_model: LoadedModel) -> TestClient:
    app = create_app(Serving(tuned_model, "ref"), hosts=HOSTS)
    return TestClient(app, base_url="http://127.0.0.1")


def test_models_lists_the_one_model(client: TestClient, tuned_model: LoadedModel) -> None:
    listed = client.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == [tuned_model.name]
    assert client.get(f"/v1/models/{tuned_model.name}").status_code == 200
    assert client.get("/v1/models/other").status_code == 404


def test_completions_answer_each_prompt_in_order(
    client: TestClient, tuned_model: LoadedModel
) -> None:
    body = {"prompt": ["ab", "cd"], "max_tokens": 6, "model": "ref"}
    found = client.post("/v1/completions", json=body).json()
    expected = [complete(tuned_model, Request(prompt=p, max_tokens=6)) for p in ("ab", "cd")]
    assert [choice["text"] for choice in found["choices"]] == [a.text for a in expected]
    assert [choice["index"] for choice in found["choices"]] == [0, 1]
    assert found["usage"]["prompt_tokens"] == 6
    assert found["usage"]["completion_tokens"] == sum(a.completion_tokens for a in expected)


def test_n_answers_to_each_prompt_differ_by_their_seeds(
    client: TestClient, tuned_model: LoadedModel
) -> None:
    body = {"prompt": ["ab", "cd"], "n": 2, "max_tokens": 6, "temperature": 2, "seed": 4}
    found = client.post("/v1/completions", json=body).json()
    expected = [
        complete(tuned_model, Request(prompt=p, max_tokens=6, temperature=2.0, seed=seed)).text
        for p in ("ab", "cd")
        for seed in (4, 5)
    ]
    assert [choice["text"] for choice in found["choices"]] == expected
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2, 3]
    asked = {"messages": [{"role": "user", "content": "ab"}], "n": 3, "max_tokens": 2}
    lines = client.post("/v1/chat/completions", json={**asked, "stream": True}).text.splitlines()
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    ends = [c["index"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]
    assert ends == [0, 1, 2]


def test_chat_stream_joins_to_the_plain_answer(client: TestClient) -> None:
    body = {
        "messages": [{"role": "user", "content": "ab"}],
        "max_tokens": 12, "temperature": 1, "seed": 4,
    }  # fmt: skip
    plain = client.post("/v1/chat/completions", json=body).json()
    options = {"stream": True, "stream_options": {"include_usage": True}}
    streamed = client.post("/v1/chat/completions", json={**body, **options})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    lines = [line[6:] for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(choice["delta"].get("content", "") for choice in choices)
    assert text == plain["choices"][0]["message"]["content"]
    assert choices[-1]["finish_reason"] == plain["choices"][0]["finish_reason"]
    assert chunks[-1]["usage"] == plain["usage"]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/completions", {}, 400, "prompt: Field required"),
        ("/v1/completions", {"prompt": "x" * 60}, 400, "61 tokens"),
        ("/v1/completions", {"prompt": "x", "model": "other"}, 404, "not served here"),
        ("/v1/completions", {"prompt": "x", "n": 0}, 400, "n: "),
        ("/v1/completions", {"prompt": ["x"] * 100, "n": 2}, 400, "more than 128 answers"),
        ("/v1/completions", {"prompt": "x", "best_of": 2}, 400, "best_of=2 is not supported"),
        ("/v1/completions", {"prompt": "x", "max_tokens": 0}, 400, "max_tokens"),
        ("/v1/completions", {"prompt": []}, 400, "prompt"),
        ("/v1/completions", {"prompt": [1, 2]}, 400, "prompt: give a string or a list of strings"),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": 1}]},
            400,
            "messages.0.content: give a string or parts of type text",
        ),
        ("/v1/completions", {"prompt": "x" * 60, "stream": True}, 400, "61 tokens"),
        ("/v1/chat/completions", {"messages": []}, 400, "messages"),
        ("/v1/chat/completions", {"messages": [{"role": "x", "content": "y"}]}, 400, "role 'x'"),
        ("/v1/nothing", {}, 404, "Not Found"),
    ],
)
def test_bad_request_is_a_4xx_that_says_why(
    client: TestClient, path: str, body: dict, status: int, message: str
) -> None:
    response = client.post(path, json=body)
    assert response.status_code == status
    assert message in response.json()["error"]["message"]


def test_body_that_is_not_json_is_a_400(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    response = client.post("/v1/completions", content=b"{no", headers=headers)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert (
        error["message"].startswith("the body is not JSON: ")
        and "at character 1" in (error["message"])
    )


def test_fields_without_effect_are_accepted(client: TestClient) -> None:
    body = {"prompt": "x", "max_tokens": 1, "n": 1, "user": "me", "presence_penalty": 0}
    assert client.post("/v1/completions", json=body).status_code == 200


def test_foreign_host_header_is_refused(client: TestClient) -> None:
    response = client.get("/v1/models", headers={"host": "evil.example.com"})
    assert response.status_code == 400
