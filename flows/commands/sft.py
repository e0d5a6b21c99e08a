"""`mill sft`: look at fine-tuning examples before they are trained on."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.text import Text

from flows.commands.store import existing_root
from pipeline.artifacts import (
    Artifact,
    Checkpoint,
    ExampleSet,
    TrainedTokenizer,
    find_artifact,
    finished_artifacts,
    parents_of,
)
from pipeline.conversations.example import Example, read_examples
from pipeline.conversations.formats import Limits, ReadReport, read_rows
from pipeline.conversations.template import TurnChoice
from pipeline.reports.preview import preview, preview_text, trained_turns
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.tokens.tokenizer import Tokenizer

NO_LIMIT = 1 << 30


def preview_examples(
    thing: str,
    *,
    tokenizer: str | None,
    split: str,
    count: int,
    train_on: TurnChoice | None,
    root: Path,
) -> None:
    """Print `count` examples of `thing` with the trained tokens coloured.

    Without `train_on` the turns are marked that the tuned model was trained on, else all answers.
    """
    is_file = Path(thing).expanduser().is_file()
    root = root if is_file and tokenizer and "@" not in tokenizer else existing_root(root)
    artifact = None if is_file else find_artifact(root, thing)
    source = None if artifact is None else _examples_of(artifact)
    if train_on is None:
        train_on = trained_turns(artifact if isinstance(artifact, Checkpoint) else None)
    vocabulary = _tokenizer(thing, tokenizer, root, is_file=is_file)
    console = Console()
    report = ReadReport()
    rows: Iterator[Example] = iter(())
    if source is None:
        limits = Limits(NO_LIMIT, NO_LIMIT)
        rows = read_rows(Path(thing).expanduser(), limits=limits, report=report)
    else:
        path = source.path / f"{split}.jsonl"
        if not path.is_file():
            raise ConfigError(f"--split={split} is none of {source.ref}; try train")
        rows = read_examples(path)
    shown = 0
    for example in islice(rows, count):
        console.print(preview_text(preview(example, vocabulary, train_on=train_on)))
        console.print()
        shown += 1
    for name, shape in report.shapes.items():
        console.print(Text(f"{name}: rows of the form {shape!r}", style="dim"))
    for bad in report.quarantined:
        console.print(Text(f"line {bad['position']} cannot be used: {bad['reason']}", style="red"))
    if not shown:
        raise ArtifactError(f"{thing} holds no example to show")


def _examples_of(artifact: Artifact) -> ExampleSet:
    if isinstance(artifact, ExampleSet):
        return artifact
    for parent in parents_of(artifact):
        if isinstance(parent, ExampleSet):
            return parent
    raise ArtifactError(
        f"{artifact.ref} has no examples; name examples@..., finetune@... or a data file"
    )


def _tokenizer(thing: str, reference: str | None, root: Path, *, is_file: bool) -> Tokenizer:
    """The one that is named, else the one the tuned model was made with, else the newest."""
    if reference is not None:
        found = find_artifact(root, reference)
    else:
        parents = [] if is_file else parents_of(find_artifact(root, thing))
        candidates = [a for a in parents if isinstance(a, TrainedTokenizer)]
        candidates = candidates or [
            a for a in finished_artifacts(root) if isinstance(a, TrainedTokenizer)
        ]
        if not candidates:
            raise ArtifactError(f"{root} holds no tokenizer; name one with --tokenizer")
        found = max(candidates, key=lambda a: (a.path / "manifest.json").stat().st_mtime_ns)
    if not isinstance(found, TrainedTokenizer):
        raise ArtifactError(f"{found.ref} is no tokenizer; name a tokenizer@... artifact")
    return Tokenizer.load(found.path)
