"""`mill show DOCUMENT`: its journey, who learned from it, and how it is left out from now on."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from pipeline.artifacts import CleanedCorpus, finished_artifacts
from pipeline.store.errors import DataError


@dataclass(frozen=True)
class Removal:
    """A document shall not be trained on any more."""

    reason: str = ""
    list_path: Path | None = None
    """None: the list in the root."""


def show_document(console: Console, doc_id: str, root: Path, removal: Removal | None) -> None:
    """Where a document went, in every cleaned corpus under the root, and every model that saw it.

    DataError for an id that no corpus ever read.
    """
    from pipeline.reports.journey import find_journey, learned_from, render_journey  # pyarrow
    from pipeline.reports.learners import learners_of

    corpora = [a for a in finished_artifacts(root) if isinstance(a, CleanedCorpus)]
    found = False
    saw: dict[str, None] = {}
    for corpus in corpora:
        journey = find_journey(corpus, doc_id)
        if journey is None:
            continue
        found = True
        learners = learners_of(root, corpus)
        console.print(render_journey(journey, learners))
        saw |= {one.reference: None for one in learned_from(journey, learners)}
    if not found:
        raise DataError(
            f"{doc_id!r} is no artifact, run or model, and no document of the {len(corpora)} "
            f"cleaned corpora under {root}"
        )
    if removal is not None:
        _remove(console, doc_id, root, removal, tuple(saw))


def _remove(
    console: Console, doc_id: str, root: Path, removal: Removal, saw: tuple[str, ...]
) -> None:
    from pipeline.corpus.exclusions import FILE_NAME, add_exclusion  # pyarrow

    named = str(removal.list_path) if removal.list_path is not None else None
    path = add_exclusion(root, doc_id, reason=removal.reason, named=named)
    place = removal.list_path or root / FILE_NAME
    state = "was listed already in" if path is None else "is listed in"
    console.print(f"{doc_id} {state} {place}", highlight=False, markup=False, soft_wrap=True)
    how = "the next run" if named is None else f"a run with clean.exclusions={named}"
    console.print(
        f"{how} trains without it; the {len(saw)} models named above keep what they learned: "
        "replace them by that run and `mill store gc` what is left"
    )
    if any((root / "journal").glob("nights-*.jsonl")):
        console.print(
            "nights train the champion further and draw from text it has seen: start them anew "
            "(another registry.name) where the champion itself has to forget",
            style="yellow",
        )
