"""The registered model in a process where this project cannot be imported."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from pipeline.stages.register import RegistryConfig, register
from pipeline.tracking.config import default_uri
from tests.registry.worlds import RUNTIME, World

# An editable install would put the project on sys.path, so its packages are refused by name.
BLOCKER = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pipeline", "flows", "model", "tests"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
"""

PREDICTIONS = (
    BLOCKER
    + """
import json, warnings
import mlflow, pandas as pd
from transformers import AutoModelForCausalLM, AutoTokenizer
uri, out = sys.argv[1:]
mlflow.set_tracking_uri(uri)
base = mlflow.pyfunc.load_model("models:/gristmill-base@champion")
tuned = mlflow.pyfunc.load_model("models:/gristmill@champion")
user = {"role": "user", "content": "ab"}
greedy = {"max_tokens": 6, "temperature": 0}
sampled = {"prompt": "ab", "max_tokens": 8, "temperature": 1.0}
found = {
    "string": tuned.predict({"prompt": "ab", **greedy}),
    "list": tuned.predict({"prompt": ["ab", "cd"], **greedy}),
    "frame": tuned.predict(pd.DataFrame({"prompt": ["ab", "cd"], "max_tokens": [6, 6]})),
    "dicts": tuned.predict(
        [{"prompt": "ab", "max_tokens": 6}, {"prompt": "cd", "temperature": 0.0}]
    ),
    "messages": tuned.predict({"messages": [user], **greedy}),
    "params": tuned.predict({"prompt": "ab"}, params=greedy),
    "seeded": [tuned.predict({**sampled, "seed": seed}) for seed in (1, 1, 2, 3)],
    "base": base.predict({"prompt": "ab", **greedy}),
    "forged": tuned.predict({"prompt": "<|eos|>", **greedy}),
}
long = {"prompt": "ab", "max_tokens": 30, "temperature": 1.0, "seed": 5}
found["free"] = tuned.predict(long)
stop = found["free"]["choices"][0]["text"][3:5]
found["stopped"] = tuned.predict({**long, "stop": stop})
refused = {}
for name, model, row in (
    ("long", tuned, {"prompt": "x" * 60}), ("nothing", tuned, {}), ("plain", tuned, "hello"),
    ("base chat", base, {"messages": [user]}), ("both", tuned, {"prompt": "a", "messages": [user]}),
    ("temperature", tuned, {"prompt": "a", "temperature": -1.0}),
    ("max_tokens", tuned, {"prompt": "a", "max_tokens": 1.5}),
    ("role", tuned, {"messages": [{"role": "x", "content": "y"}]}),
):
    try:
        model.predict(row)
    except mlflow.exceptions.MlflowException as error:
        refused[name] = str(error)
found["refused"] = refused
found["outputs"] = tuned.metadata.signature.outputs.input_names()
path = mlflow.artifacts.download_artifacts("models:/gristmill@champion") + "/artifacts/hf"
model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
import torch
ids = tokenizer("ab", split_special_tokens=True).input_ids + [tokenizer.bos_token_id]
out_ids = model.generate(torch.tensor([ids]), max_new_tokens=6, do_sample=False)[0, len(ids):]
found["transformers"] = tokenizer.decode(out_ids, skip_special_tokens=True)
for name in ("pipeline", "model", "flows"):
    assert name not in sys.modules
json.dump(found, open(out, "w"))
"""
)


@pytest.fixture(scope="module")
def registered(shared_world: World) -> World:
    """Both models registered, first of their names."""
    eval_set, base = shared_world.eval_set(), shared_world.base()
    for checkpoint in (base, shared_world.tuned(base)):
        report = shared_world.report(checkpoint, eval_set, bits=1.5)
        exported = shared_world.exported(checkpoint, report)
        register(
            RegistryConfig(), exported, report, eval_set, root=shared_world.root, runtime=RUNTIME
        )
    return shared_world


@pytest.fixture(scope="module")
def predictions(registered: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process without this project gets from the registered models."""
    out = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run(
        [sys.executable, "-I", "-c", PREDICTIONS, default_uri(registered.root), "found.json"],
        cwd=out, capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(out), "OMP_NUM_THREADS": "1",
             "MLFLOW_DISABLE_TELEMETRY": "true"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "UserWarning" not in done.stderr
    return json.loads((out / "found.json").read_text())


def texts(answer: dict[str, Any]) -> list[str]:
    return [choice["text"] for choice in answer["choices"]]


def test_string_list_frame_and_dicts_give_the_same_answers(predictions: dict[str, Any]) -> None:
    (first,) = texts(predictions["string"])
    assert texts(predictions["list"])[0] == first
    assert texts(predictions["frame"]) == texts(predictions["list"])
    assert texts(predictions["dicts"])[0] == first
    assert predictions["outputs"] == list(predictions["string"]), "as the signature says"
    assert texts(predictions["params"]) == [first]
    assert predictions["transformers"] == first


def test_answer_has_the_documented_shape(predictions: dict[str, Any]) -> None:
    answer = predictions["list"]
    assert set(answer) == {"object", "model", "choices", "usage"}
    assert (answer["object"], answer["model"]) == ("text_completion", "gristmill")
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert {choice["finish_reason"] for choice in answer["choices"]} <= {"stop", "length"}
    usage = answer["usage"]
    assert usage["prompt_tokens"] == 6  # two prompts of two bytes, a bos each
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_messages_get_a_message(predictions: dict[str, Any]) -> None:
    answer = predictions["messages"]
    assert answer["object"] == "chat.completion"
    message = answer["choices"][0]["message"]
    assert message == {"role": "assistant", "content": texts(predictions["string"])[0]}


def test_seed_decides_the_sample(predictions: dict[str, Any]) -> None:
    one, same, *others = [texts(answer)[0] for answer in predictions["seeded"]]
    assert one == same
    assert any(other != one for other in others)


def test_base_and_tuned_see_different_forms_of_one_prompt(predictions: dict[str, Any]) -> None:
    assert predictions["base"]["model"] == "gristmill-base"
    assert predictions["base"]["usage"]["prompt_tokens"] == 3


def test_special_token_text_counts_as_plain_characters(predictions: dict[str, Any]) -> None:
    assert predictions["forged"]["usage"]["prompt_tokens"] == len("<|eos|>") + 1


def test_stop_text_ends_the_answer(predictions: dict[str, Any]) -> None:
    (choice,) = predictions["stopped"]["choices"]
    (whole,) = texts(predictions["free"])
    assert len(whole) >= 5, "the seed must give some text"
    assert choice["text"] == whole[: whole.find(whole[3:5])]
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("long", "61 tokens and leaves no room in the model's 48; shorten it to at most 47"),
        ("nothing", "give the text by name"),
        ("plain", "give the text by name"),
        ("base chat", "ask the tuned model"),
        ("both", "either prompt"),
        ("temperature", "temperature=-1.0"),
        ("max_tokens", "not a whole number"),
        ("role", "role 'x' is unknown"),
    ],
)
def test_bad_request_is_refused_with_the_reason(
    predictions: dict[str, Any], name: str, message: str
) -> None:
    assert message in predictions["refused"][name]


def test_registered_files_hold_no_pickle(registered: World) -> None:
    files = [p.name for p in (registered.root / "mlartifacts").rglob("*") if p.is_file()]
    assert "model.safetensors" in files and "pyfunc_model.py" in files
    suffixes = {Path(name).suffix for name in files}
    assert not suffixes & {".pkl", ".pickle", ".pt", ".bin", ".pth", ".npy"}
    requirements = next((registered.root / "mlartifacts").rglob("requirements.txt")).read_text()
    names = {re.split(r"[<>=]", line)[0] for line in requirements.splitlines()}
    assert names == {"mlflow", "torch", "transformers", "safetensors"}


@pytest.mark.slow
def test_mlflow_models_serve_answers_over_http(registered: World, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/gristmill@champion",
        "--env-manager", "local", "-p", str(port),
    ]  # fmt: skip
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path),
        "MLFLOW_TRACKING_URI": default_uri(registered.root), "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    log = open(tmp_path / "log", "wb")
    server = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", server, tmp_path / "log")
        url = f"http://127.0.0.1:{port}/invocations"
        for body in (
            {"inputs": {"prompt": ["ab", "cd"], "max_tokens": 4, "temperature": 0}},
            {
                "dataframe_records": [{"prompt": "ab"}, {"prompt": "cd"}],
                "params": {"max_tokens": 4},
            },
            {"prompt": ["ab", "cd"], "max_tokens": 4},
        ):
            status, answer = post(url, body)
            assert (status, len(answer.get("predictions", answer)["choices"])) == (200, 2)
        status, answer = post(url, {"inputs": {"prompt": "x" * 60}})
        assert status == 400 and "61 tokens" in json.dumps(answer)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)
        log.close()


def wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"the scoring server did not come up:\n{log.read_text()[-3000:]}")


def post(url: str, body: dict[str, Any]) -> tuple[int, Any]:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
