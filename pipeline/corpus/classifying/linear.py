"""A trained linear filter on disk: weights as safetensors, all else as JSON, tied by sha256.

FILTER_DIR/filter.json            what it is, how it was trained, how well it does, its threshold
FILTER_DIR/weights.safetensors    2^bits float32
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pipeline.corpus.classifying.features import F32, mean_weights
from pipeline.corpus.rewrites.spans import Text
from pipeline.store.errors import DataError
from pipeline.store.files import write_bytes, write_json

FORMAT = 1
FILTER_JSON, WEIGHTS = "filter.json", "weights.safetensors"


@dataclass(frozen=True)
class LinearFilter:
    """`score = sigmoid(bias + mean weight of the text's features)`: 1 is like the positives."""

    weights: F32
    """(2^bits,)."""
    bias: float
    byte_ngram: int
    """Length of byte n-grams; 0 where there are none."""
    threshold: float
    """In 0 to 1: what `keep_share` asked for."""
    keep: Literal["above", "below"]
    facts: dict[str, Any]
    """How it was trained and how well it does; shown, never used."""

    def scores(self, text: Text) -> npt.NDArray[np.float64]:
        """(N,) in 0 to 1."""
        means = mean_weights(text, self.weights, byte_ngram=self.byte_ngram)
        return sigmoid(self.bias + means)


def sigmoid(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """1 / (1 + e^-x) without overflow."""
    low: npt.NDArray[np.float64] = np.exp(-np.abs(values))
    return np.where(values >= 0, 1 / (1 + low), low / (1 + low))


def save_filter(trained: LinearFilter, directory: Path) -> Path:
    """Write the two files; returns the path of the JSON, which is written last."""
    directory.mkdir(parents=True, exist_ok=True)
    data = save({"weights": trained.weights})
    write_bytes(directory / WEIGHTS, data)
    facts = {name: value for name, value in asdict(trained).items() if name != "weights"}
    facts = {"format": FORMAT, "weights_sha256": hashlib.sha256(data).hexdigest(), **facts}
    write_json(directory / FILTER_JSON, facts)
    return directory / FILTER_JSON


def load_filter(content: bytes, directory: Path) -> LinearFilter:
    """The filter that filter.json's `content` describes; DataError if the two do not agree."""
    where = directory / FILTER_JSON
    try:
        facts = json.loads(content)
        version, digest = facts.pop("format"), facts.pop("weights_sha256")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{where} is no trained filter ({error}); train it again") from error
    if version != FORMAT:
        raise DataError(f"{where} has format {version}, this version reads {FORMAT}; train again")
    try:
        data = (directory / WEIGHTS).read_bytes()
    except OSError as error:
        raise DataError(f"{directory / WEIGHTS} cannot be read ({error}); train again") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise DataError(f"{directory / WEIGHTS} is not the file {where} names; train again")
    try:
        weights = load(data)["weights"]
        found = LinearFilter(weights=weights, **facts)
    except (SafetensorError, KeyError, TypeError) as error:
        raise DataError(f"{where} is no trained filter ({error}); train it again") from error
    size = len(weights)
    if weights.dtype != np.float32 or weights.ndim != 1 or size < 2 or size & (size - 1):
        raise DataError(f"{directory / WEIGHTS} holds {weights.shape} {weights.dtype}, not 2^n f32")
    return found
