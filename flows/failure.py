"""What a run that ended early says: stage, artifact, last good checkpoint, how to go on.

    in stage pretrain, pretrain@96d9a56f1d43, last good checkpoint step 30; finished stages are
    kept, go on with: mill run small.yaml

The sentence travels with the error as its note: the terminal prints it below the error, Prefect
shows it in the state of the run and in its log.
"""

from pathlib import Path

from prefect.client.schemas.objects import FlowRun

from flows.run import Run
from pipeline.artifacts import DIRECTORIES
from pipeline.store.errors import ArtifactError
from pipeline.training.checkpoint import verify_folder


class RunFailed(RuntimeError):
    """A run under Prefect ended early; its text, which becomes the state's message, says where.

    The error itself is its `__cause__`.
    """


def describe(run: Run, title: str) -> str:
    """Where `run` stands now that its stage `title` ended early."""
    words = [f"in stage {title}"]
    if run.building is not None:
        words.append(run.building)
        checkpoint = last_good_checkpoint(run.root, run.building)
        if checkpoint is not None:
            words.append(checkpoint)
    go_on = f", go on with: {run.command}" if run.command else ", the same command goes on here"
    return f"{', '.join(words)}; finished stages are kept{go_on}"


def last_good_checkpoint(root: Path, reference: str) -> str | None:
    """`last good checkpoint step N` of `pretrain@...`, whole; None for other stages."""
    stage, _, digits = reference.partition("@")
    if stage not in ("pretrain", "finetune", "classify"):
        return None
    home = root / DIRECTORIES[stage] / digits / "checkpoints"
    found = [folder for folder in home.glob("step-*") if ".tmp-" not in folder.name]
    for folder in sorted(found, key=lambda path: path.name, reverse=True):
        try:
            verify_folder(folder)
        except (ArtifactError, OSError):
            continue
        return f"last good checkpoint step {int(folder.name.removeprefix('step-'))}"
    return "no checkpoint yet"


def note(error: BaseException, run: Run, title: str) -> None:
    """Add the sentence to `error`, once."""
    if not notes_of(error):
        error.add_note(describe(run, title))


def retry_command(flow_run: FlowRun) -> str:
    """What goes on with a run of a deployment."""
    return f"prefect flow-run retry {flow_run.id}"


def notes_of(error: BaseException | None) -> list[str]:
    """What was added to an error on its way up."""
    return list(getattr(error, "__notes__", ()))


def explained(error: Exception) -> Exception:
    """`error` itself, or with its sentence in its text if it ended inside a stage."""
    notes = notes_of(error)
    if not notes:
        return error
    return RunFailed(f"{type(error).__name__}: {error} ({'; '.join(notes)})")
