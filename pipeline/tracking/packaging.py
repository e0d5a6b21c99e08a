"""An exported model as an MLflow model directory: one file of code, `hf/`, no pickle.

Importing mlflow's pyfunc costs seconds, so only `registry` imports this, when a model is logged.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow import environment_variables as mlflow_settings
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Object, Property
from transformers.utils import logging as transformers_logging

from pipeline.artifacts import ExportedModel
from pipeline.store.files import write_json
from pipeline.tracking.fetching import exported_files

PYFUNC_FILE = Path(__file__).with_name("pyfunc_model.py")
REQUIREMENTS = ["mlflow>=3.17,<4", "torch>=2.11", "transformers>=5,<6", "safetensors>=0.6"]
INPUT_EXAMPLE = {"prompt": "Return the", "max_tokens": 8, "temperature": 0.0}
FILL_MASK_FILE = Path(__file__).with_name("pyfunc_fill_mask.py")
FILL_MASK_EXAMPLE = {"prompt": "Return the <|mask|>.", "top_k": 3}
CLASSIFY_FILE = Path(__file__).with_name("pyfunc_classify.py")
CLASSIFY_EXAMPLE = {"text": "Return the first item of the list."}
TEXT_TO_TEXT_FILE = Path(__file__).with_name("pyfunc_text_to_text.py")
TEXT_TO_TEXT_EXAMPLE = {"prompt": "Return the <extra_id_0> of the list.", "max_tokens": 8}


def signature() -> ModelSignature:
    """Optional columns, and the same names as parameters.

    `prompt` and `stop` are "any" because a string and a list of strings both work; so are the whole
    numbers, which become floats with gaps when rows of a table set different ones.
    """
    message = Object([Property("role", DataType.string), Property("content", DataType.string)])
    columns: dict[str, AnyType | Array | DataType] = {
        "prompt": AnyType(),
        "messages": Array(message),
        "temperature": DataType.double,
        "top_k": AnyType(),
        "top_p": DataType.double,
        "max_tokens": AnyType(),
        "stop": AnyType(),
        "seed": AnyType(),
    }
    inputs = Schema([ColSpec(type=kind, name=n, required=False) for n, kind in columns.items()])
    params = ParamSchema(
        [
            ParamSpec("temperature", DataType.double, None),
            ParamSpec("top_k", DataType.long, None),
            ParamSpec("top_p", DataType.double, None),
            ParamSpec("max_tokens", DataType.long, None),
            ParamSpec("stop", DataType.string, [], shape=(-1,)),
            ParamSpec("seed", DataType.long, None),
        ]
    )
    return ModelSignature(inputs=inputs, outputs=_answer(message), params=params)


def _answer(message: Object) -> Schema:
    """An OpenAI-style object: text for prompts, a message for conversations."""
    choice = Object([
        Property("index", DataType.long),
        Property("text", DataType.string, required=False),
        Property("message", message, required=False),
        Property("finish_reason", DataType.string),
    ])  # fmt: skip
    counts = ("prompt_tokens", "completion_tokens", "total_tokens")
    usage = Object([Property(name, DataType.long) for name in counts])
    return Schema([
        ColSpec(DataType.string, "object"), ColSpec(DataType.string, "model"),
        ColSpec(Array(choice), "choices"), ColSpec(usage, "usage"),
    ])  # fmt: skip


def fill_mask_signature() -> ModelSignature:
    """A text with masks, and how many tokens are wanted for each."""
    columns: dict[str, AnyType] = {"prompt": AnyType(), "top_k": AnyType()}
    inputs = Schema([
        ColSpec(type=kind, name=name, required=name == "prompt") for name, kind in columns.items()
    ])  # fmt: skip
    params = ParamSchema([ParamSpec("top_k", DataType.long, None)])
    return ModelSignature(inputs=inputs, params=params)


def classify_signature() -> ModelSignature:
    """A text or several, or for a classifier of words the words themselves."""
    columns: dict[str, AnyType | Array] = {"text": AnyType(), "words": Array(DataType.string)}
    inputs = Schema([ColSpec(type=kind, name=n, required=False) for n, kind in columns.items()])
    return ModelSignature(inputs=inputs)


def text_to_text_signature() -> ModelSignature:
    """A source, and how its target is drawn."""
    numbers = ("max_tokens", "top_k", "seed")
    columns: dict[str, AnyType | DataType] = {
        "prompt": AnyType(), "temperature": DataType.double,
    }  # fmt: skip
    columns |= {name: AnyType() for name in numbers}
    inputs = Schema([
        ColSpec(type=kind, name=name, required=name == "prompt") for name, kind in columns.items()
    ])  # fmt: skip
    params = ParamSchema([
        ParamSpec("temperature", DataType.double, None),
        *(ParamSpec(name, DataType.long, None) for name in numbers),
    ])  # fmt: skip
    return ModelSignature(inputs=inputs, params=params)


def write_mlflow_model(exported: ExportedModel, directory: Path) -> None:
    """Write the MLflow model of `exported` into the new `directory`; loading it is the check."""
    code, described = PYFUNC_FILE, signature
    example: dict[str, Any] = INPUT_EXAMPLE
    form = exported.facts.get("prompt_form")
    if form == "fill":
        code, example, described = FILL_MASK_FILE, FILL_MASK_EXAMPLE, fill_mask_signature
    elif form == "classify":
        code, example, described = CLASSIFY_FILE, CLASSIFY_EXAMPLE, classify_signature
    elif form == "rewrite":
        code, example, described = (
            TEXT_TO_TEXT_FILE, TEXT_TO_TEXT_EXAMPLE, text_to_text_signature,
        )  # fmt: skip
    hashes = directory.with_name("sha256.json")
    write_json(hashes, exported_files(exported))
    with _quiet():
        mlflow.pyfunc.save_model(
            str(directory),
            python_model=str(code),
            artifacts={"hf": str(exported.hf_path), "sha256": str(hashes)},
            signature=described(),
            input_example=example,
            pip_requirements=REQUIREMENTS,
            metadata={
                "fingerprint": exported.fingerprint,
                "checkpoint": exported.facts.get("checkpoint"),
                "report": exported.facts.get("report"),
                "made_from": list(exported.manifest.inputs),
            },
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, and no advice about type hints that does not apply to code models."""
    bar = mlflow_settings.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
    if not bar.is_set():
        bar.set(False)
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.WARNING)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*type hints.*")
            yield
    finally:
        transformers_logging.enable_progress_bar()
        logger.setLevel(level)
