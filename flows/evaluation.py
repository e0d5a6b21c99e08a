"""Evaluation alone: score the models a configuration has already trained, and ask the gate."""

from prefect import flow

from flows import encoder, encoder_decoder, show
from flows.beginning import begin
from flows.executing import execute
from flows.knobs import WholeConfig
from flows.language_model import graph, report
from flows.settings import Preset, Settings, resolve

BUILT_HERE = frozenset({"baselines", "evaluate", "export", "registry"})


@flow(name="evaluation", persist_result=False, on_failure=[show.failed], on_crashed=[show.failed])
def evaluation(
    preset: Preset = "pydocs",
    settings: Settings = Settings(),  # noqa: B008 - frozen, and Prefect builds its form from it
    config: WholeConfig = None,
) -> None:
    """Evaluate and gate what a preset has trained; refuses if it is not trained yet.

    Args:
        preset: Where to start: tiny (a toy, a minute or two), pydocs (the documentation of this
            Python, some six minutes on two cores), zh (your Chinese text), nightly (your files in
            incoming/). Files in flows/configs.
        settings: Knobs over the preset; empty fields keep the preset's value.
        config: A full configuration as JSON, for experts; replaces both.
    """
    call = begin(show.LoggedDisplay)
    resolved = resolve(preset, settings, config)
    if resolved.writes_targets:
        execute(
            resolved, encoder_decoder.graph, name="evaluation", call=call, orchestrated=True,
            may_build=BUILT_HERE, finish=encoder_decoder.report,
        )  # fmt: skip
        return
    if resolved.trains_encoder:
        execute(
            resolved, encoder.graph, name="evaluation", call=call, orchestrated=True,
            may_build=BUILT_HERE, finish=encoder.report,
        )  # fmt: skip
        return
    execute(
        resolved, graph, name="evaluation", call=call, orchestrated=True, may_build=BUILT_HERE,
        finish=report,
    )  # fmt: skip
