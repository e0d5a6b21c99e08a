"""An encoder for MLflow, in one file: what `models:/NAME@champion` runs when NAME fills masks.

    DataFrame of rows (prompt, top_k)
        -> {"object", "model", "choices": [{"index", "text", "masks": [[{"token", ...}]]}]}

Logged as code, never imported by this project: it must run where only mlflow, torch, transformers
and safetensors are installed. The artifact `hf` is a Hugging Face directory with `gristmill.json`;
`sha256` lists the hash of each file in it, and an altered one is refused.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel
from transformers import AutoModelForMaskedLM, AutoTokenizer

DEFAULT_TOP_K = 5


class FillMask(PythonModel):
    """Loads the directory once; `predict` fills every text of every row, in order."""

    def load_context(self, context: Any) -> None:
        """Read weights and tokenizer from the artifact `hf`."""
        directory = Path(context.artifacts["hf"])
        check_files(directory, Path(context.artifacts["sha256"]))
        self.facts = json.loads((directory / "gristmill.json").read_text(encoding="utf-8"))
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        model = AutoModelForMaskedLM.from_pretrained(directory, dtype=torch.float32)
        self.model: torch.nn.Module = model.eval()
        self.model.to(self.device)
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.mask = str(self.tokenizer.mask_token)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """One dict for the whole input; a parameter in a row counts before one in `params`."""
        choices: list[dict[str, Any]] = []
        for row in model_input.to_dict(orient="records"):
            top_k = _top_k({**(params or {}), **row})
            prompt = row.get("prompt")
            texts = [prompt] if isinstance(prompt, str) else prompt
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise _refused(f"prompt={prompt!r:.200} is neither a string nor a list of strings")
            for text in texts:
                masks = self._fill(text, top_k)
                choices.append({"index": len(choices), "text": self._best(text, masks),
                                "masks": masks})  # fmt: skip
        return {"object": "fill_mask", "model": self.facts["name"], "choices": choices}

    @torch.inference_mode()
    def _fill(self, text: str, top_k: int) -> list[list[dict[str, Any]]]:
        ids = self._encode(text)
        limit = int(self.facts["context_length"])
        if len(ids) > limit:
            raise _refused(f"the text has {len(ids)} tokens, the model reads {limit}; shorten it")
        mask = self.facts["ids"]["mask"]
        places = [i for i, token in enumerate(ids) if token == mask]
        logits = self.model(input_ids=torch.tensor([ids], device=self.device)).logits[0, places]
        logits[:, self.tokenizer.all_special_ids] = -math.inf
        logits[:, len(self.tokenizer) :] = -math.inf
        best = logits.float().softmax(dim=-1).topk(min(top_k, logits.shape[-1]))
        return [
            [
                {"token": self.tokenizer.decode([token]), "probability": probability}
                for token, probability in zip(tokens, probabilities, strict=True)
            ]
            for tokens, probabilities in zip(
                best.indices.tolist(), best.values.tolist(), strict=True
            )
        ]

    def _encode(self, text: str) -> list[int]:
        """`bos ... eos`; of special tokens in the text only the mask is one, others stay text."""
        pieces = self._pieces(text)
        if len(pieces) < 2:
            raise _refused(
                f"{text[:60]!r} masks nothing; write {self.mask} where a token is to be found"
            )
        ids = self.facts["ids"]
        encoded = [
            self.tokenizer(piece, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            for piece in pieces
        ]
        found = [ids["bos"], *encoded[0]]
        for piece in encoded[1:]:
            found += [ids["mask"], *piece]
        return [*found, ids["eos"]]

    def _pieces(self, text: str) -> list[str]:
        """What stands between the masks; the white space before one belongs to it."""
        *before, last = text.split(self.mask)
        return [*(piece.rstrip() for piece in before), last]

    def _best(self, text: str, masks: list[list[dict[str, Any]]]) -> str:
        pieces = self._pieces(text)
        words = [str(place[0]["token"]) for place in masks] + [""]
        return "".join(piece + word for piece, word in zip(pieces, words, strict=True))


def _top_k(given: dict[str, Any]) -> int:
    value = given.get("top_k")
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return DEFAULT_TOP_K
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise _refused(f"top_k={value!r} is not a whole number")
    if not 1 <= value <= 1000:
        raise _refused(f"top_k={value!r} must be from 1 to 1000")
    return int(value)


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


mlflow.models.set_model(FillMask())
