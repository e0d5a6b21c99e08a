"""One frozen tree of settings per run, read from one YAML file; only flows import it.

    root, runtime, tracking            where and how: never part of an artifact's identity
    eval_set, clean, ..., registry     one section per stage

Numbers are read as a person means them (`3e-4` is one), a duplicate or unknown key is an error.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.stages.blend_shards import ContinuationConfig
from pipeline.stages.clean_corpus import CleanConfig
from pipeline.stages.evaluate import EvaluateConfig
from pipeline.stages.evaluate_classes import ClassesEvaluationConfig
from pipeline.stages.evaluate_masked import MaskedEvaluationConfig
from pipeline.stages.evaluate_targets import TargetEvaluationConfig
from pipeline.stages.export_model import ExportConfig
from pipeline.stages.freeze_eval_set import EvalSetConfig
from pipeline.stages.measure_baselines import BaselinesConfig
from pipeline.stages.prepare_examples import ExamplesConfig
from pipeline.stages.prepare_labels import LabelsConfig
from pipeline.stages.register import RegistryConfig
from pipeline.stages.tokenize_corpus import TokenizeConfig
from pipeline.stages.train_tokenizer import TokenizerConfig
from pipeline.store.errors import ConfigError
from pipeline.store.files import NAME_PATTERN
from pipeline.store.runtime import Journal, Progress, Runtime
from pipeline.store.secrets import REMEDY, keys_with_credentials
from pipeline.store.settings_file import read_settings
from pipeline.tracking.config import TrackingConfig
from pipeline.training.classifying import ClassifyConfig
from pipeline.training.config import DECIDED_BY_SIZE, FinetuneConfig, PretrainConfig
from pipeline.wrong_settings import explained

EARLY = ("eval_set", "clean", "tokenizer", "tokenize")
"""The stages that need no section of a later one."""
TASK_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"


class RuntimeConfig(BaseModel):
    """Device, workers and cadence: they change speed and place, never a result's identity."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", title="Device", description="auto takes an NVIDIA GPU where there is one"
    )
    workers: Annotated[int, Field(ge=1, le=512)] | Literal["auto"] = Field(
        "auto", title="Worker processes", description="for reading, cleaning and tokenizing"
    )
    executor: Literal["local", "dask"] = Field(
        "local",
        title="Executor",
        description="who runs the workers: this machine, or a Dask cluster that sees the root at "
        "the same path (needs the package distributed)",
    )
    dask_scheduler: str | None = Field(
        None,
        pattern=r"^(tcp|tls|ws|wss)://",
        title="Dask scheduler",
        description="address of a running cluster; absent: a cluster of local processes",
    )
    compile: bool = Field(False, title="torch.compile", description="pays off in long runs only")
    threads: int | None = Field(None, ge=1, le=1024, title="Threads of torch")
    log_every_seconds: float = Field(1.0, ge=0.0, le=3600)
    checkpoint_every_seconds: float = Field(
        30.0,
        ge=0.0,
        le=86400,
        title="Seconds between checkpoints",
        description="0: after every step; spaced out where copying would stall training over 0.5 %",
    )
    checkpoints_kept: int = Field(
        2, ge=2, le=1000, title="Checkpoints kept", description="the newest of a run, and the best"
    )
    milestone_steps: int | None = Field(
        None,
        ge=1,
        title="Steps between milestones",
        description="every so many steps a checkpoint that stays until the run ends; null: none",
    )
    distribution: Literal["ddp", "fsdp"] = Field(
        "ddp",
        title="Several GPUs",
        description="ddp: the whole model on each; fsdp: a share of every parameter on each, for "
        "models that do not fit one",
    )
    verify: Literal["auto", "full", "sampled"] = Field(
        "auto", description="hash check on reuse: full up to 2 GB per artifact, sampled above"
    )
    lock_wait_seconds: float = Field(
        3600, ge=0, description="how long to wait for an artifact that another run is building"
    )
    price_per_hour: float | None = Field(
        None,
        ge=0,
        title="Price of this machine per hour",
        description="`mill plan` then shows money",
    )

    @model_validator(mode="after")
    def _scheduler_needs_dask(self) -> "RuntimeConfig":
        if self.dask_scheduler is not None and self.executor != "dask":
            raise ValueError("dask_scheduler is set, but executor is local; set executor: dask")
        return self

    def build(
        self, *, device: str, journal: Journal, progress: Progress, may_build: bool
    ) -> Runtime:
        """The Runtime of one stage, on the resolved `device`."""
        workers = (os.cpu_count() or 1) if self.workers == "auto" else self.workers
        return Runtime(
            device=device,
            workers=workers,
            executor_kind=self.executor,
            dask_scheduler=self.dask_scheduler,
            compile=self.compile,
            log_every_seconds=self.log_every_seconds,
            checkpoint_every_seconds=self.checkpoint_every_seconds,
            checkpoints_kept=self.checkpoints_kept,
            milestone_steps=self.milestone_steps,
            distribution=self.distribution,
            verify=self.verify,
            lock_wait_seconds=self.lock_wait_seconds,
            may_build=may_build,
            threads=self.threads,
            journal=journal,
            progress=progress,
        )


class ClassifySection(BaseModel):
    """One task of classification: its labels, how they are learnt, how the outcome is measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: LabelsConfig = Field(
        LabelsConfig(), title="Labels", description="where they come from, and which count"
    )
    training: ClassifyConfig = Field(
        ClassifyConfig(), title="Training", description="of the encoder with a new head"
    )
    evaluation: ClassesEvaluationConfig = Field(
        ClassesEvaluationConfig(), title="Evaluation", description="on the held-out split"
    )


class CorpusConfig(BaseModel):
    """As much of a run's settings as cleaning needs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: str = Field("runs", title="Root", description="where artifacts and stores live")
    runtime: RuntimeConfig = RuntimeConfig()
    tracking: TrackingConfig = TrackingConfig()
    eval_set: EvalSetConfig = EvalSetConfig()
    clean: CleanConfig


class RunConfig(CorpusConfig):
    """Everything one run of the graph needs."""

    tokenizer: TokenizerConfig
    tokenize: TokenizeConfig = TokenizeConfig()
    examples: ExamplesConfig | None = None
    pretrain: PretrainConfig
    finetune: FinetuneConfig | None = None
    baselines: BaselinesConfig = BaselinesConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    evaluate_masked: MaskedEvaluationConfig = MaskedEvaluationConfig()
    evaluate_targets: TargetEvaluationConfig = TargetEvaluationConfig()
    export: ExportConfig = ExportConfig()
    classify: dict[Annotated[str, Field(pattern=TASK_NAME)], ClassifySection] = Field(
        {}, title="Classification",
        description="tasks by name, of a run that trains an encoder; registered as NAME-TASK",
    )  # fmt: skip
    registry: RegistryConfig
    continuation: ContinuationConfig = ContinuationConfig()

    @model_validator(mode="before")
    @classmethod
    def _exported_under_the_registered_name(cls, settings: Any) -> Any:
        """The name of the exported model is that of the registered one, unless it has its own."""
        if not isinstance(settings, dict) or not isinstance(settings.get("registry"), dict):
            return settings
        name, export = settings["registry"].get("name"), settings.get("export", {})
        if not isinstance(export, dict) or "name" in export:
            return settings
        if not (isinstance(name, str) and NAME_PATTERN.fullmatch(name)):
            return settings  # the registry says what is wrong with it
        return {**settings, "export": {**export, "name": name}}

    @model_validator(mode="after")
    def _licences_belong_to_sources(self) -> "RunConfig":
        sources = [source.name for source in self.clean.sources]
        unknown = sorted(set(self.export.source_licenses) - set(sources))
        if unknown:
            raise ValueError(
                f"export.source_licenses names {', '.join(unknown)}, clean.sources has "
                f"{', '.join(sources)}; licences stand under the names of the sources"
            )
        return self

    @model_validator(mode="after")
    def _encoders_are_not_tuned_on_answers(self) -> "RunConfig":
        missing = [name for name in ("examples", "finetune") if getattr(self, name) is None]
        wrong = None
        if self.classify and self.writes_targets:
            wrong = "classify needs an encoder alone, this run trains an encoder-decoder"
        elif self.classify and not self.trains_encoder:
            wrong = "classify needs an encoder; set pretrain.model.kind to bert, or leave it out"
        elif self.writes_targets and len(missing) == 1:
            wrong = (
                f"the section {missing[0]} is missing; an encoder-decoder is tuned on pairs with"
            )
            wrong += " both examples and finetune, or with neither only pretrained"
        elif self.trains_encoder and not self.writes_targets and len(missing) < 2:
            wrong = "an encoder fills masks and is not tuned on prompts and answers; leave the"
            wrong += " sections examples and finetune out"
        elif missing and not self.trains_encoder:
            wrong = (
                f"the section {missing[0]} is missing; a decoder is tuned on prompts and answers"
            )
        if wrong is not None:
            raise ValueError(wrong)
        return self

    @property
    def trains_encoder(self) -> bool:
        """Whether the run makes a model with an encoder: it says so by architecture or objective.

        Weights to start from may say neither; then the objective has to be named.
        """
        return bool(self._attention - {"causal"})

    @property
    def writes_targets(self) -> bool:
        """Whether it has a decoder beside the encoder."""
        return "encoder-decoder" in self._attention

    @property
    def _attention(self) -> set[str]:
        named = (self.pretrain.objective, self.pretrain.model)
        return {one.attention for one in named if one is not None}

    @property
    def tuning(self) -> tuple[ExamplesConfig, FinetuneConfig]:
        """The sections of a decoder's run; ConfigError in a run that trains an encoder."""
        if self.examples is None or self.finetune is None:
            raise ConfigError(
                "this run trains an encoder, which has no examples and no fine-tuning; use the "
                "settings of a decoder"
            )
        return self.examples, self.finetune


def validate(
    settings: Mapping[str, Any], *, where: str, overrides: Sequence[str] = ()
) -> RunConfig:
    """The RunConfig of `settings`; a ConfigError lists every wrong key with what is allowed.

    `overrides` are those of the command line that are in `settings` already.
    """
    _refuse_credentials(settings, where=where)
    try:
        return RunConfig.model_validate(_with_room_for_size(settings, overrides))
    except ValidationError as error:
        raise ConfigError(explain(error, where=where)) from error


def validate_until_tokenize(
    settings: Mapping[str, Any], *, where: str, only: str, overrides: Sequence[str] = ()
) -> tuple[RunConfig, str | None]:
    """For `--only` one of EARLY: settings whose later sections are absent or wrong will do.

    Returns what is wrong with those beside the RunConfig, None where nothing is. In their places it
    has the simplest that validate; no stage up to `tokenize` reads them.
    """
    try:
        return validate(settings, where=where, overrides=overrides), None
    except ConfigError as error:
        early = CorpusConfig.model_fields.keys() | {"tokenizer", "tokenize"}
        known = {key: value for key, value in settings.items() if key in early}
        if only in ("eval_set", "clean"):  # which need no tokenizer either
            known = {**known, "tokenizer": {"kind": "trained"}, "tokenize": {}}
        later = {"pretrain": {"model": {"kind": "bert"}}, "registry": {"name": "corpus"}}
        config = validate({**known, **later}, where=where, overrides=overrides)
        return config, str(error)


def load(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read, override and validate a configuration file."""
    return validate(read_settings(path, overrides), where=str(path), overrides=overrides)


def _with_room_for_size(settings: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`pretrain.size=auto` on the command line takes the file's model, horizon... out of the way.

    A file that sets both is refused, and so is another override beside it.
    """
    named = [override.partition("=")[0] for override in overrides]
    section = settings.get("pretrain")
    if "pretrain.size" not in named or not isinstance(section, dict):
        return dict(settings)
    if section.get("size") != "auto":
        return dict(settings)
    kept = {
        name: value
        for name, value in section.items()
        if name not in DECIDED_BY_SIZE
        or any(f"{given}.".startswith(f"pretrain.{name}.") for given in named)
    }
    return {**settings, "pretrain": kept}


def load_corpus(path: Path, overrides: Sequence[str] = ()) -> CorpusConfig:
    """The same of a file that may end with `clean`; later sections are not looked at."""
    later = RunConfig.model_fields.keys() - CorpusConfig.model_fields.keys()
    settings = read_settings(path, overrides)
    _refuse_credentials(settings, where=str(path))
    try:
        return CorpusConfig.model_validate({k: v for k, v in settings.items() if k not in later})
    except ValidationError as error:
        raise ConfigError(explain(error, where=str(path))) from error


def _refuse_credentials(settings: Mapping[str, Any], *, where: str) -> None:
    """ConfigError that names the keys, never their values."""
    found = list(keys_with_credentials(settings))
    if found:
        raise ConfigError(f"{where}: {', '.join(found)} holds credentials; {REMEDY}")


def explain(error: ValidationError, *, where: str) -> str:
    """One line per problem: the key, the value, what is wrong, and the nearest known key."""
    return explained(error, RunConfig, where=where)
