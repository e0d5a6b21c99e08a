"""A registered model answers in an environment that holds none of this project."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.conftest import CHECKOUT

pytestmark = [pytest.mark.consumer, pytest.mark.timeout(1500)]

CONSUMER = """
import importlib.util, json, sys
assert all(importlib.util.find_spec(name) is None for name in ("pipeline", "flows", "model"))
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/small@champion")
one = model.predict({"prompt": "Parameters of\\nf(\\na)\\n"}, params={"max_tokens": 4})
both = ["Parameters of\\nf(\\na)\\n", "Summary of\\nx\\n"]
two = model.predict({"prompt": both, "max_tokens": 4})
from transformers import AutoModelForCausalLM, AutoTokenizer
hf = AutoModelForCausalLM.from_pretrained(sys.argv[2])
words = AutoTokenizer.from_pretrained(sys.argv[2])
logits = hf(**words("Return the", return_tensors="pt")).logits
print(json.dumps({"one": one, "two": len(two["choices"]), "logits": list(logits.shape)}))
"""


@pytest.fixture(scope="module")
def clean_python(tmp_path_factory) -> Path:
    """An interpreter with what the model's requirements name, at the locked versions."""
    folder = tmp_path_factory.mktemp("consumer")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "mlflow", "torch", "transformers",
         "safetensors"],
        env={**os.environ, "PIP_CONSTRAINT": str(CHECKOUT / "requirements.lock")}, check=True,
    )  # fmt: skip
    return python


def test_champion_and_exported_directory_answer_without_us(small_run, clean_python, tmp_path):
    export = next(
        path for path in (small_run / "export").iterdir()
        if json.loads((path / "hf" / "gristmill.json").read_text())["prompt_form"] == "answer"
    )  # fmt: skip
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    result = subprocess.run(
        [str(clean_python), "-I", "-c", CONSUMER, f"sqlite:///{small_run / 'mlflow.db'}",
         str(export / "hf")],
        cwd=tmp_path, env=kept, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout.splitlines()[-1])
    assert answer["one"]["choices"][0]["index"] == 0
    assert set(answer["one"]) == {"object", "model", "choices", "usage"}
    assert answer["two"] == 2
    assert answer["logits"][0] == 1
