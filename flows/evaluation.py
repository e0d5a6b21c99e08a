"""Evaluation alone: score the models a configuration has already trained."""

from typing import Any

from prefect import flow

from flows import show
from flows.executing import execute
from flows.language_model import graph
from flows.logs import quiet_user_errors
from flows.run import current_call
from flows.settings import Preset, Settings, resolve


@flow(name="evaluation", persist_result=False, on_failure=[show.failed], on_crashed=[show.failed])
def evaluation(
    preset: Preset = "pydocs",
    settings: Settings = Settings(),  # noqa: B008 - frozen, and Prefect builds its form from it
    config: dict[str, Any] | None = None,
) -> None:
    """Evaluate base and tuned model on the frozen set; refuses if they are not trained yet.

    Args:
        preset: A file in flows/configs that everything starts from.
        settings: Knobs over the preset; empty fields keep the preset's value.
        config: A full configuration as JSON, for experts; replaces both.
    """
    quiet_user_errors()
    call = current_call(show.LoggedDisplay)
    execute(
        resolve(preset, settings, config), graph, name="evaluation", display=call.display,
        orchestrated=True, only="evaluate",
    )  # fmt: skip
