"""Every file of examples/ does what it says where this project is not installed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.consumer.conftest import Example, alone, crown, uri
from tests.flows.conftest import CHECKOUT, environment
from tests.registry.worlds import World

pytestmark = [pytest.mark.consumer, pytest.mark.timeout(1500)]

CHAMPION = "models:/tiny@champion"


def run(command: list[str], cwd: Path, *, code: int = 0) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=alone(), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def started(command: list[str], url: str, cwd: Path, env: dict[str, str]) -> Iterator[Path]:
    """A server that answers at `url`, ended with all its children; yields what it has written."""
    log = cwd / "server.log"
    with open(log, "ab") as out:
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdout=out, stderr=out, start_new_session=True
        )
    try:
        until = time.monotonic() + 120
        while not answers(url):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield log
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def get(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=30) as response:
        return json.load(response)


def until_version(url: str, number: int, log: Path) -> None:
    end = time.monotonic() + 60
    while int(get(url)["version"]) != number:
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)


def test_champion_answers_prompts_and_conversations(
    world: World, example: Example, tmp_path: Path
) -> None:
    asked = (uri(world), CHAMPION, "ab", "cd", "--max-tokens", "5")
    plain = json.loads(run(example("ask_champion.py", *asked), tmp_path))
    assert [choice["index"] for choice in plain["choices"]] == [0, 1]
    assert plain["usage"]["prompt_tokens"] == 6
    chat = json.loads(run(example("ask_champion.py", *asked, "--chat"), tmp_path))
    assert chat["object"] == "chat.completion"
    assert [c["message"]["content"] for c in chat["choices"]] == [
        c["text"] for c in plain["choices"]
    ], "a question is asked in the same form either way"
    sampled = (*asked, "--temperature", "2", "--seed", "4")
    twice = [run(example("ask_champion.py", *sampled), tmp_path) for _ in range(2)]
    assert twice[0] == twice[1]


def test_file_is_answered_line_by_line_and_a_stopped_run_goes_on(
    world: World, example: Example, tmp_path: Path
) -> None:
    rows = [{"id": 1, "prompt": "ab"}, {"prompt": "x" * 60}, {"messages": "no"}, {"prompt": "ef"}]
    lines = [*(json.dumps(row) for row in rows), "{torn"]
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    command = example("score_file.py", uri(world), CHAMPION, "in.jsonl", "out.jsonl")
    run([*command, "--max-tokens", "4"], tmp_path, code=1)
    whole = (tmp_path / "out.jsonl").read_bytes()
    found = [json.loads(line) for line in whole.splitlines()]
    assert ["error" in row for row in found] == [False, True, True, False, True]
    assert found[0]["id"] == 1 and found[0]["finish_reason"] in ("stop", "length")
    assert "61 tokens" in found[1]["error"]
    first = whole.index(b"\n") + 1
    (tmp_path / "out.jsonl").write_bytes(whole[: first + 10])  # killed in the second line
    run([*command, "--max-tokens", "4"], tmp_path, code=1)
    assert (tmp_path / "out.jsonl").read_bytes() == whole


def test_directory_generates_with_transformers_as_the_champion_answers(
    world: World, example: Example, clean_python: Path, tmp_path: Path
) -> None:
    fetch = [str(clean_python), "-m", "mlflow", "artifacts", "download", "--artifact-uri", CHAMPION,
             "--dst-path", "model"]  # fmt: skip
    done = subprocess.run(
        fetch, cwd=tmp_path, env=alone(MLFLOW_TRACKING_URI=uri(world)), check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    directory = str(tmp_path / "model" / "artifacts" / "hf")
    text = run(example("use_transformers.py", directory, "ab", "--max-tokens", "5"), tmp_path)
    asked = (uri(world), CHAMPION, "ab", "--max-tokens", "5")
    expected = json.loads(run(example("ask_champion.py", *asked), tmp_path))
    assert text == expected["choices"][0]["text"] + "\n"


def test_mlflow_models_serve_answers_prompts_and_messages(
    world: World, example: Example, clean_python: Path, tmp_path: Path
) -> None:
    port = free_port()
    command = [str(clean_python), "-m", "mlflow", "models", "serve", "-m", CHAMPION,
               "--env-manager", "local", "-p", str(port)]  # fmt: skip
    env = alone(MLFLOW_TRACKING_URI=uri(world))
    env["PATH"] = f"{clean_python.parent}:{env['PATH']}"
    with started(command, f"http://127.0.0.1:{port}/ping", tmp_path, env):
        where = ("--url", f"http://127.0.0.1:{port}/invocations", "--max-tokens", "5")
        lines = run(example("post_invocations.py", "ab", *where), tmp_path).splitlines()
    plain, chat = (json.loads(line) for line in lines)
    assert (plain["object"], chat["object"]) == ("text_completion", "chat.completion")
    assert plain["choices"][0]["text"] == chat["choices"][0]["message"]["content"]


def test_openai_client_reads_mill_serve_which_follows_the_champion(
    world: World, example: Example, tmp_path: Path
) -> None:
    crown(world, 1)
    port = free_port()
    command = [
        sys.executable, "-P", "-c", "from flows.cli import main; main()", "serve", CHAMPION,
        "--port", str(port), "--poll", "0.5", "--root", str(world.root),
    ]  # fmt: skip
    base = f"http://127.0.0.1:{port}"
    with started(command, f"{base}/health", tmp_path, environment()) as log:
        asked = ("ab", "--base-url", f"{base}/v1", "--max-tokens", "5")
        text = run(example("use_openai_client.py", *asked), tmp_path)
        assert text.startswith("tiny version 1: ")
        crown(world, 2)
        until_version(f"{base}/health", 2, log)
        assert run(example("use_openai_client.py", *asked), tmp_path).startswith("tiny version 2: ")
    crown(world, 1)


def test_served_champion_is_reloaded_when_polling_finds_another(
    world: World, example: Example, tmp_path: Path
) -> None:
    crown(world, 1)
    port = free_port()
    command = example("serve_champion.py", uri(world), "tiny", "--port", str(port), "--poll", "0.5")
    base = f"http://127.0.0.1:{port}"
    with started(command, f"{base}/health", tmp_path, alone()) as log:
        before = ask(base)
        crown(world, 2)
        until_version(f"{base}/health", 2, log)
        assert ask(base) != before
    crown(world, 1)


def test_webhook_of_mlflows_server_reloads_at_once_and_a_forged_one_does_not(
    world: World, example: Example, clean_python: Path, tmp_path: Path
) -> None:
    crown(world, 1)
    port, mlflow_port = free_port(), free_port()
    server = [
        str(clean_python), "-m", "mlflow", "server", "--port", str(mlflow_port), "--workers", "1",
        "--backend-store-uri", uri(world),
    ]  # fmt: skip
    allowed = {"MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true"}
    address = f"http://127.0.0.1:{mlflow_port}"
    (tmp_path / "mlflow").mkdir()
    base = f"http://127.0.0.1:{port}"
    command = example(
        "serve_champion.py", address, "tiny", "--port", str(port), "--poll", "3600",
        "--webhook", f"{base}/webhook",
    )  # fmt: skip
    with (
        started(server, f"{address}/health", tmp_path / "mlflow", alone(**allowed)),
        started(command, f"{base}/health", tmp_path, alone(SECRET="shared")) as log,
    ):
        forged = urllib.request.Request(
            f"{base}/webhook", b'{"data": {"name": "tiny", "alias": "champion"}}',
            {"X-MLflow-Timestamp": str(int(time.time())), "X-MLflow-Signature": "v1,AAAA"},
        )  # fmt: skip
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(forged, timeout=10)
        promote = (
            "import mlflow, sys; mlflow.MlflowClient(sys.argv[1])"
            ".set_registered_model_alias('tiny', 'champion', '2')"
        )
        run([str(clean_python), "-I", "-c", promote, address], tmp_path)
        until_version(f"{base}/health", 2, log)
    crown(world, 1)


def ask(base: str) -> dict:
    # Untrained models differ little: cold enough to differ, not so cold that one token repeats.
    asked = {"prompt": list("abcdefgh"), "max_tokens": 20, "temperature": 0.02, "seed": 1}
    body = json.dumps(asked).encode()
    with urllib.request.urlopen(f"{base}/invocations", body, timeout=60) as response:
        return json.load(response)["choices"]


def test_no_example_imports_this_project() -> None:
    for path in sorted((CHECKOUT / "examples").glob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        imported = [line for line in lines if line.startswith(("import ", "from "))]
        assert not any(
            line.split()[1].partition(".")[0] in ("flows", "pipeline", "model", "benchmarks")
            for line in imported
        ), path.name
