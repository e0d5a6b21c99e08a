"""The corpus alone: documents to cleaned text, a tokenizer and token shards."""

from typing import Any

from prefect import flow

from flows import show
from flows.executing import execute
from flows.logs import quiet_user_errors
from flows.run import Run, current_call
from flows.settings import Preset, Settings, resolve
from flows.stages import clean_corpus, freeze_eval_set, tokenize_corpus, train_tokenizer
from pipeline.artifacts import TokenShards


def graph(run: Run) -> TokenShards:
    """The first four stages of the whole graph, with the same artifacts."""
    c = run.config
    eval_set = freeze_eval_set(run, c.eval_set, c.clean.sources)
    corpus = clean_corpus(run, c.clean, eval_set)
    tokenizer = train_tokenizer(run, c.tokenizer, corpus)
    return tokenize_corpus(run, c.tokenize, corpus, tokenizer)


@flow(name="corpus", persist_result=False, on_failure=[show.failed], on_crashed=[show.failed])
def corpus(
    preset: Preset = "pydocs",
    settings: Settings = Settings(),  # noqa: B008 - frozen, and Prefect builds its form from it
    config: dict[str, Any] | None = None,
) -> None:
    """Clean and tokenize; what a later training run reuses.

    Args:
        preset: A file in flows/configs that everything starts from.
        settings: Knobs over the preset; empty fields keep the preset's value.
        config: A full configuration as JSON, for experts; replaces both.
    """
    quiet_user_errors()
    call = current_call(show.LoggedDisplay)
    execute(
        resolve(preset, settings, config), graph, name="corpus", display=call.display,
        orchestrated=True,
    )  # fmt: skip
