"""Settings of pre-training and fine-tuning: frozen stdlib dataclasses, no pydantic needed to run.

pydantic validates them inside RunConfig (`__pydantic_config__`, field metadata), `check` where it
is absent. Everything here is identity: it changes the weights.
"""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from model.architectures import AnyModel
from model.averaging import WeightAverage
from model.lora import LoraConfig
from model.objectives import AnyObjective
from model.optim import AdamWConfig, AnyOptimizer
from model.schedule import AnySchedule, CosineSchedule
from model.settings import FORBID_EXTRA, check, setting
from pipeline.tokens.batching import AnyBatching, CutWindows
from pipeline.training.spikes import SpikeRule

Dtype = Literal["auto", "float32", "bfloat16"]
_ROWS = "Rows of one optimiser step, over all devices."
_MICRO = "Rows computed at once on a device; null takes the whole batch. Same result, less memory."
_CLIP = "Largest gradient norm; null measures it without clipping."
_DTYPE = "Type of matrix products; weights and sums stay float32. auto: bfloat16 where native."
_Z_LOSS = "Weight of log(Z)^2, which keeps logits from drifting; 1e-4 is usual (PaLM). 0: none."
_DROPOUT = (
    "Share of the embeddings and of every branch's outputs that a training step drops, against "
    "learning repeated text by heart; 0: none."
)
_RECOMPUTE = (
    "Blocks are computed again in the backward pass: a third more time, less memory, same result."
)
_KEEP = "Final weights: those of the lowest validation loss, or of the last step."
_SKIPPED = "Steps in a row with a non-finite loss or gradient, or a spike, that end the run."


DECIDED_BY_SIZE = (
    "model", "batch_rows", "micro_batch_rows", "horizon", "optimizer", "schedule", "dropout",
    "keep",
)  # fmt: skip
"""What `size: auto` chooses; none of it may be set beside it."""

FEWEST_TOKENS = 1_000  # guess; from 10 tokens 32 layers of 2048 were chosen


def required(description: str, **limits: Any) -> Any:
    """A dataclass field without a default, described and bounded like `setting`."""
    return field(metadata={"description": description, **limits})


@dataclass(frozen=True)
class Tokens:
    """A horizon in positions; rounded up to whole steps."""

    tokens: int = required("Positions to train on.", ge=1)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Minutes:
    """A budget of training time on this machine."""

    minutes: float = required("Minutes of training.", gt=0.0, le=1_000_000.0)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Steps:
    """A horizon in optimiser steps."""

    steps: int = required("Optimiser steps.", ge=1)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Epochs:
    """A horizon in passes over the training rows; rounded up to whole steps."""

    epochs: float = required("Passes over the training rows.", gt=0.0, le=1000.0)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)


def num_steps(
    horizon: Tokens | Steps | Epochs, *, rows: float, batch_rows: int, context_length: int
) -> int:
    """Optimiser steps of a horizon over `rows` training rows of `context_length` positions."""
    if isinstance(horizon, Epochs):
        return math.ceil(horizon.epochs * rows / batch_rows)
    if isinstance(horizon, Tokens):
        return math.ceil(horizon.tokens / (batch_rows * context_length))
    return horizon.steps


@dataclass(frozen=True)
class Scratch:
    """Start from random weights drawn from the seed."""

    kind: Literal["scratch"] = "scratch"
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA


@dataclass(frozen=True)
class HuggingFace:
    """Start from a local Hugging Face directory; its files enter the identity by content."""

    path: str = required("Directory with config.json and safetensors weights.")
    kind: Literal["huggingface"] = "huggingface"
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA


@dataclass(frozen=True)
class FromCheckpoint:
    """Start from the final weights of an earlier run under the same root."""

    ref: str = required("`pretrain@<12 digits>` or `finetune@<12 digits>`.")
    kind: Literal["checkpoint"] = "checkpoint"
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA


@dataclass(frozen=True)
class Registered:
    """Start from a registered model: what the alias points to when a run first asks, then always.

    The flow finds its checkpoint or Hugging Face directory and keeps that in `root/resolved`.
    """

    name: str = required("Name of the registered model.")
    alias: str = setting("champion", "Alias of the version.")
    kind: Literal["registered"] = "registered"
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA


AnyStart = Scratch | HuggingFace | FromCheckpoint | Registered


@dataclass(frozen=True)
class PretrainConfig:
    """Next-token training on token shards; the optimiser holds the peak learning rate."""

    model: AnyModel | None = setting(
        None,
        "Architecture; the vocabulary is the tokenizer's. null: that of `start`.",
        discriminator="kind",
    )
    size: Literal["auto"] | None = setting(
        None, "auto: model, horizon, batch, optimiser and schedule follow from `budget`."
    )
    budget: Minutes | Tokens | None = setting(
        None, "What `size: auto` may spend: {minutes: n} or {tokens: n}."
    )
    context_length: int = setting(256, "Positions per row.", ge=8, le=1 << 20)
    batch_rows: int = setting(16, _ROWS, ge=1, le=1 << 20)
    micro_batch_rows: int | None = setting(None, _MICRO, ge=1)
    batching: AnyBatching = setting(
        CutWindows(), "How documents become rows, and sources by weight.", discriminator="kind"
    )
    horizon: Tokens | Steps | Epochs = setting(
        Tokens(2_000_000), "{tokens: n}, {steps: n} or {epochs: n}."
    )
    optimizer: AnyOptimizer = setting(AdamWConfig(), "Optimiser.", discriminator="kind")
    schedule: AnySchedule = setting(
        CosineSchedule(), "Course of the learning rate.", discriminator="kind"
    )
    objective: AnyObjective | None = setting(
        None,
        "What is predicted: the next token, or masked ones. null: what the architecture is for.",
        discriminator="kind",
    )
    grad_clip: float | None = setting(1.0, _CLIP, gt=0.0)
    z_loss: float = setting(0.0, _Z_LOSS, ge=0.0, le=1.0)
    dropout: float = setting(0.0, _DROPOUT, ge=0.0, lt=1.0)
    recompute_blocks: bool = setting(False, _RECOMPUTE)
    average: WeightAverage | None = setting(
        None, "Keeps a running average of the weights beside them; null: none."
    )
    seed: int = setting(0, "Draws the weights and the order of the samples.", ge=0, lt=1 << 63)
    dtype: Dtype = setting("auto", _DTYPE)
    validation_every: int = setting(100, "Steps between validations.", ge=1)
    validation_tokens: int = setting(65_536, "Positions of the fixed validation sample.", ge=1)
    keep: Literal["best", "last"] = setting("last", _KEEP)
    max_skipped_in_row: int = setting(10, _SKIPPED, ge=1)
    spikes: SpikeRule | None = setting(
        None, "Skips steps whose loss leaps far above the last ones; null: none."
    )
    prompts: tuple[str, ...] = setting((), "Texts continued before, during and after training.")
    sample_tokens: int = setting(48, "Tokens per sample.", ge=1, le=4096)
    start: AnyStart = setting(Scratch(), "Where the weights come from.", discriminator="kind")
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)
        if self.size is not None or self.budget is not None:
            _check_auto(self)
            return
        _check_micro_batch(self)
        if self.keep == "best" and self.average is not None and self.average.keep == "average":
            raise ValueError(
                "keep: best and average.keep: average both name the final weights; set keep: last, "
                "or average.keep: last"
            )
        if self.model is None and isinstance(self.start, Scratch):
            raise ValueError(
                "model is missing; name an architecture, size: auto, or another start than scratch"
            )


@dataclass(frozen=True)
class FinetuneConfig:
    """Training on prompt and answer; only the answer and its eos are trained."""

    context_length: int | None = setting(
        None, "Positions per row; null: the base model's.", ge=8, le=1 << 20
    )
    long_examples: Literal["drop", "truncate_prompt_left", "error"] = setting(
        "drop", "What happens to an example longer than the context."
    )
    train_on: Literal["all", "last"] = setting(
        "all", "Which turns of the assistant are trained in a conversation."
    )
    packing: bool = setting(True, "Several examples per row, isolated from each other.")
    batch_rows: int = setting(16, _ROWS, ge=1, le=1 << 20)
    micro_batch_rows: int | None = setting(None, _MICRO, ge=1)
    horizon: Epochs | Steps | Tokens = setting(
        Epochs(2.0), "{epochs: n}, {steps: n} or {tokens: n}."
    )
    optimizer: AnyOptimizer = setting(
        AdamWConfig(learning_rate=3e-4), "Optimiser.", discriminator="kind"
    )
    schedule: AnySchedule = setting(
        CosineSchedule(), "Course of the learning rate.", discriminator="kind"
    )
    grad_clip: float | None = setting(1.0, _CLIP, gt=0.0)
    most_diverse: int | None = setting(
        None,
        "Train on the k examples that cover most (k-centre greedy on the base model's embeddings "
        "of the prompts); null: on all.",
        ge=1,
    )
    replay: float = setting(
        0.0,
        "Share of the trained tokens that is pretraining text again, against forgetting; 0: none.",
        ge=0.0,
        lt=1.0,
    )
    lora: LoraConfig | None = setting(
        None, "Train a low-rank product beside the weights; null trains all weights."
    )
    embedding_noise: float = setting(
        0.0,
        "NEFTune: uniform noise of alpha / sqrt(length * width) on the embeddings; 5 is usual.",
        ge=0.0,
        le=100.0,
    )
    seed: int = setting(0, "Draws the order of the samples.", ge=0, lt=1 << 63)
    dtype: Dtype = setting("auto", _DTYPE)
    validation_every: int = setting(25, "Steps between validations.", ge=1)
    validation_tokens: int = setting(65_536, "Positions of the fixed validation sample.", ge=1)
    keep: Literal["best", "last"] = setting("best", _KEEP)
    patience: int | None = setting(
        5, "Validations without a new best that end the run; null: never.", ge=1
    )
    max_skipped_in_row: int = setting(10, _SKIPPED, ge=1)
    prompts: tuple[str, ...] = setting((), "Questions answered before, during and after training.")
    sample_tokens: int = setting(48, "Tokens per answer.", ge=1, le=4096)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)
        _check_micro_batch(self)


def _check_auto(config: PretrainConfig) -> None:
    """`size: auto` needs a budget, and decides what must not be set beside it."""
    if config.size is None or config.budget is None:
        given, missing = ("budget", "size: auto") if config.size is None else ("size", "budget")
        raise ValueError(
            f"{given} is set without {missing}; write size: auto with budget: {{minutes: 5}}"
        )
    if not isinstance(config.start, Scratch):
        raise ValueError("size: auto chooses a new model; leave start out, or name a horizon")
    if config.objective is not None and config.objective.attention != "causal":
        raise ValueError(
            f"size: auto chooses a decoder, objective.kind={config.objective.kind} needs "
            f"{config.objective.attention} attention; leave objective out, or choose model and "
            "horizon yourself"
        )
    if isinstance(config.budget, Tokens) and config.budget.tokens < FEWEST_TOKENS:
        raise ValueError(
            f"budget.tokens={config.budget.tokens} is too little to choose a size by; give at "
            f"least {FEWEST_TOKENS:,}, or choose model and horizon yourself"
        )
    for name in DECIDED_BY_SIZE:
        if getattr(config, name) != PretrainConfig.__dataclass_fields__[name].default:
            raise ValueError(f"{name} is chosen by size: auto; leave it out, or leave size out")


def _check_micro_batch(config: PretrainConfig | FinetuneConfig) -> None:
    micro = config.micro_batch_rows
    if micro is not None and micro > config.batch_rows:
        raise ValueError(
            f"micro_batch_rows={micro} exceeds batch_rows={config.batch_rows}; lower it"
        )
