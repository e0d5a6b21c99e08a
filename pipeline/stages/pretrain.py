"""Token shards -> a base checkpoint: next-token training, resumable at any moment.

pretrain/<fp>/  final/model.safetensors  final/model.json  curve.jsonl  samples.jsonl  facts.json
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.architectures import AnyModel
from model.objectives import AnyObjective, CausalLM, objective_for
from pipeline.artifacts import Checkpoint, TokenShards, TrainedTokenizer
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import ConfigError
from pipeline.store.fingerprint import plain, short
from pipeline.store.runtime import Runtime
from pipeline.tokens.batches import WindowBatches
from pipeline.tokens.batching import CutWindows
from pipeline.tokens.documents import DocumentRows
from pipeline.tokens.shards import shard_paths
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.training.build import train_artifact
from pipeline.training.config import Epochs, PretrainConfig, num_steps
from pipeline.training.devices import resolve_dtype
from pipeline.training.job import TrainingJob
from pipeline.training.objective import build_objective
from pipeline.training.sizing import SizePlan, compared, resolve_size
from pipeline.training.start import Start, resolve_start

VERSION = 1
BYTES_PER_TOKEN = 4.0  # where shards of an earlier version do not tell
MAX_EPOCHS = (
    4  # repeated data is nearly as good as new up to here: Muennighoff et al. 2023, figure 1
)


def pretrain(
    config: PretrainConfig,
    shards: TokenShards,
    tokenizer: TrainedTokenizer,
    *,
    root: Path,
    runtime: Runtime,
) -> Checkpoint:
    """Train a language model on `shards`; ConfigError when they or the tokenizer do not fit."""
    vocabulary = Tokenizer.load(tokenizer.path)
    _check_shards(config, shards, vocabulary)
    inputs = [shards.key, tokenizer.key]
    config, plan = resolve_size(
        config,
        vocab_size=vocabulary.vocab_size,
        unique_tokens=shards.num_tokens,
        bytes_per_token=float(shards.facts.get("bytes_per_token", BYTES_PER_TOKEN)),
        inputs=inputs,
        root=root,
        runtime=runtime,
    )
    start = resolve_start(config, vocabulary=vocabulary, root=root)
    objective = _objective(config, start.model, vocabulary)
    _warn_of_the_cap(start.model, runtime)
    settings = _identity(config, start, objective)
    inputs += start.inputs
    dtype = resolve_dtype(
        config.dtype,
        identity=["pretrain", settings, inputs],
        root=root,
        device=runtime.device,
        remember=runtime.may_build,
    )
    key = artifact_key("pretrain", VERSION, {**settings, "dtype": dtype}, inputs)
    directory = root / "pretrain" / short(key.fingerprint)

    def work(_directory: Path) -> Outcome:
        job = _job(config, start, objective, shards, tokenizer, directory, runtime)
        job = replace(job, digest=key.fingerprint, dtype=dtype)
        return _trained(job, start, shards, runtime, plan)

    build(key, directory, work, root=root, runtime=runtime, resume=True)
    return Checkpoint(directory, key.fingerprint)


def _trained(
    job: TrainingJob, start: Start, shards: TokenShards, runtime: Runtime, plan: SizePlan | None
) -> Outcome:
    """The outcome, beside its prediction where the size was chosen from a budget."""
    outcome = train_artifact(job, runtime, _facts(job, start, shards, runtime))
    _warn_of_divergence(job, outcome, runtime)
    if plan is None:
        return outcome
    beside = compared(plan, outcome.facts)
    runtime.progress.event("predicted", {
        **beside, "validation_loss": outcome.facts.get("final_validation_loss"),
        "tokens_per_second": outcome.facts.get("tokens_per_second"),
    })  # fmt: skip
    return replace(outcome, facts={**outcome.facts, **beside})


def _num_steps(config: PretrainConfig, shards: TokenShards) -> int:
    rows = shards.num_tokens / config.context_length
    if isinstance(config.horizon, Epochs) and config.batching != CutWindows():
        rows = _batches(config, shard_paths(shards, "train")).num_samples
    return num_steps(
        config.horizon, rows=rows, batch_rows=config.batch_rows,
        context_length=config.context_length,
    )  # fmt: skip


def _objective(config: PretrainConfig, model: AnyModel, vocabulary: Tokenizer) -> AnyObjective:
    """What is predicted; ConfigError where the architecture or the tokenizer cannot."""
    objective = config.objective or objective_for(model.attention)
    if objective.attention != model.attention:
        raise ConfigError(
            f"pretrain.objective.kind={objective.kind} needs {objective.attention} attention, "
            f"pretrain.model.kind={model.kind} has {model.attention}; leave objective out, or "
            "choose another architecture"
        )
    build_objective(objective, vocabulary, length=config.context_length)
    return objective


def _identity(config: PretrainConfig, start: Start, objective: AnyObjective) -> dict[str, Any]:
    """The settings that change the weights.

    Choices that were not there once are left out where they are not made: old runs keep their
    identity. Blocks computed again give the same bits.
    """
    settings = {**plain(config), "start": start.identity, "model": plain(start.model)}
    settings["objective"] = plain(objective)
    del settings["recompute_blocks"]
    for name, unmade in (
        ("batching", plain(CutWindows())), ("objective", plain(CausalLM())), ("z_loss", 0.0),
        ("dropout", 0.0), ("keep", "last"), ("average", None), ("size", None), ("budget", None),
        ("spikes", None),
    ):  # fmt: skip
        if settings[name] == unmade:
            del settings[name]
    if start.model.logit_softcap is None:
        settings["model"].pop("logit_softcap", None)
    if settings["model"].get("activation") == "gelu_tanh":
        del settings["model"]["activation"]
    return settings


def _warn_of_the_cap(model: AnyModel, runtime: Runtime) -> None:
    if model.logit_softcap is not None:
        message = (
            f"pretrain.model.logit_softcap={model.logit_softcap}: the model can be trained, "
            "evaluated and asked here, but not exported, as no family of transformers that we "
            "write has a cap; leave it out to export"
        )
        runtime.progress.event("warning", {"message": message})


def _warn_of_divergence(job: TrainingJob, outcome: Outcome, runtime: Runtime) -> None:
    """A run can end with finite losses and a model that knows less than one of drawn weights."""
    facts, uniform = outcome.facts, math.log(job.model.vocab_size)
    loss = facts["final_validation_loss"] or facts["final_train_loss"]
    if loss is not None and loss > uniform:
        message = (
            f"pretrain ended at a loss of {loss:.3g}, above the {uniform:.3g} of a guess that "
            f"takes all {job.model.vocab_size} tokens for equally likely: training diverged; "
            "lower pretrain.optimizer.learning_rate, or set pretrain.grad_clip (1.0 is usual)"
        )
        runtime.progress.event("warning", {"message": message})


def _facts(job: TrainingJob, start: Start, shards: TokenShards, runtime: Runtime) -> dict[str, Any]:
    """What the stage knows of the run beside its outcome."""
    facts = _epoch_facts(job, shards, runtime)
    if start.new_ids:
        facts["new_ids"] = start.new_ids
        runtime.progress.event("vocabulary_grown", {"new_ids": start.new_ids})
    return facts


def _check_shards(config: PretrainConfig, shards: TokenShards, vocabulary: Tokenizer) -> None:
    limit = shards.num_tokens - 1
    if config.context_length > limit:
        raise ConfigError(
            f"pretrain.context_length={config.context_length} exceeds what the shards allow; their "
            f"{shards.num_tokens} training tokens allow {max(limit, 0)}; lower it or add text"
        )
    mixture, known = config.batching.mixture, shards.facts.get("sources", {})
    for source in mixture.sources if mixture is not None and known else ():
        if source not in known:
            raise ConfigError(
                f"pretrain.batching.mixture names the source {source!r}; the shards hold "
                f"{', '.join(sorted(known))}"
            )
    expected = shards.facts.get("tokenizer_sha256")
    if expected is not None and expected != vocabulary.sha256:
        raise ConfigError(
            f"{shards.ref} was written with the tokenizer {expected[:12]}, this one is "
            f"{vocabulary.sha256[:12]}; run tokenize again"
        )


def _epoch_facts(job: TrainingJob, shards: TokenShards, runtime: Runtime) -> dict[str, Any]:
    """How often the text is repeated, with a warning where repeating stops paying."""
    facts: dict[str, Any] = {"epochs": job.steps * job.tokens_per_step / shards.num_tokens}
    of_sources = {"": facts["epochs"]}
    if job.batching != CutWindows():
        facts, of_sources = _counted_epochs(job)
    for source, epochs in of_sources.items():
        if epochs > MAX_EPOCHS:
            what = f"the source {source}" if source else f"{shards.num_tokens} training tokens"
            message = (
                f"pretrain.horizon repeats {what} {epochs:.1f} times; "
                f"beyond {MAX_EPOCHS} epochs repeated text teaches little (Muennighoff et al. "
                "2023): add text, or shorten the horizon"
            )
            runtime.progress.event("warning", {"message": message})
    return facts


def _counted_epochs(job: TrainingJob) -> tuple[dict[str, Any], dict[str, float]]:
    """Epochs counted in rows, where padding or shares make the count of tokens mean nothing."""
    batches = _batches(job, [Path(path) for path in job.train_paths])
    by_source = batches.epochs(job.steps)
    facts: dict[str, Any] = {
        "rows": batches.num_samples,
        "epochs": job.steps * job.batch_rows / batches.num_samples,
    }
    if job.batching.mixture is not None:
        facts["epochs_by_source"] = by_source
    if isinstance(batches.samples, DocumentRows):
        facts["padding"] = batches.samples.padding
    return facts, by_source


def _batches(of: PretrainConfig | TrainingJob, paths: list[Path]) -> WindowBatches:
    """To count their rows."""
    return WindowBatches(
        paths,
        context_length=of.context_length,
        rows=of.batch_rows,
        seed=of.seed,
        batching=of.batching,
        verify="none",
    )


def _job(
    config: PretrainConfig,
    start: Start,
    objective: AnyObjective,
    shards: TokenShards,
    tokenizer: TrainedTokenizer,
    directory: Path,
    runtime: Runtime,
) -> TrainingJob:
    validation = (
        shard_paths(shards, "validation") if shards.facts.get("validation_tokens", 0) > 1 else []
    )
    return TrainingJob(
        directory=str(directory),
        digest="",
        tokenizer=str(tokenizer.path),
        data="windows",
        batching=config.batching,
        train_paths=tuple(map(str, shard_paths(shards, "train"))),
        validation_paths=tuple(map(str, validation)),
        model=start.model,
        weights=start.weights,
        weights_kind=start.weights_kind,
        context_length=config.context_length,
        batch_rows=config.batch_rows,
        micro_batch_rows=config.micro_batch_rows or config.batch_rows,
        steps=_num_steps(config, shards),
        optimizer=config.optimizer,
        schedule=config.schedule,
        objective=objective,
        z_loss=config.z_loss,
        dropout=config.dropout,
        recompute_blocks=config.recompute_blocks,
        average=config.average,
        spikes=config.spikes,
        grad_clip=config.grad_clip,
        seed=config.seed,
        dtype="float32",
        validation_every=config.validation_every,
        validation_tokens=config.validation_tokens,
        keep=config.keep,
        patience=None,
        max_skipped_in_row=config.max_skipped_in_row,
        prompts=config.prompts,
        sample_tokens=config.sample_tokens,
        answer_prompts=False,
        device=runtime.device,
        compile=runtime.compile,
        threads=runtime.threads,
        log_every_seconds=runtime.log_every_seconds,
        checkpoint_every_seconds=runtime.checkpoint_every_seconds,
        checkpoints_kept=runtime.checkpoints_kept,
        milestone_steps=runtime.milestone_steps,
        distribution=runtime.distribution,
    )
