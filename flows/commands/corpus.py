"""`mill corpus rejudge` and `mill corpus report`: look into a corpus, try other limits."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.commands.store import existing_root
from pipeline.artifacts import CleanedCorpus, find_artifact, finished_artifacts
from pipeline.config import CorpusConfig, explain, load_corpus
from pipeline.corpus.accounts import Amount
from pipeline.corpus.filters.base import Step
from pipeline.corpus.filters.judging import labels_of
from pipeline.corpus.measured import KEPT, steps_of
from pipeline.corpus.rejudging import Change, Rejudged, compare, labelled_overrides, written
from pipeline.corpus.steps import AnyStep, expanded
from pipeline.reports.blocks import visible
from pipeline.reports.corpus_report import write_corpus_report
from pipeline.reports.numbers import count, signed, size
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.fingerprint import plain
from pipeline.store.settings_file import apply_override


class _Clean(BaseModel):
    steps: tuple[AnyStep, ...]


class _Settings(BaseModel):
    """As much of a RunConfig as errors are explained by."""

    clean: _Clean


SETTINGS = (".yaml", ".yml")
DEFAULT_ROOT = Path("runs")
_MAX_GROUPS = 15


def rejudge_corpus(target: str, overrides: Sequence[str], *, examples: int, root: Path) -> None:
    """Print what other thresholds would do to a corpus, from its stored measures alone.

    `target` is a settings file or a corpus. ConfigError for what was never measured.
    """
    console = Console(highlight=False)
    if Path(target).suffix in SETTINGS:
        corpus, after = _of_settings(Path(target), overrides, root)
    else:
        corpus = _corpus(target, root)
        after = _overridden(steps_of(corpus), overrides)
    before = steps_of(corpus)
    console.print(f"[bold]{corpus.ref}[/bold]  judged again by its stored measures")
    if before == after:
        console.print("The steps are those it was cleaned with; change one, for example:")
        console.print(_steps_table(before))
        return
    found = compare(corpus, before, after, examples=examples)
    _print(console, found)


def _corpus(reference: str, root: Path) -> CleanedCorpus:
    artifact = find_artifact(existing_root(root) if "@" in reference else root, reference)
    if not isinstance(artifact, CleanedCorpus):
        raise ArtifactError(f"{artifact.ref} is no cleaned corpus; name a clean@... artifact")
    return artifact


def _of_settings(
    path: Path, overrides: Sequence[str], root: Path
) -> tuple[CleanedCorpus, tuple[Step, ...]]:
    """The newest corpus of these settings, and the steps that the overrides make of them."""
    by_label = [text for text in overrides if _names_a_step(text)]
    asked = load_corpus(path)
    config = load_corpus(path, [text for text in overrides if text not in by_label])
    corpus = _newest(path, asked, existing_root(_root_of(config, root)))
    return corpus, _overridden(expanded(config.clean.steps), by_label)


def _names_a_step(override: str) -> bool:
    """`clean.steps.length.min_words=9`: a step by its label, not by its number."""
    keys = override.partition("=")[0].split(".")
    return keys[:2] == ["clean", "steps"] and len(keys) > 3 and not keys[2].isdigit()


def _root_of(config: CorpusConfig, root: Path) -> Path:
    """The root of the settings, unless `--root` says otherwise."""
    return Path(config.root) if root == DEFAULT_ROOT else root


def _newest(path: Path, config: CorpusConfig, root: Path) -> CleanedCorpus:
    corpora = [a for a in finished_artifacts(root) if isinstance(a, CleanedCorpus)]
    same = [c for c in corpora if c.manifest.config == plain(config.clean.identity())]
    names = {source.name for source in config.clean.sources}
    alike = [c for c in corpora if set(c.facts.get("by_source", {})) == names]
    if not same and not alike:
        raise ArtifactError(
            f"{root} holds no corpus of {path} ({len(corpora)} of other sources); build one with "
            f"`mill corpus clean {path}`, or name a corpus"
        )
    return max(same or alike, key=lambda c: str(c.manifest.provenance.get("ended", "")))


def _overridden(steps: Sequence[Step], overrides: Sequence[str]) -> tuple[Step, ...]:
    """The plain steps with overrides applied, checked like those of a settings file."""
    if not overrides:
        return tuple(steps)
    settings = {"clean": {"steps": written(steps)}}
    for override in labelled_overrides(steps, overrides):
        if not override.startswith("clean.steps."):
            raise ConfigError(f"{override!r} is no override of a step; write clean.steps.N.x=y")
        apply_override(settings, override)
    try:
        return expanded(_Settings.model_validate(settings).clean.steps)
    except ValidationError as error:
        raise ConfigError(explain(error, where="the corpus with these overrides")) from error


def _steps_table(steps: Sequence[Step]) -> Table:
    table = _table("override", "now")
    for number, (step, label) in enumerate(zip(steps, labels_of(steps), strict=True)):
        for name, value in step.model_dump(mode="json", exclude={"kind"}).items():
            if value not in ([], None):
                told = f"clean.steps.{label}.{name}={value}"
                table.add_row(_plain(told), f"step {number}")
    return table


def _print(console: Console, found: Rejudged) -> None:
    before, after = found.kept.before, found.kept.after
    console.print(
        f"{count(found.judged.documents)} judged documents: {_told(before)} kept before, "
        f"[bold]{_told(after)}[/bold] after\n"
    )
    console.print(_rules(found))
    for title, groups in (("source", found.by_source), ("language", found.by_language)):
        console.print()
        console.print(_groups(title, groups))
    _print_moved(console, found)
    console.print(
        "\nDocuments that come back have not been compared for duplicates and held-out text; run "
        "clean with these steps to have that done."
    )


def _rules(found: Rejudged) -> Table:
    table = _table("turned away first by", "documents", "after", "change", "text", "after", right=5)
    changed = sorted(found.rules.items(), key=lambda item: (-_difference(item[1]), item[0]))
    for name, change in changed:
        b, a = change.before, change.after
        difference = a.documents - b.documents
        table.add_row(
            _plain(name), count(b.documents), count(a.documents),
            signed(difference, 0) if difference else "", size(b.bytes), size(a.bytes),
            style="" if difference else "dim",
        )  # fmt: skip
    return table


def _difference(change: Change) -> int:
    return abs(change.after.documents - change.before.documents)


def _groups(title: str, groups: dict[str, Change]) -> Table:
    table = _table(title, "kept before", "after", "change", "text", "after", right=5)
    ranked = sorted(groups.items(), key=lambda item: (-item[1].before.bytes, item[0]))
    for name, change in ranked[:_MAX_GROUPS]:
        b, a = change.before, change.after
        difference = a.documents - b.documents
        share = f" ({signed(100 * difference / b.documents, 1)} %)" if b.documents else ""
        table.add_row(
            _plain(name), count(b.documents), count(a.documents),
            signed(difference, 0) + share if difference else "", size(b.bytes), size(a.bytes),
        )  # fmt: skip
    if len(ranked) > _MAX_GROUPS:
        table.add_row(f"and {len(ranked) - _MAX_GROUPS} more", "", "", "", "", "", style="dim")
    return table


def _print_moved(console: Console, found: Rejudged) -> None:
    console.print(
        f"\n{_told(found.returned)} come back, {_told(found.lost)} are lost, "
        f"{_told(found.other_reason)} go for another reason"
    )
    if not found.examples:
        return
    table = _table("for example", "source", "language", "text", "before", "after")
    for moved in found.examples:
        table.add_row(
            _plain(moved.doc_id), _plain(moved.source), _plain(moved.language), size(moved.bytes),
            _plain(moved.before or "kept"), _plain(moved.after or "kept"),
            style="green" if moved.after == KEPT else "red",
        )  # fmt: skip
    console.print(table)


def _table(*columns: str, right: int = 0) -> Table:
    """A plain table; the last `right` columns are numbers."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, name in enumerate(columns):
        numbers = number >= len(columns) - right
        table.add_column(
            name, justify="right" if numbers else "left", no_wrap=numbers, overflow="fold"
        )
    return table


def _plain(text: str) -> Text:
    """Data, never markup."""
    return Text(visible(text))


def _told(amount: Amount) -> str:
    return f"{count(amount.documents)} documents ({size(amount.bytes)})"


def report_corpus(reference: str, *, root: Path) -> None:
    """Write the report of a corpus and print where it is; `reference` as for `rejudge`."""
    if Path(reference).suffix in SETTINGS:
        config = load_corpus(Path(reference))
        corpus = _newest(Path(reference), config, existing_root(_root_of(config, root)))
    else:
        corpus = _corpus(reference, root)
    print(write_corpus_report(corpus, corpus.root))
