"""`mill plan`: the prediction as a table."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows import encoder, encoder_decoder, language_model
from flows.display import clock
from flows.plan import Prediction
from flows.planning import predict
from flows.root import prepare_root
from flows.run import Run
from pipeline.config import load


def show_plan(path: Path, overrides: Sequence[str]) -> None:
    """`mill plan`: print the table; ConfigError if the plan cannot be carried out."""
    config = load(path, overrides)
    graph: Callable[[Run], object] = language_model.graph
    if config.trains_encoder:
        graph = encoder_decoder.graph if config.writes_targets else encoder.graph
    prediction = predict(config, root=prepare_root(Path(config.root)), graph=graph)
    Console().print(plan_table(prediction))
    prediction.refuse_if_impossible()


def plan_table(prediction: Prediction) -> Table:
    """The plan as a table for the terminal."""
    money = prediction.money
    table = Table(title=None, caption=_caption(prediction, money), caption_justify="left")
    for name in ("stage", "action", "time", "memory", "disk"):
        table.add_column(name, justify="left" if name in ("stage", "action") else "right")
    table.add_column("")
    for row in prediction.rows:
        build = row.action == "build"
        table.add_row(
            row.title, row.action, f"~{clock(row.seconds)}" if build else "",
            f"{row.memory / 1e9:.1f} GB" if build else "",
            f"{row.disk / 1e6:,.0f} MB" if build else "",
            row.note, style=None if build else "dim",
        )  # fmt: skip
    return table


def _caption(prediction: Prediction, money: float | None) -> str:
    cost = "" if money is None else f", about {money:.2f} at the set price per hour"
    return (
        f"about {clock(prediction.seconds)} in all{cost}; machine: "
        f"{prediction.memory_available / 1e9:.0f} GB memory, "
        f"{prediction.disk_free / 1e9:.0f} GB disk free"
    )
