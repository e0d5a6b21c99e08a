"""A classifier for MLflow, in one file: what `models:/NAME@champion` runs when NAME names classes.

    level text   rows (text)            -> {"index", "label", "score", "scores": {label: ...}}
    level word   rows (text) or (words) -> {"index", "words": [{"word", "label", "score"}, ...]}

Logged as code, never imported by this project: it must run where only mlflow, torch, transformers
and safetensors are installed. The artifact `hf` is a Hugging Face directory with `gristmill.json`;
`sha256` lists the hash of each file in it, and an altered one is refused.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)


class Classify(PythonModel):
    """Loads the directory once; `predict` classifies every text of every row, in order."""

    def load_context(self, context: Any) -> None:
        """Read weights and tokenizer from the artifact `hf`."""
        directory = Path(context.artifacts["hf"])
        check_files(directory, Path(context.artifacts["sha256"]))
        self.facts = json.loads((directory / "gristmill.json").read_text(encoding="utf-8"))
        self.of_words = self.facts["level"] == "word"
        family: Any = AutoModelForSequenceClassification
        if self.of_words:
            family = AutoModelForTokenClassification
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model: torch.nn.Module = family.from_pretrained(directory, dtype=torch.float32).eval()
        self.model.to(self.device)
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.labels = list(self.facts["labels"])

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """One dict for the whole input."""
        choices: list[dict[str, Any]] = []
        for row in model_input.to_dict(orient="records"):
            for text in self._texts(row):
                choices.append({"index": len(choices), **self._classified(text)})
        return {"object": "classification", "model": self.facts["name"], "choices": choices}

    def _texts(self, row: dict[str, Any]) -> list[Any]:
        """The texts of a row; one that is given as words stays a list of them."""
        words = row.get("words")
        if self.of_words and isinstance(words, list | np.ndarray):
            return [[_text(word, "words") for word in words]]
        given = row.get("text")
        texts = list(given) if isinstance(given, list | np.ndarray) else [given]
        if not texts:
            raise _refused("text=[] is no text")
        return [_text(text, "text") for text in texts]

    @torch.inference_mode()
    def _classified(self, text: Any) -> dict[str, Any]:
        if self.of_words:
            return self._words(text if isinstance(text, list) else text.split())
        ids = self._encode(text)[: self._room]
        scores = self._probabilities(ids)[0].tolist()  # of the text's one row
        found = dict(zip(self.labels, scores, strict=True))
        best = max(found, key=lambda label: found[label])
        return {"label": best, "score": found[best], "scores": found}

    def _words(self, words: list[str]) -> dict[str, Any]:
        """Each word's first token names its label; words beyond the context have none."""
        ids: list[int] = []
        places = []
        for number, word in enumerate(words):
            places.append(len(ids))
            ids += self._encode(f" {word.strip()}" if number else word.strip())
        rows = self._probabilities(ids[: self._room])[0]
        found: list[dict[str, Any]] = []
        for word, place in zip(words, places, strict=True):
            if place >= self._room:
                found.append({"word": word, "label": None, "score": None})
                continue
            score, best = rows[place + 1].max(dim=-1)
            found.append({"word": word, "label": self.labels[int(best)], "score": float(score)})
        return {"words": found}

    def _probabilities(self, ids: list[int]) -> torch.Tensor:
        """(1, C) of a text, (1, T, C) of its tokens."""
        whole = [self.facts["ids"]["bos"], *ids, self.facts["ids"]["eos"]]
        logits = self.model(input_ids=torch.tensor([whole], device=self.device)).logits
        return logits.float().softmax(dim=-1).cpu()

    @property
    def _room(self) -> int:
        return int(self.facts["context_length"]) - 2

    def _encode(self, text: str) -> list[int]:
        """Ordinary ids: special tokens in the text stay text."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]
        return ids


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _refused(f"{name}={value!r:.200} is neither a string nor a list of strings")
    if not value.strip():
        raise _refused(f"{name} holds an empty text, which has no class")
    return value


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


mlflow.models.set_model(Classify())
