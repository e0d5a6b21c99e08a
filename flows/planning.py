"""Make a plan: walk the graph without building anything, and price what is missing."""

import dataclasses
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import psutil

from flows.display import Display
from flows.plan import Prediction, Workload, predicted_rows
from flows.run import Run, open_run
from model.objectives import objective_for
from pipeline.config import RunConfig
from pipeline.stages.train_tokenizer import check_files
from pipeline.store.errors import DataError
from pipeline.training.config import Epochs, HuggingFace, Minutes, PretrainConfig, Steps, Tokens
from pipeline.training.start import weight_files

# Text per byte of input; measured on this Python's packages, and usual for compressed text.
TEXT_SHARE = {"pydocs": 0.15, ".gz": 4.0, ".zst": 4.0, ".parquet": 3.0}
BYTES_PER_TOKEN = 3.5


def predict(config: RunConfig, *, root: Path, graph: Callable[[Run], Any]) -> Prediction:
    """What running `graph` with `config` under `root` would reuse and build."""
    display = Display(quiet=True)
    with open_run(config, root=root, display=display, name="plan", planning=True) as run:
        graph(run)
    _check_files(config, {record.stage for record in run.records if record.outcome == "build"})
    builds = any(record.outcome == "build" for record in run.records)
    load_ = workload(config, root) if builds else Workload(0, 0, 0, 0, 0, None, 0, 1)
    return Prediction(
        root=root,
        rows=predicted_rows(run.records, load_, root),
        memory_available=float(psutil.virtual_memory().total),
        disk_free=float(shutil.disk_usage(root).free),
        price_per_hour=config.runtime.price_per_hour,
    )


def _check_files(config: RunConfig, built: Collection[str]) -> None:
    """MillError for a tokenizer or weights to start from that the stages could not take.

    A plan does not come so far as to open them where what they build on is missing.
    """
    if "tokenizer" in built:
        check_files(config.tokenizer)
    if "pretrain" in built and isinstance(config.pretrain.start, HuggingFace):
        weight_files(config.pretrain.start)


def workload(config: RunConfig, root: Path) -> Workload:
    """Sizes of the input and of the model that a configuration describes."""
    read_bytes, text_bytes = input_bytes(config, root)
    parameters, flops, activations = model_cost(config.pretrain, config.tokenizer)
    horizon = config.pretrain.horizon
    row_tokens = config.pretrain.batch_rows * config.pretrain.context_length
    unique = text_bytes / BYTES_PER_TOKEN
    match horizon:
        case Tokens():
            tokens = horizon.tokens
        case Steps():
            tokens = horizon.steps * row_tokens
        case Epochs():
            tokens = int(horizon.epochs * unique)
    if (budget := config.pretrain.budget) is not None:  # in minutes: not known before
        tokens = budget.tokens if isinstance(budget, Tokens) else 0
    workers = (
        config.runtime.workers
        if isinstance(config.runtime.workers, int)
        else (psutil.cpu_count() or 1)
    )
    return Workload(
        read_bytes, text_bytes, parameters, tokens, flops,
        tokens / unique if unique else None, activations, workers,
        budget.minutes if isinstance(budget, Minutes) else None,
    )  # fmt: skip


def input_bytes(config: RunConfig, root: Path) -> tuple[float, float]:
    """(bytes to read, bytes of text in them); a source that cannot be sized counts as nothing."""
    read = text = 0.0
    for source in config.clean.sources:
        if source.kind == "huggingface":
            continue  # its size is known after the download, which a plan must not start
        try:
            units = source.units(root)
        except (DataError, OSError):
            continue  # the run itself will say what is wrong, with the remedy
        for unit in units:
            for file in unit.files:
                size = file.known_bytes
                share = TEXT_SHARE.get(source.kind, TEXT_SHARE.get(Path(file.path).suffix, 1.0))
                read += size
                text += size * share
    return read, text


def model_cost(pretrain: PretrainConfig, tokenizer: Any) -> tuple[float, float, float]:
    """(parameters, FLOPs per token, bytes of activations) of the model to be trained."""
    if pretrain.model is None:
        return 0.0, 0.0, 0.0
    vocab = getattr(tokenizer, "vocab_size", None) or 50_304
    model = dataclasses.replace(
        pretrain.model, vocab_size=vocab, context_length=pretrain.context_length
    )
    rows = pretrain.micro_batch_rows or pretrain.batch_rows
    positions = rows * pretrain.context_length
    # About 34 bytes per position, layer and dimension in 16 bit (Korthikanti et al. 2022, eq. 2,
    # without the attention term, which fused attention does not store), doubled for fp32 parts.
    activations = positions * model.width * model.layers * 68.0
    share = (pretrain.objective or objective_for(model.attention)).predicted_share
    flops = model.flops_per_token(predicted_share=share)
    return float(model.num_parameters()), float(flops), activations
