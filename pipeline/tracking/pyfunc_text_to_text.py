"""An encoder-decoder for MLflow, in one file: what `models:/NAME@champion` runs when NAME writes.

    DataFrame of rows (prompt, max_tokens, temperature, top_k, seed)
        -> {"object", "model", "choices": [{"index", "text", "finish_reason"}]}

Logged as code, never imported by this project: it must run where only mlflow, torch, transformers
and safetensors are installed. The artifact `hf` is a Hugging Face directory with `gristmill.json`;
`sha256` lists the hash of each file in it, and an altered one is refused.
"""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

DEFAULTS: dict[str, float | int] = {"max_tokens": 64, "temperature": 0.0, "top_k": 0, "seed": 0}
LIMITS = {"max_tokens": (1, 4096), "temperature": (0, 100), "top_k": (0, 1 << 20),
          "seed": (0, 1 << 62)}  # fmt: skip


class TextToText(PythonModel):
    """Loads the directory once; `predict` writes a target for every text of every row, in order."""

    def load_context(self, context: Any) -> None:
        """Read weights and tokenizer from the artifact `hf`."""
        directory = Path(context.artifacts["hf"])
        check_files(directory, Path(context.artifacts["sha256"]))
        self.facts = json.loads((directory / "gristmill.json").read_text(encoding="utf-8"))
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        model = AutoModelForSeq2SeqLM.from_pretrained(directory, dtype=torch.float32)
        self.model: Any = model.eval()
        self.model.to(self.device)
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.sentinels = re.compile("(" + "|".join(map(re.escape, self.facts["sentinels"])) + ")")

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """One dict for the whole input; a parameter in a row counts before one in `params`."""
        choices: list[dict[str, Any]] = []
        for row in model_input.to_dict(orient="records"):
            given = {name: _number(name, row, params or {}) for name in DEFAULTS}
            prompt = row.get("prompt")
            texts = [prompt] if isinstance(prompt, str) else prompt
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise _refused(f"prompt={prompt!r:.200} is neither a string nor a list of strings")
            for text in texts:
                choices.append({"index": len(choices), **self._write(text, given)})
        return {"object": "text_to_text", "model": self.facts["name"], "choices": choices}

    @torch.inference_mode()
    def _write(self, text: str, given: dict[str, Any]) -> dict[str, Any]:
        ids = self._encode(text)
        limit = int(self.facts["context_length"]) + 1
        if len(ids) > limit:
            raise _refused(f"the text has {len(ids)} tokens, the model reads {limit}; shorten it")
        sampling: dict[str, Any] = {"do_sample": False}
        if given["temperature"] > 0:
            torch.manual_seed(int(given["seed"]))
            top_k = int(given["top_k"])
            sampling = {"do_sample": True, "temperature": given["temperature"], "top_k": top_k}
        max_tokens = min(int(given["max_tokens"]), limit - 1)
        found = self.model.generate(
            torch.tensor([ids], device=self.device), max_new_tokens=max_tokens, **sampling
        )[0, 1:].tolist()
        end = self.facts["ids"]["eos"]
        ended = end in found
        kept = found[: found.index(end)] if ended else found
        return {"text": self.tokenizer.decode(kept, skip_special_tokens=False),
                "finish_reason": "stop" if ended else "length"}  # fmt: skip

    def _encode(self, text: str) -> list[int]:
        """`... eos`; of special tokens in the text only sentinels are some, others stay text."""
        found: list[int] = []
        pieces = self.sentinels.split(text) if self.facts["sentinels"] else [text]
        for number, piece in enumerate(pieces):
            if number % 2:
                found.append(self.tokenizer.get_vocab()[piece])
                continue
            if number + 1 < len(pieces):  # white space before a sentinel belongs to it
                piece = piece.rstrip()
            encoded = self.tokenizer(piece, add_special_tokens=False, split_special_tokens=True)
            found += encoded["input_ids"]
        return [*found, self.facts["ids"]["eos"]]


def _number(name: str, row: dict[str, Any], params: dict[str, Any]) -> float | int:
    value = next(
        (v for v in (row.get(name), params.get(name))
         if v is not None and not (isinstance(v, float) and math.isnan(v))), DEFAULTS[name]
    )  # fmt: skip
    whole = name != "temperature"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(f"{name}={value!r} is not a number")
    if whole and value != int(value):
        raise _refused(f"{name}={value!r} is not a whole number")
    low, high = LIMITS[name]
    if not low <= value <= high:
        raise _refused(f"{name}={value!r} must be from {low} to {high}")
    return int(value) if whole else float(value)


def check_files(directory: Path, listed: Path) -> None:
    """Refuse files that are not those of the registration: `listed` has the sha256 of each."""
    for name, expected in json.loads(listed.read_text(encoding="utf-8")).items():
        path = directory / name
        found = "nothing"
        if path.is_file():
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise _refused(
                f"{path} was altered after it was registered: sha256 expected {expected}, found "
                f"{found}; register the model again or load another version"
            )


def _refused(message: str) -> MlflowException:
    """A mistake in the request: HTTP 400 from the scoring server."""
    return MlflowException.invalid_parameter_value(message)


mlflow.models.set_model(TextToText())
