"""`mill sft`: look at fine-tuning examples before they are trained on."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
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
from pipeline.conversations.formats import Limits, Reading, ReadReport, Shape, read_rows
from pipeline.conversations.own_pairs import HuggingFacePairs
from pipeline.conversations.template import TurnChoice
from pipeline.reports.preview import preview, preview_text, trained_turns
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.tokens.tokenizer import Tokenizer

NO_LIMIT = 1 << 30
BAD_SHOWN = 5  # unusable rows that are named one by one
SAVED_DATASET = ("state.json", "dataset_dict.json")  # what `save_to_disk` leaves


def preview_examples(
    thing: str,
    *,
    tokenizer: str | None,
    split: str,
    count: int,
    train_on: TurnChoice | None,
    shape: Shape | None = None,
    ignored_keys: Sequence[str] = (),
    root: Path,
) -> None:
    """Print `count` examples of `thing` with the trained tokens coloured.

    `shape` and `ignored_keys` say how the rows of a file are to be read. Without `train_on` the
    turns are marked that the tuned model was trained on, else all answers.
    """
    files = _data_files(thing, split, root)
    is_file = bool(files)
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
        reading = Reading(shape=shape, ignored_keys=frozenset(ignored_keys))
        rows = chain.from_iterable(
            read_rows(file, limits=limits, report=report, reading=reading) for file in files
        )
    else:
        path = source.path / f"{split}.jsonl"
        if not path.is_file():
            raise ConfigError(f"--split={split} is none of {source.ref}; try train")
        rows = read_examples(path)
    shown = 0
    coloured = console.is_terminal and not console.no_color
    for example in islice(_once(rows), count):
        found = preview(example, vocabulary, train_on=train_on)
        console.print(preview_text(found, brackets=not coloured), soft_wrap=True)
        console.print()
        shown += 1
    for name, found_shape in report.shapes.items():
        console.print(Text(f"{name}: rows of the form {found_shape!r}", style="dim"))
    _show_quarantined(report, console)
    if not shown:
        raise ArtifactError(f"{thing} holds no example to show")


def _once(rows: Iterator[Example]) -> Iterator[Example]:
    """Without the repetitions of a file whose weight is above 1."""
    seen: set[Example] = set()
    for example in rows:
        if example not in seen:
            yield example
        seen.add(example)


def _show_quarantined(report: ReadReport, console: Console) -> None:
    """The first bad rows one by one, the others by reason: a wrong file is bad in every line."""
    for bad in report.quarantined[:BAD_SHOWN]:
        where = f"{bad['file']}:{bad['position']}"
        console.print(Text(f"{where} cannot be used: {bad['reason']}", style="red"), soft_wrap=True)
    more = ReadReport(quarantined=report.quarantined[BAD_SHOWN:])
    for reason, number in more.reasons().items():
        console.print(Text(f"and {number} more: {reason}", style="red"), soft_wrap=True)


def _data_files(thing: str, split: str, root: Path) -> list[Path]:
    """A file of the user's own, or those of a saved Hugging Face dataset; none for an artifact."""
    path = Path(thing).expanduser()
    if path.is_file():
        return [path]
    if any((path / name).is_file() for name in SAVED_DATASET):
        return HuggingFacePairs(dataset=str(path), split=split).files(root)
    if "@" not in thing and not (path / "manifest.json").is_file():
        raise ConfigError(
            f"{thing} is no data file, no saved dataset and no artifact; name examples@..., "
            "finetune@..., or a .jsonl, .jsonl.gz, .parquet or .arrow file"
        )
    return []


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
