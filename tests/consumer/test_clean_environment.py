"""A model of a real run answers in an environment that holds none of this project."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.consumer.conftest import alone

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


def test_champion_and_exported_directory_answer_without_us(
    small_run: Path, clean_python: Path, tmp_path: Path
) -> None:
    export = next(
        path for path in (small_run / "export").iterdir()
        if json.loads((path / "hf" / "gristmill.json").read_text())["prompt_form"] == "answer"
    )  # fmt: skip
    result = subprocess.run(
        [str(clean_python), "-I", "-c", CONSUMER, f"sqlite:///{small_run / 'mlflow.db'}",
         str(export / "hf")],
        cwd=tmp_path, env=alone(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout.splitlines()[-1])
    assert answer["one"]["choices"][0]["index"] == 0
    assert set(answer["one"]) == {"object", "model", "choices", "usage"}
    assert answer["two"] == 2
    assert answer["logits"][0] == 1
