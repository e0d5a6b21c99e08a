"""Answer every line of a file. Needs: mlflow, torch, transformers, safetensors.

    python score_file.py sqlite:////data/runs/mlflow.db models:/pydocs@champion in.jsonl out.jsonl

in.jsonl has one object per line with `prompt` or `messages`; out.jsonl gets the same objects in the
same order with `answer`, `finish_reason` and `model`, or with `error` where a line cannot be
answered. The exit code is 1 if there was one. A run that was stopped goes on where it ended.
"""

import argparse
import json
import sys
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

SETTINGS = ("prompt", "messages", "max_tokens", "temperature", "top_k", "top_p", "stop", "seed")


def main() -> int:
    """Answer what is not answered yet."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("uri", help="MLflow's tracking store: an address or an SQLite file")
    parser.add_argument("model", help="models:/NAME@champion or models:/NAME/3")
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--max-tokens", type=int, default=128)
    given = parser.parse_args()

    mlflow.set_tracking_uri(given.uri)
    model = mlflow.pyfunc.load_model(given.model)
    # Run and version tell two champions apart in one output file.
    name = f"{given.model} {model.metadata.model_uuid}"
    done = finished(given.output)
    errors = 0
    with open(given.input, encoding="utf-8") as lines, open(given.output, "ab") as out:
        for number, line in enumerate(lines):
            if number < done or not line.strip():
                continue
            answered = answer(model, line, given.max_tokens) | {"model": name}
            errors += "error" in answered
            out.write(json.dumps(answered, ensure_ascii=False).encode() + b"\n")
            out.flush()
    if errors:
        print(f"{errors} lines could not be answered; see their `error`", file=sys.stderr)
    return int(errors > 0)


def answer(model: mlflow.pyfunc.PyFuncModel, line: str, max_tokens: int) -> dict:
    """The object of one line with its answer; one bad line does not stop the others."""
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError("a line must be an object with prompt or messages")
        asked = {key: row[key] for key in SETTINGS if row.get(key) is not None}
        choice = model.predict([asked], params={"max_tokens": max_tokens})["choices"][0]
    except (ValueError, MlflowException) as error:
        kept = row if isinstance(row := _object(line), dict) else {"line": line.rstrip("\n")}
        return {**kept, "error": str(error)}
    text = choice["message"]["content"] if "message" in choice else choice["text"]
    return {**row, "answer": text, "finish_reason": choice["finish_reason"]}


def _object(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def finished(output: Path) -> int:
    """How many lines are answered; what a killed run left half written is cut off."""
    if not output.exists():
        return 0
    data = output.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with open(output, "r+b") as file:
            file.truncate(whole)
    return data[:whole].count(b"\n")


if __name__ == "__main__":
    sys.exit(main())
