"""One night: what arrived is cleaned, the champion is trained further on it, and the gate decides.

    new files -> cleaned against the chain -> tokens --.
                        old tokens, drawn -------------+-> blend -> champion trained on -> gate

Read `night` from top to bottom. Killed anywhere, the same call goes on; a night with nothing new
does nothing and says so.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from prefect import flow
from prefect.states import Completed, State

from flows import show
from flows.beginning import begin
from flows.executing import execute
from flows.knobs import WholeConfig
from flows.nights import Arrived, Link, Nights, arrived, seek_frozen
from flows.run import Call, Run
from flows.settings import NightSettings, Preset, resolve
from flows.stages import (
    blend_shards,
    clean_corpus,
    evaluate,
    export_model,
    freeze_eval_set,
    prepare_examples,
    pretrain,
    register,
    tokenize_corpus,
    train_tokenizer,
)
from pipeline.artifacts import (
    Checkpoint,
    EvalReport,
    EvalSet,
    ExampleSet,
    ExportedModel,
    TokenShards,
    TrainedTokenizer,
    seek_artifact,
)
from pipeline.config import RunConfig
from pipeline.corpus.sources import AnySource
from pipeline.reports.report import RunFacts
from pipeline.stages.register import Registration
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.fingerprint import digest, plain
from pipeline.store.runtime import Silent
from pipeline.tracking.champions import champion_checkpoint, shards_seen
from pipeline.training.config import FromCheckpoint, PretrainConfig, Tokens


@dataclass(frozen=True)
class Grown:
    """The chain after tonight's new files have joined it."""

    eval_set: EvalSet
    tokenizer: TrainedTokenizer
    links: tuple[Link, ...]
    new_files: int
    new_documents: int


@dataclass(frozen=True)
class Night:
    """What one night came to."""

    sentence: str
    trained: bool
    registration: Registration | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)
    """The artifacts, by their names in a report."""


def grow(run: Run, nights: Nights) -> Grown:
    """Clean and tokenize what arrived since the last time; the chain gets one corpus longer."""
    c = run.config
    runtime = c.runtime.build(
        device=run.device, journal=Silent(), progress=Silent(), may_build=True
    )
    with nights.held(runtime):
        links = nights.links()
        new = arrived(c.clean.sources, nights, root=run.root, runtime=runtime)
        for note in new.notes:
            run.display.line(f"    {note}", style="dim")
        for reference in nights.lost():
            text = f"    warning: {reference} of an earlier night is gone; its files are new again"
            run.display.line(text, style="yellow")
        if not links and not new.sources:
            raise ArtifactError(
                f"{nights.path} knows every file but no corpus; remove it to start the nights anew"
            )
        eval_set = freeze_eval_set(run, c.eval_set, _held_out_from(run, new))
        documents = 0
        if new.sources:
            known = tuple(str(link.corpus.path) for link in links)
            dedup = c.clean.dedup.model_copy(
                update={
                    "against": (*c.clean.dedup.against, *known),
                    "known_parts": "skip" if links else "refuse",
                }
            )
            clean = c.clean.model_copy(update={"sources": new.sources, "dedup": dedup})
            corpus = clean_corpus(run, clean, eval_set)
            documents = int(corpus.facts["documents_kept"])
            first = links[0].corpus if links else corpus
            tokenizer = train_tokenizer(run, c.tokenizer, first)
            shards = tokenize_corpus(run, c.tokenize, corpus, tokenizer) if documents else None
            link = Link(corpus, shards, len(new.files))
            nights.join(link, new.contents)
            links = (*links, link)
        else:
            tokenizer = train_tokenizer(run, c.tokenizer, links[0].corpus)
    _check_tokenizer(tokenizer, links, nights)
    return Grown(eval_set, tokenizer, links, len(new.files), documents)


def night(run: Run) -> Night:
    """The whole night, one line per stage."""
    c = run.config
    nights = Nights(run.root, c.registry.name)
    grown = grow(run, nights)
    champion = champion_checkpoint(run.root, f"{nights.name}-base", tracking=c.tracking)
    seen = shards_seen(champion) if champion is not None else frozenset()
    new = tuple(s for link in grown.links if (s := link.shards) is not None and s.ref not in seen)
    quiet = _why_not(run, grown, new, champion, nights)
    if quiet is not None:
        return _quiet_night(run, nights, grown, quiet)
    first = grown.links[0].corpus
    examples = prepare_examples(run, c.tuning[0], grown.eval_set, first)
    if champion is None and len(new) == 1:
        shards, base_config = new[0], c.pretrain
    else:
        old = tuple(_shards(run, reference) for reference in sorted(seen))
        shards = blend_shards(run, c.continuation, new, old, grown.tokenizer)
        base_config = c.pretrain if champion is None else continued(c, champion, shards)
    base = pretrain(run, base_config, shards, grown.tokenizer)
    report = evaluate(
        run, c.evaluate, base, grown.tokenizer, grown.eval_set, examples, label="base"
    )
    model = export_model(run, c.export, base, grown.tokenizer, report, label="base")
    version = register(run, c.registry, model, report, grown.eval_set, label="base")
    return _trained_night(
        run, nights, grown, champion, new, shards, examples, base, report, model, version
    )


def continued(c: RunConfig, champion: Checkpoint, shards: TokenShards) -> PretrainConfig:
    """The settings of training `champion` further on `shards`."""
    rates = {
        item.name: getattr(c.pretrain.optimizer, item.name) * c.continuation.learning_rate_factor
        for item in dataclasses.fields(c.pretrain.optimizer)
        if item.name.endswith("learning_rate")
    }
    return dataclasses.replace(
        c.pretrain,
        model=None,
        start=FromCheckpoint(champion.ref),
        horizon=Tokens(math.ceil(c.continuation.epochs * shards.num_tokens)),
        optimizer=dataclasses.replace(c.pretrain.optimizer, **rates),
        schedule=c.continuation.schedule,
    )


def _question(
    run: Run, new: tuple[TokenShards, ...], champion: Checkpoint | None, grown: Grown
) -> str:
    """What tonight asks of the machine: the same question has the same answer."""
    c = run.config
    settings = [c.continuation, c.pretrain, c.evaluate, c.export, c.registry]
    inputs = [*(s.key for s in new), champion.key if champion else "", grown.eval_set.key]
    return digest([[plain(one) for one in settings], inputs])


def _why_not(
    run: Run, grown: Grown, new: tuple[TokenShards, ...], champion: Checkpoint | None,
    nights: Nights,
) -> str | None:  # fmt: skip
    """Why there is nothing to train tonight; None if there is."""
    c = run.config
    tokens = sum(shards.num_tokens for shards in new)
    arrived_text = (
        f"{grown.new_files} new files, {grown.new_documents} documents of them stay "
        "(the others are known already or fail a filter)"
        if grown.new_files
        else "no new files"
    )
    if champion is not None and not new:
        return f"nothing new: {arrived_text}"
    least = max(c.continuation.min_new_tokens, c.pretrain.context_length + 1)
    if champion is not None and tokens < least:
        return f"too little new text: {tokens:,} tokens wait until there are {least:,}"
    question = _question(run, new, champion, grown)
    for end in nights.ends():
        if end.facts.get("question") == question and end.facts.get("trained"):
            when = f"{end.ended:%Y-%m-%d %H:%M} UTC"
            return f"nothing new since the candidate of {when}: {end.facts.get('verdict')}"
    return None


def _quiet_night(run: Run, nights: Nights, grown: Grown, reason: str) -> Night:
    run.display.line(f"  {reason}; no training tonight", style="bold")
    facts = {
        "run_id": run.run_id, "new_files": grown.new_files, "new_documents": grown.new_documents,
        "trained": False, "verdict": reason,
    }  # fmt: skip
    nights.end(facts)
    return Night(f"{reason}; no training tonight", False, facts=facts)


def _trained_night(
    run: Run, nights: Nights, grown: Grown, champion: Checkpoint | None,
    new: tuple[TokenShards, ...], shards: TokenShards, examples: ExampleSet, base: Checkpoint,
    report: EvalReport, model: ExportedModel, version: Registration,
) -> Night:  # fmt: skip
    verdict = ("promoted: " if version.promoted else "not promoted: ") + version.reason
    fed = [link for link in grown.links if link.shards in new]
    facts = {
        "run_id": run.run_id,
        "new_files": sum(link.files for link in fed),
        "new_documents": sum(int(link.corpus.facts["documents_kept"]) for link in fed),
        "trained": True,
        "question": _question(run, new, champion, grown),
        "verdict": verdict,
        "promoted": version.promoted,
        "version": version.version,
        "checkpoint": base.ref,
        "champion_before": champion.ref if champion is not None else None,
        "tokens": shards.num_tokens,
        "replayed_share": shards.facts.get("replayed_share", 0.0),
        "bits_per_byte": report.facts.get("bits_per_byte"),
    }
    nights.end(facts)
    made = {
        "eval_set": grown.eval_set, "corpus": grown.links[-1].corpus, "tokenizer": grown.tokenizer,
        "shards": shards, "examples": examples, "base": base, "base_eval": report,
        "base_hf": model,
    }  # fmt: skip
    return Night(f"{version.name}: {verdict}", True, version, facts, made)


def _held_out_from(run: Run, new: Arrived) -> Sequence[AnySource]:
    """The sources of the held-out text: those it was frozen from, at first those with input."""
    frozen = seek_frozen(run.root, run.config.eval_set.name)
    if frozen is None:
        return new.sources
    names = frozen.manifest.config.get("sources", [])
    return [s for s in run.config.clean.sources if s.name in names] or run.config.clean.sources


def _check_tokenizer(tokenizer: TrainedTokenizer, links: tuple[Link, ...], nights: Nights) -> None:
    """A model cannot change its tokenizer: what the chain was cut with is what it is cut with."""
    for link in links:
        if link.shards is not None and tokenizer.ref not in link.shards.manifest.inputs:
            raise ConfigError(
                f"the settings give {tokenizer.ref}, but the nights of {nights.name} were cut with "
                f"{', '.join(r for r in link.shards.manifest.inputs if 'tokenizer' in r)}; undo "
                "the change of `tokenizer`, or choose another registry.name and start anew"
            )


def _shards(run: Run, reference: str) -> TokenShards:
    found = seek_artifact(run.root, reference)
    if not isinstance(found, TokenShards):
        raise ArtifactError(
            f"{reference}, text the champion has seen, is not under {run.root}; bring it back, or "
            "set continuation.replay=0 and start anew under another registry.name"
        )
    return found


def report(run: Run, outcome: Night) -> None:
    """The night's report, and the story of all nights so far."""
    show.nights(run, Nights(run.root, run.config.registry.name).ends())
    if outcome.registration is None:
        return
    facts = RunFacts(
        run_id=run.run_id, name="continue-training",
        registrations=[asdict(outcome.registration)],
        stages=[asdict(record) for record in run.records], **outcome.made,
    )  # fmt: skip
    show.finish(run, facts)


@flow(
    name="continue-training", persist_result=False,
    on_failure=[show.failed], on_crashed=[show.failed],
)  # fmt: skip
def continue_training(
    preset: Preset = "nightly",
    settings: NightSettings = NightSettings(),  # noqa: B008 - frozen, and Prefect builds its form from it
    config: WholeConfig = None,
) -> State[None]:
    """Train the champion further on what arrived since the last night.

    Args:
        preset: Where to start: tiny (a toy, a minute or two), pydocs (the documentation of this
            Python, some six minutes on two cores), zh (your Chinese text), nightly (your files in
            incoming/). Files in flows/configs.
        settings: Knobs over the preset; empty fields keep the preset's value.
        config: A full configuration as JSON, for experts and the command line; replaces both.
    """
    call = begin(show.LoggedDisplay)
    outcome = run_night(resolve(preset, settings, config), call, orchestrated=True)
    return Completed(message=outcome.sentence if outcome is not None else None)


def run_night(config: RunConfig, call: Call, *, orchestrated: bool) -> Night | None:
    """One night, with Prefect around the stages or without."""
    return execute(
        config, night, name="continue-training", call=call, orchestrated=orchestrated,
        foretold=False, finish=report,
    )  # fmt: skip
