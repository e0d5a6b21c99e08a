"""Fine-tuning alone: the base champion is tuned on the pairs, evaluated and gated.

    champion of NAME-base -> examples -> tuned -> report -> NAME, if it is better

Started by hand, or by the event `model.registered` when a night brought a new base champion.
"""

from dataclasses import asdict, dataclass
from typing import TypeVar

from prefect import flow
from prefect.states import Completed, State

from flows import show
from flows.beginning import begin
from flows.executing import execute
from flows.knobs import WholeConfig
from flows.nights import Nights, seek_frozen
from flows.run import Call, Run
from flows.settings import FineTuneSettings, Preset, resolve
from flows.stages import evaluate, export_model, finetune, prepare_examples, register
from pipeline.artifacts import (
    Checkpoint,
    CleanedCorpus,
    EvalReport,
    EvalSet,
    ExampleSet,
    ExportedModel,
    TokenShards,
    TrainedTokenizer,
    parents_of,
)
from pipeline.config import RunConfig
from pipeline.reports.report import RunFacts
from pipeline.stages.register import Registration
from pipeline.store.errors import ArtifactError
from pipeline.tracking.champions import champion_checkpoint

Noun = TypeVar("Noun")


@dataclass(frozen=True)
class Tuning:
    """What fine-tuning made, beside what it started from."""

    eval_set: EvalSet
    corpus: CleanedCorpus
    tokenizer: TrainedTokenizer
    shards: TokenShards
    examples: ExampleSet
    base: Checkpoint
    tuned: Checkpoint
    base_report: EvalReport
    tuned_report: EvalReport
    model: ExportedModel
    version: Registration


def graph(run: Run) -> Tuning:
    """Base champion in, tuned candidate out; both are measured, the base for what it forgets."""
    c = run.config
    name = c.registry.name
    base = champion_checkpoint(run.root, f"{name}-base", tracking=c.tracking)
    eval_set = seek_frozen(run.root, c.eval_set.name)
    if base is None or eval_set is None:
        what = f"champion of {name}-base" if base is None else f"eval set {c.eval_set.name!r}"
        raise ArtifactError(
            f"there is no {what} under {run.root} yet; run language-model or continue-training "
            "with this preset first"
        )
    tokenizer = _parent(base, TrainedTokenizer)
    shards = _parent(base, TokenShards)
    corpus = _first_corpus(run, shards)
    examples = prepare_examples(run, c.tuning[0], eval_set, corpus)
    tuned = finetune(run, c.tuning[1], base, examples, tokenizer, shards)
    base_report = evaluate(run, c.evaluate, base, tokenizer, eval_set, examples, label="base")
    tuned_report = evaluate(run, c.evaluate, tuned, tokenizer, eval_set, examples, label="tuned")
    model = export_model(run, c.export, tuned, tokenizer, tuned_report, label="tuned")
    version = register(run, c.registry, model, tuned_report, eval_set, label="tuned")
    return Tuning(
        eval_set, corpus, tokenizer, shards, examples, base, tuned, base_report, tuned_report,
        model, version,
    )  # fmt: skip


def _parent(child: Checkpoint, kind: type[Noun]) -> Noun:
    for parent in parents_of(child):
        if isinstance(parent, kind):
            return parent
    raise ArtifactError(
        f"{child.ref} was made from {', '.join(child.manifest.inputs)}; its {kind.__name__} is "
        f"not under {child.root}"
    )


def _first_corpus(run: Run, shards: TokenShards) -> CleanedCorpus:
    """Where the questions are from: the first night's, so that every night is asked the same."""
    links = Nights(run.root, run.config.registry.name).links()
    if links:
        return links[0].corpus
    for parent in parents_of(shards):
        if isinstance(parent, CleanedCorpus):
            return parent
    raise ArtifactError(f"the corpus of {shards.ref} is not under {run.root}; bring it back")


def report(run: Run, made: Tuning) -> None:
    """Write the report and show its short form where the run is watched."""
    facts = RunFacts(
        run_id=run.run_id, name="fine-tuning",
        eval_set=made.eval_set, corpus=made.corpus, tokenizer=made.tokenizer, shards=made.shards,
        examples=made.examples, base=made.base, tuned=made.tuned,
        base_eval=made.base_report, tuned_eval=made.tuned_report, tuned_hf=made.model,
        registrations=[asdict(made.version)], stages=[asdict(record) for record in run.records],
    )  # fmt: skip
    show.finish(run, facts)


@flow(name="fine-tuning", persist_result=False, on_failure=[show.failed], on_crashed=[show.failed])
def fine_tuning(
    preset: Preset = "nightly",
    settings: FineTuneSettings = FineTuneSettings(),  # noqa: B008 - frozen, and Prefect builds its form from it
    config: WholeConfig = None,
) -> State[None]:
    """Tune the base champion on prompt/answer pairs; the gate decides whether it answers.

    Args:
        preset: Where to start: tiny (a toy, a minute or two), pydocs (the documentation of this
            Python, some six minutes on two cores), zh (your Chinese text), nightly (your files in
            incoming/). Files in flows/configs.
        settings: Knobs over the preset; empty fields keep the preset's value.
        config: A full configuration as JSON, for experts; replaces both.
    """
    call = begin(show.LoggedDisplay)
    made = run_tuning(resolve(preset, settings, config), call, orchestrated=True)
    return Completed(message=made.version.summary if made is not None else None)


def run_tuning(config: RunConfig, call: Call, *, orchestrated: bool) -> Tuning | None:
    """Fine-tuning, with Prefect around the stages or without."""
    return execute(
        config, graph, name="fine-tuning", call=call, orchestrated=orchestrated,
        foretold=False, finish=report,
    )  # fmt: skip
