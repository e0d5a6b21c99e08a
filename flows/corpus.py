"""The corpus alone: documents to cleaned text, a tokenizer and token shards."""

from prefect import flow

from flows import show
from flows.beginning import begin
from flows.continue_training import grow
from flows.executing import execute
from flows.knobs import WholeConfig
from flows.nights import Nights
from flows.run import Call, Run
from flows.settings import CorpusSettings, Preset, resolve
from flows.stages import clean_corpus, freeze_eval_set, tokenize_corpus, train_tokenizer
from pipeline.artifacts import TokenShards
from pipeline.config import RunConfig


def graph(run: Run) -> TokenShards:
    """The first four stages of the whole graph, with the same artifacts."""
    c = run.config
    eval_set = freeze_eval_set(run, c.eval_set, c.clean.sources)
    corpus = clean_corpus(run, c.clean, eval_set)
    tokenizer = train_tokenizer(run, c.tokenizer, corpus)
    return tokenize_corpus(run, c.tokenize, corpus, tokenizer)


def only_new(run: Run) -> None:
    """What arrived since the last time joins the chain that the nights train on."""
    grown = grow(run, Nights(run.root, run.config.registry.name))
    run.display.line(
        f"  {grown.new_files} new files, {grown.new_documents} documents of them stay; the chain "
        f"has {len(grown.links)} corpora",
        style="bold",
    )


@flow(name="corpus", persist_result=False, on_failure=[show.failed], on_crashed=[show.failed])
def corpus(
    preset: Preset = "pydocs",
    settings: CorpusSettings = CorpusSettings(),  # noqa: B008 - frozen, and Prefect builds its form from it
    config: WholeConfig = None,
) -> None:
    """Clean and tokenize; what a later training run reuses.

    Args:
        preset: Where to start: tiny (a toy, a minute or two), pydocs (the documentation of this
            Python, some six minutes on two cores), zh (your Chinese text), nightly (your files in
            incoming/). Files in flows/configs.
        settings: Knobs over the preset; empty fields keep the preset's value.
        config: A full configuration as JSON, for experts; replaces both.
    """
    call = begin(show.LoggedDisplay)
    resolved = resolve(preset, settings, config)
    run_corpus(resolved, call, orchestrated=True, new_files_only=bool(settings.only_new))


def run_corpus(
    config: RunConfig, call: Call, *, orchestrated: bool, new_files_only: bool = False
) -> object:
    """The graph, with Prefect around the stages or without."""
    return execute(
        config, only_new if new_files_only else graph, name="corpus", call=call,
        orchestrated=orchestrated, foretold=not new_files_only,
    )  # fmt: skip
