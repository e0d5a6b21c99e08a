"""Documents that must not be trained on, by id: a list in the root, or a file of the user's.

root/exclusions.jsonl     {"doc_id": "...", "source": null, "reason": "...", "added": "..."}
any other file            the same, or one id per line; # begins a comment

A listed document leaves the corpus with the reason `excluded`, and so does a document of this
corpus whose text equals one that is listed (`excluded_copy`): removing the one and keeping the
other would remove nothing. Documents that had left as copies of a listed one stay away.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.arrow_arrays import number_array
from pipeline.corpus.cleaned import CUT_SCHEMA, cuts_name, read_cuts, read_removed, removed_name
from pipeline.corpus.dedup.removal import EXACT_DUPLICATE, REMOVED_SCHEMA, write_table
from pipeline.corpus.dedup.signatures import SIGNATURES
from pipeline.corpus.document import open_documents
from pipeline.corpus.rejects import DOCUMENTS
from pipeline.store.errors import ConfigError
from pipeline.store.files import file_lock, read_json, write_json, write_text
from pipeline.store.fingerprint import digest
from pipeline.store.provenance import now

EXCLUDED = "excluded"
EXCLUDED_COPY = "excluded_copy"
FILE_NAME = "exclusions.jsonl"
LIST_NAME = "exclusions.json"
"""In a corpus: what was listed when it was made."""
LOCK_WAIT_SECONDS = 60.0


@dataclass(frozen=True, order=True)
class Exclusion:
    """One document, in every source or in one."""

    doc_id: str
    source: str = ""
    """Empty: whatever source it comes from."""


@dataclass(frozen=True)
class Exclusions:
    """A list of documents; its identity is what it lists, not where or in which order."""

    listed: tuple[Exclusion, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.listed)

    @property
    def key(self) -> str:
        """`exclusions@<sha256>`: how it enters the fingerprint of a corpus."""
        return f"exclusions@{digest([[one.doc_id, one.source] for one in self.listed])}"

    def rows(self, doc_ids: pa.ChunkedArray, sources: Sequence[str]) -> list[int]:
        """The rows, ascending, of the documents it lists."""
        by_id: dict[str, set[str]] = {}
        for one in self.listed:
            by_id.setdefault(one.doc_id, set()).add(one.source)
        named = pc.is_in(doc_ids, value_set=pa.array(sorted(by_id), doc_ids.type))
        ids = doc_ids.filter(named).to_pylist()
        places = pc.indices_nonzero(named).to_pylist()
        return [
            row
            for row, doc_id in zip(places, ids, strict=True)
            if by_id[doc_id] & {"", sources[row]}
        ]


def read_exclusions(root: Path, named: str | None = None) -> Exclusions:
    """The list at `named`, else the one in the root, else an empty one.

    ConfigError for a named file that is not there and for a line that is no exclusion.
    """
    path = Path(named).expanduser() if named is not None else root / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if named is None:
            return Exclusions()
        raise ConfigError(f"clean.exclusions={named} does not exist; write one id per line") from (
            error
        )
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the exclusions {path} cannot be read ({error})") from error
    lines = enumerate(text.split("\n"), start=1)
    found = {one for number, line in lines if (one := _parsed(line, f"{path}, line {number}"))}
    return Exclusions(tuple(sorted(found)))


def add_exclusion(
    root: Path, doc_id: str, *, source: str = "", reason: str = "", named: str | None = None
) -> Path | None:
    """Write one more document into the list; its path, or None where it stands there already."""
    path = Path(named).expanduser() if named is not None else root / FILE_NAME
    with file_lock(
        root / "locks" / "exclusions.lock", owner="mill show --remove",
        wait_seconds=LOCK_WAIT_SECONDS, waiting=lambda holder: None,
    ):  # fmt: skip
        there = read_exclusions(root, named) if path.exists() else Exclusions()
        if {Exclusion(doc_id), Exclusion(doc_id, source)} & set(there.listed):
            return None
        record = {"doc_id": doc_id, "source": source or None, "reason": reason, "added": now()}
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        before += "\n" if before and not before.endswith("\n") else ""
        write_text(path, before + json.dumps(record, ensure_ascii=False) + "\n")
    return path


def _parsed(line: str, where: str) -> Exclusion | None:
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    if not line.startswith("{"):
        return Exclusion(line)
    try:
        record = json.loads(line)
        doc_id, source = record["doc_id"], record.get("source") or ""
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{where}: {line!r:.120} is no exclusion ({error!r}); write an id, or "
                          '{"doc_id": "..."}') from error  # fmt: skip
    if not (isinstance(doc_id, str) and doc_id and isinstance(source, str)):
        raise ConfigError(f"{where}: doc_id and source must be text, not {line!r:.120}")
    return Exclusion(doc_id, source)


@dataclass(frozen=True)
class _Gone:
    """Rows of one part that leave, with the reason of each."""

    reasons: Mapping[int, str]
    already: int
    """Listed documents that had left for another reason."""


def exclude(
    exclusions: Exclusions, parts: Sequence[Path], sources: Sequence[str], directory: Path
) -> dict[str, Any]:
    """Add the listed documents to the removal lists in `directory`, one per part; the accounts.

    `parts` are cleaned parts, `sources` the source of each.
    """
    write_json(directory / LIST_NAME, [[one.doc_id, one.source] for one in exclusions.listed])
    copied = _copied(exclusions, parts, directory)
    counts: Counter[str] = Counter()
    for index, (part, source) in enumerate(zip(parts, sources, strict=True)):
        gone = _gone(exclusions, copied, part, source, read_removed(directory, index))
        counts.update(gone.reasons.values())
        counts["already"] += gone.already
        if gone.reasons:
            _write(directory, index, part, gone.reasons)
    return {
        "listed": len(exclusions.listed),
        "removed": counts[EXCLUDED],
        "copies_removed": counts[EXCLUDED_COPY],
        "gone_already": counts["already"],
    }


def _gone(
    exclusions: Exclusions, copied: frozenset[str], part: Path, source: str, removed: pa.Table
) -> _Gone:
    doc_ids = _doc_ids(part)
    left = set(removed.column("row").to_pylist())
    listed = exclusions.rows(doc_ids, [source] * len(doc_ids))
    reasons = {row: EXCLUDED for row in listed if row not in left}
    if copied:
        values = pa.array(sorted(copied), doc_ids.type)
        for row in pc.indices_nonzero(pc.is_in(doc_ids, value_set=values)).to_pylist():
            if row not in left:
                reasons.setdefault(row, EXCLUDED_COPY)
    return _Gone(dict(sorted(reasons.items())), sum(row in left for row in listed))


def _copied(exclusions: Exclusions, parts: Sequence[Path], directory: Path) -> frozenset[str]:
    """Ids of the documents that stayed for a listed one, which had left as their exact copy."""
    keepers: set[str] = set()
    for index in range(len(parts)):
        removed = read_removed(directory, index)
        copies = removed.filter(pc.equal(removed.column("reason"), EXACT_DUPLICATE))
        listed = {one.doc_id for one in exclusions.listed}
        for row in copies.select(["doc_id", "keeper"]).to_pylist():
            if row["doc_id"] in listed and row["keeper"]:
                keepers.add(row["keeper"])
    return frozenset(keepers)


def _write(directory: Path, index: int, part: Path, reasons: Mapping[int, str]) -> None:
    """The removal list with these rows too, and no cuts in documents that left."""
    rows = np.fromiter(reasons, np.int64, len(reasons))
    with open_documents(part / SIGNATURES) as reader:
        table = reader.read_all().select(["doc_id", "overlap", "covered", "bytes"])
    own = table.take(number_array(rows))
    nothing: list[Any] = [None] * len(rows)
    columns = {
        "row": number_array(rows), "doc_id": own.column("doc_id").combine_chunks(),
        "reason": list(reasons.values()),
        **{name: nothing for name in ("duplicate_of", "duplicate_in", "jaccard", "keeper")},
        **{n: own.column(n).combine_chunks() for n in ("overlap", "covered", "bytes")},
    }  # fmt: skip
    more = pa.table([columns[name] for name in REMOVED_SCHEMA.names], schema=REMOVED_SCHEMA)
    whole = pa.concat_tables([read_removed(directory, index), more]).sort_by("row")
    write_table(directory / removed_name(index), whole.combine_chunks())
    cuts = read_cuts(directory, index)
    if cuts.num_rows:
        stay = pc.invert(pc.is_in(cuts.column("row"), value_set=pa.array(rows)))
        kept = cuts.filter(stay)
        path = directory / cuts_name(index)
        path.unlink()
        if kept.num_rows:
            write_table(path, kept.cast(CUT_SCHEMA).combine_chunks())


def _doc_ids(part: Path) -> pa.ChunkedArray:
    with open_documents(part / DOCUMENTS) as reader:
        return reader.read_all().column("doc_id")


def excluded_from(corpus: CleanedCorpus) -> frozenset[str]:
    """Ids of the documents that the corpus was made without, those that left as copies included."""
    path = corpus.path / LIST_NAME
    if not path.is_file():
        return frozenset()
    ids = {str(doc_id) for doc_id, _ in read_json(path)}
    for index in range(len(corpus.part_paths())):
        removed = read_removed(corpus.path, index)
        copies = pc.equal(removed.column("reason"), EXCLUDED_COPY)
        ids |= set(removed.filter(copies).column("doc_id").to_pylist())
    return frozenset(ids)
