"""The options of `mill evaluate`.

Heavy packages are imported inside the command: `mill --help` must answer at once.
"""

from pathlib import Path
from typing import Annotated

import typer


def evaluate_command(
    model: Annotated[
        str,
        typer.Argument(help="pretrain@fp, a Hugging Face directory, models:/NAME@alias"),
    ],
    data: Annotated[
        str,
        typer.Argument(help="JSONL, text or Parquet: a file, glob, folder; or an eval set's name"),
    ],
    against: Annotated[
        str | None, typer.Option(help="A second model, compared on the same documents.")
    ] = None,
    tasks: Annotated[
        Path | None, typer.Option(help="JSONL of questions; see docs/evaluation.md.")
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="JSONL of sentences that differ in the group named.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for evaluation.json, evaluation.html and figures.")
    ] = Path("evaluation"),
    training: Annotated[
        str | None,
        typer.Option(
            help="Files it was trained on, for memorisation and contamination; default: what a "
            "checkpoint names; none: leave both out."
        ),
    ] = None,
    shots: Annotated[
        str, typer.Option(help="Solved examples before a task's question, one round each.")
    ] = "0,1,5",
    stride: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens a window moves on; default: half the model's context."),
    ] = None,
    documents: Annotated[
        int | None, typer.Option(min=1, help="Score at most so many documents, drawn by hash.")
    ] = None,
    text_field: Annotated[str, typer.Option(help="The field of a row that holds text.")] = "text",
    draws: Annotated[int, typer.Option(min=100, max=100_000, help="Of the bootstrap.")] = 1_000,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    uri: Annotated[
        str | None,
        typer.Option(help="An MLflow tracking server for models:/; default: where the root says."),
    ] = None,
    root: Annotated[
        Path, typer.Option("--root", help="Where artifacts and stores live.", show_default=True)
    ] = Path("runs"),
) -> None:
    """Measure a model on any text: bits per byte, calibration, memory, tasks, gaps; a report."""
    from flows.commands.evaluate import EvaluationRequest, evaluate_model
    from pipeline.evals.measuring import MeasureOptions

    evaluate_model(
        EvaluationRequest(
            model, data, against, tasks, pairs, training, text_field, documents, device, uri
        ),
        MeasureOptions(stride=stride, draws=draws, seed=seed, shots=shot_counts(shots)),
        out=out, root=root,
    )  # fmt: skip


def shot_counts(text: str) -> tuple[int, ...]:
    """`0,1,5` as numbers, each once; BadParameter for anything else."""
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        counts = [-1]
    if counts[0] < 0 or counts[-1] > 64:
        raise typer.BadParameter(f"{text!r} is no list such as 0,1,5 (0 to 64)", param_hint="shots")
    return tuple(counts)
