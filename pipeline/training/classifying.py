"""Settings of training a classifier, and the encoder that it starts from.

Frozen stdlib dataclasses like those in config.py: everything here is identity.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from model.architectures import BertConfig
from model.optim import AdamWConfig, AnyOptimizer
from model.schedule import AnySchedule, LinearSchedule
from model.settings import FORBID_EXTRA, check, setting
from pipeline.artifacts import Checkpoint, TrainedTokenizer
from pipeline.store.errors import ConfigError
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.training.config import (
    Dtype,
    Epochs,
    FromCheckpoint,
    HuggingFace,
    PretrainConfig,
    Scratch,
    Steps,
)
from pipeline.training.start import Start, resolve_start, stored_architecture


@dataclass(frozen=True)
class ClassifyConfig:
    """Training of an encoder with a new head for classes; Devlin et al. 2018, appendix A.3."""

    start: Scratch | HuggingFace | FromCheckpoint | None = setting(
        None,
        "Encoder to start from; null: the one of this run. scratch: its shape, drawn weights.",
        discriminator="kind",
    )
    context_length: int | None = setting(
        None, "Most tokens of a text; null: the encoder's.", ge=8, le=1 << 20
    )
    packing: bool = setting(True, "Several examples per row, isolated from each other.")
    batch_rows: int = setting(8, "Rows of one optimiser step, over all devices.", ge=1, le=1 << 20)
    micro_batch_rows: int | None = setting(
        None, "Rows computed at once on a device; null takes the whole batch.", ge=1
    )
    horizon: Epochs | Steps = setting(Epochs(3.0), "{epochs: n} or {steps: n}.")
    optimizer: AnyOptimizer = setting(
        AdamWConfig(learning_rate=3e-4), "Optimiser.", discriminator="kind"
    )
    schedule: AnySchedule = setting(
        LinearSchedule(), "Course of the learning rate.", discriminator="kind"
    )
    grad_clip: float | None = setting(
        1.0, "Largest gradient norm; null measures it without clipping.", gt=0.0
    )
    dropout: float = setting(
        0.1, "Share of the activations that a training step drops.", ge=0.0, lt=1.0
    )
    seed: int = setting(0, "Draws the head and the order of the samples.", ge=0, lt=1 << 63)
    dtype: Dtype = setting("auto", "Type of matrix products; auto: bfloat16 where native.")
    validation_every: int = setting(25, "Steps between validations.", ge=1)
    validation_tokens: int = setting(65_536, "Positions of the fixed validation sample.", ge=1)
    keep: Literal["best", "last"] = setting(
        "best", "Final weights: those of the lowest validation loss, or of the last step."
    )
    patience: int | None = setting(
        None, "Validations without a new best that end the run; null: never.", ge=1
    )
    max_skipped_in_row: int = setting(
        10, "Steps in a row with a non-finite loss or gradient that end the run.", ge=1
    )
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)
        micro = self.micro_batch_rows
        if micro is not None and micro > self.batch_rows:
            raise ValueError(
                f"micro_batch_rows={micro} exceeds batch_rows={self.batch_rows}; lower it"
            )


def starting_encoder(
    config: ClassifyConfig, base: Checkpoint, tokenizer: TrainedTokenizer, *, root: Path
) -> tuple[BertConfig, Start]:
    """The encoder's shape and where its weights lie; ConfigError for what is no encoder of ours."""
    own = Start(
        stored_architecture(base), str(base.weights_path.parent), "ours",
        {"kind": "checkpoint"}, (base.key,),
    )  # fmt: skip
    if isinstance(config.start, HuggingFace | FromCheckpoint):
        asked = PretrainConfig(start=config.start, context_length=8)
        try:
            found = resolve_start(asked, vocabulary=Tokenizer.load(tokenizer.path), root=root)
        except ConfigError as error:
            message = str(error).replace("pretrain.start", "classify.*.training.start")
            raise ConfigError(message) from error
    elif isinstance(config.start, Scratch):
        # The encoder's shape decides, not its weights: they are no input.
        found = Start(own.model, None, "ours", {"kind": "scratch"}, ())
    elif tokenizer.ref in base.manifest.inputs:
        found = own
    else:
        raise ConfigError(
            f"{base.ref} was not trained with {tokenizer.ref}; use the tokenizer of the encoder"
        )
    if not isinstance(found.model, BertConfig):
        raise ConfigError(
            f"classification needs an encoder (model.kind bert), {base.ref} starts from "
            f"{found.model.kind}; train one with pretrain.model: {{kind: bert, ...}}"
        )
    limit = found.model.context_length
    if config.context_length is not None and config.context_length > limit:
        raise ConfigError(
            f"classify.*.training.context_length={config.context_length} exceeds the encoder's "
            f"{limit}; lower it"
        )
    return found.model, found
