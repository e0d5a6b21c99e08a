"""The whole graph: raw text in, a registered language model out.

    documents -> eval set, corpus -> tokenizer -> shards -> base -> tuned -> reports -> registry

Read `graph` from top to bottom: one line per stage, `noun = verb(run, settings, inputs)`.
"""

from dataclasses import asdict, dataclass

from prefect import flow

from flows import show
from flows.beginning import begin
from flows.encoder import run_encoder
from flows.encoder_decoder import run_encoder_decoder
from flows.executing import execute
from flows.knobs import WholeConfig
from flows.run import Call, Run
from flows.settings import Preset, Settings, resolve
from flows.stages import (
    clean_corpus,
    evaluate,
    export_model,
    finetune,
    freeze_eval_set,
    measure_baselines,
    prepare_examples,
    pretrain,
    register,
    tokenize_corpus,
    train_tokenizer,
)
from pipeline.artifacts import (
    BaselineReport,
    Checkpoint,
    CleanedCorpus,
    EvalReport,
    EvalSet,
    ExampleSet,
    ExportedModel,
    TokenShards,
    TrainedTokenizer,
)
from pipeline.config import RunConfig
from pipeline.reports.report import RunFacts
from pipeline.stages.register import Registration


@dataclass(frozen=True)
class LanguageModel:
    """Everything the graph made."""

    eval_set: EvalSet
    corpus: CleanedCorpus
    tokenizer: TrainedTokenizer
    shards: TokenShards
    examples: ExampleSet
    base: Checkpoint
    tuned: Checkpoint
    baselines: BaselineReport
    base_report: EvalReport
    tuned_report: EvalReport
    base_model: ExportedModel
    tuned_model: ExportedModel
    base_version: Registration
    tuned_version: Registration


def graph(run: Run) -> LanguageModel:
    """The stages in order; Prefect is in it only if the run is orchestrated."""
    c = run.config
    c_examples, c_finetune = c.tuning
    eval_set = freeze_eval_set(run, c.eval_set, c.clean.sources)
    corpus = clean_corpus(run, c.clean, eval_set)
    tokenizer = train_tokenizer(run, c.tokenizer, corpus)
    shards = tokenize_corpus(run, c.tokenize, corpus, tokenizer)
    examples = prepare_examples(run, c_examples, eval_set, corpus)
    base = pretrain(run, c.pretrain, shards, tokenizer)
    tuned = finetune(run, c_finetune, base, examples, tokenizer, shards)
    baselines = measure_baselines(run, c.baselines, corpus, tokenizer, shards, eval_set, base)
    base_report = evaluate(run, c.evaluate, base, tokenizer, eval_set, examples, label="base")
    tuned_report = evaluate(run, c.evaluate, tuned, tokenizer, eval_set, examples, label="tuned")
    base_model = export_model(run, c.export, base, tokenizer, base_report, label="base")
    tuned_model = export_model(run, c.export, tuned, tokenizer, tuned_report, label="tuned")
    base_version = register(run, c.registry, base_model, base_report, eval_set, label="base")
    tuned_version = register(run, c.registry, tuned_model, tuned_report, eval_set, label="tuned")
    return LanguageModel(
        eval_set, corpus, tokenizer, shards, examples, base, tuned, baselines,
        base_report, tuned_report, base_model, tuned_model, base_version, tuned_version,
    )  # fmt: skip


def report(run: Run, made: LanguageModel) -> None:
    """Write the report and show its short form where the run is watched."""
    facts = RunFacts(
        run_id=run.run_id,
        eval_set=made.eval_set, corpus=made.corpus, tokenizer=made.tokenizer, shards=made.shards,
        examples=made.examples, base=made.base, tuned=made.tuned, baselines=made.baselines,
        base_eval=made.base_report, tuned_eval=made.tuned_report,
        base_hf=made.base_model, tuned_hf=made.tuned_model,
        registrations=[asdict(made.base_version), asdict(made.tuned_version)],
        stages=[asdict(record) for record in run.records],
        predictions=run.predictions,
    )  # fmt: skip
    show.finish(run, facts)


@flow(
    name="language-model", persist_result=False, on_failure=[show.failed], on_crashed=[show.failed]
)
def language_model(
    preset: Preset = "pydocs",
    settings: Settings = Settings(),  # noqa: B008 - frozen, and Prefect builds its form from it
    config: WholeConfig = None,
) -> None:
    """Turn text into a registered language model.

    Args:
        preset: Where to start: tiny (a toy, a minute or two), pydocs (the documentation of this
            Python, some six minutes on two cores), zh (your Chinese text), nightly (your files in
            incoming/). Files in flows/configs.
        settings: Knobs over the preset; empty fields keep the preset's value.
        config: A full configuration as JSON, for experts and the command line; replaces both.
    """
    call = begin(show.LoggedDisplay)
    run_language_model(resolve(preset, settings, config), call, orchestrated=True)


def run_language_model(
    config: RunConfig, call: Call, *, orchestrated: bool
) -> LanguageModel | None:
    """The graph and its report, with Prefect around the stages or without.

    None too for a run that trains an encoder or an encoder-decoder, whose graphs are shorter.
    """
    if config.writes_targets:
        run_encoder_decoder(config, call, orchestrated=orchestrated)
        return None
    if config.trains_encoder:
        run_encoder(config, call, orchestrated=orchestrated)
        return None
    return execute(
        config, graph, name="language-model", call=call, orchestrated=orchestrated, finish=report,
    )  # fmt: skip
