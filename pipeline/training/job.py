"""One training run as a JSON file: everything resolved, nothing left to decide.

A stage writes it; `train(job, ...)` runs it in this process, or `python -m pipeline.training
JOB.json` in another, alone or one process per device.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from model.architectures import AnyTrained
from model.averaging import WeightAverage
from model.lora import LoraConfig
from model.objectives import CausalLM, TrainedObjective
from model.optim import AnyOptimizer
from model.schedule import AnySchedule
from model.settings import FORBID_EXTRA, check, settings_from_dict, settings_to_dict
from pipeline.store.errors import ArtifactError
from pipeline.store.files import read_json, write_json
from pipeline.tokens.batching import AnyBatching, CutWindows
from pipeline.training.devices import Distribution, ResolvedDtype
from pipeline.training.spikes import SpikeRule


@dataclass(frozen=True)
class TrainingJob:
    """Paths, resolved settings and cadences of one run."""

    directory: str
    """The artifact's directory; `checkpoints/` in it is where a killed run goes on."""
    digest: str
    """Fingerprint of the artifact: a checkpoint of another one is refused."""
    tokenizer: str
    """Directory of the tokenizer artifact, for samples."""
    data: Literal["windows", "rows", "labels"]
    """Rows over token shards as `batching` says, or prepared ones: with masks (fine-tuning),
    or with classes for targets."""
    train_paths: tuple[str, ...]
    validation_paths: tuple[str, ...]
    """Empty: no validation."""
    model: AnyTrained
    weights: str | None
    """Directory of `model.safetensors` to start from; None draws them from the seed."""
    weights_kind: Literal["ours", "huggingface"]
    context_length: int
    batch_rows: int
    micro_batch_rows: int
    steps: int
    optimizer: AnyOptimizer
    schedule: AnySchedule
    grad_clip: float | None
    seed: int
    dtype: ResolvedDtype
    validation_every: int
    validation_tokens: int
    keep: Literal["best", "last"]
    patience: int | None
    max_skipped_in_row: int
    prompts: tuple[str, ...]
    sample_tokens: int
    answer_prompts: bool
    """Prompts are questions: a bos opens the answer, as in the fine-tuning rows."""
    prompt_ids: tuple[tuple[int, ...], ...] = ()
    """What each prompt is asked with; empty: the prompts' own ids and bos."""
    lora: LoraConfig | None = None
    embedding_noise: float = 0.0
    objective: TrainedObjective = CausalLM()
    z_loss: float = 0.0
    dropout: float = 0.0
    recompute_blocks: bool = False
    average: WeightAverage | None = None
    spikes: SpikeRule | None = None
    batching: AnyBatching = CutWindows()
    device: str = "cpu"
    compile: bool = False
    threads: int | None = None
    log_every_seconds: float = 1.0
    checkpoint_every_seconds: float = 30.0
    checkpoints_kept: int = 2
    milestone_steps: int | None = None
    """Every so many steps a checkpoint is written that stays until the run ends; None: none."""
    distribution: Distribution = "ddp"
    journal: str | None = None
    """Where a process of its own appends its journal; None keeps none."""
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)

    @property
    def path(self) -> Path:
        """The artifact's directory."""
        return Path(self.directory)

    @property
    def tokens_per_step(self) -> int:
        """Positions of one global batch."""
        return self.batch_rows * self.context_length

    @property
    def flops_per_token(self) -> int:
        """Of the model, with the head on the share of the positions that the objective predicts."""
        return self.model.flops_per_token(predicted_share=self.objective.predicted_share)


def write_job(path: Path, job: TrainingJob) -> None:
    """Write the job file atomically."""
    write_json(path, settings_to_dict(job))


def read_job(path: Path) -> TrainingJob:
    """Read a job file; ArtifactError names what is missing or of the wrong type."""
    try:
        job: TrainingJob = settings_from_dict((TrainingJob,), read_json(path))
    except (TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{path} is not a training job: {error}; run the stage again"
        ) from error
    return job
