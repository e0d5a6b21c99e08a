"""The journey of one document: where it came from, what every step found, what became of it.

    doc_id -> held-out set, measures.parquet, removal lists -> Journey -> terminal

What is asked of each measure is found by asking the filter (thresholds.py), around a document like
this one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Group, RenderableType
from rich.text import Text

from pipeline.artifacts import CleanedCorpus, EvalSet, parents_of
from pipeline.corpus.cleaned import read_cuts, removed_name
from pipeline.corpus.document import open_documents
from pipeline.corpus.filters.base import Filter, Step
from pipeline.corpus.filters.judging import labels_of
from pipeline.corpus.languages.codes import UNDETERMINED
from pipeline.corpus.measured import MeasuredCorpus, MeasuredPart, measured_part, steps_of
from pipeline.corpus.mixing import mix_name, read_repeats
from pipeline.corpus.objections import Asked, asked_filters, flags_of, row_of
from pipeline.corpus.rejects import DOCUMENTS, MEASURES, REJECTED
from pipeline.corpus.samples import read_texts
from pipeline.corpus.thresholds import (
    Threshold,
    decontamination_thresholds,
    in_short,
    thresholds_of,
)
from pipeline.reports.blocks import visible
from pipeline.reports.corpus_examples import place_of, removal_told
from pipeline.reports.corpus_facts import raw_part_paths
from pipeline.reports.learners import Learner
from pipeline.reports.numbers import size
from pipeline.store.errors import ArtifactError

_SHOWN_CHARS = 400


@dataclass(frozen=True)
class Measured:
    """One value that a step found."""

    name: str
    value: Any
    bounds: str = ""
    """What it must be: `≥ 20`; empty where no threshold is known."""
    holds: bool = True


@dataclass(frozen=True)
class Passage:
    """One step on the way."""

    label: str
    measures: tuple[Measured, ...]
    objection: str = ""
    """The reason it named."""
    applies: bool = True


@dataclass(frozen=True)
class Journey:
    """What is on record about one document in one corpus."""

    corpus: CleanedCorpus
    doc_id: str
    source: str
    place: str
    """`web.jsonl, row 12`, as far as known."""
    language: str | None
    bytes: int | None
    verdict: str
    is_kept: bool
    passages: tuple[Passage, ...] = ()
    duplicates: tuple[str, ...] = field(default=())
    """Documents that left because this one stayed."""
    cuts: tuple[str, ...] = ()
    """What was cut out of it."""
    repeats: int = 1
    """How often it is trained on; 0 when mixing did not draw it."""
    text: str = ""


def find_journey(corpus: CleanedCorpus, doc_id: str) -> Journey | None:
    """The journey of a document, None if the corpus never read it.

    Ids are unique within a part; of two parts that share one the first is told.
    """
    for index, path in enumerate(corpus.part_paths()):
        ids = _column(path / MEASURES, "doc_id")
        rows = pc.indices_nonzero(pc.equal(ids, doc_id)).to_pylist()
        if rows:
            return _told(corpus, measured_part(corpus, index, path), rows[0])
    return _held_out(corpus, doc_id)


def _column(path: Path, name: str) -> pa.ChunkedArray:
    try:
        return pq.read_table(path, columns=[name]).column(name)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); run clean again") from error


def _told(corpus: CleanedCorpus, part: MeasuredPart, row: int) -> Journey:
    record = part.row(row)
    passed = bool(part.passed[row])
    number = int((part.passed[:row] == passed).sum())
    removal = None
    if passed:
        left = {r["row"]: r for r in part.removed.to_pylist()}
        removal = left.get(number)
    if removal is not None:
        verdict = f"removed: {removal_told(removal)}"
    else:
        verdict = "kept" if passed else f"rejected: {record['reason']}"
    text = read_texts(part.path / (DOCUMENTS if passed else REJECTED), [number]).get(number, "")
    return Journey(
        corpus, record["doc_id"], record["source"], place_of(record), record.get("language"),
        int(part.num_bytes[row]), verdict, verdict == "kept", _passages(corpus, part, record),
        _duplicates_of(corpus, record["doc_id"]), _cuts(corpus, part, number if passed else None),
        _repeats(corpus, part, number if verdict == "kept" else None), text[:_SHOWN_CHARS],
    )  # fmt: skip


def _passages(
    corpus: CleanedCorpus, part: MeasuredPart, record: Mapping[str, Any]
) -> tuple[Passage, ...]:
    try:
        steps: Sequence[Step] = steps_of(corpus)
    except ArtifactError:  # settings of another version: the values stand, their limits are unknown
        steps = ()
    asked = {id(one.step): one for one in asked_filters(steps, [part])}
    if not all(one.neutral for one in asked.values()):
        asked = {id(one.step): one for one in asked_filters(steps, MeasuredCorpus(corpus))}
    objections = {reason.partition(".")[0]: reason for reason in _objections(record)}
    language = record.get("language") or UNDETERMINED
    passages = []
    labels = labels_of(steps)
    for step, label in zip(steps, labels, strict=True):
        if step.is_routed and not step.applies_to(language):
            if labels.count(label) == 1:
                passages.append(Passage(label, (), applies=False))
            continue
        measures = _measures(asked.get(id(step)), step, label, record)
        if measures or isinstance(step, Filter):
            passages.append(Passage(label, measures, objections.get(label, "")))
    known = {*labels, "mentions"}
    others: dict[str, list[Measured]] = {}
    across = decontamination_thresholds(corpus.manifest.config)
    for name, value in record.items():
        label, dot, measure = name.partition(".")
        if dot and label not in known and value is not None:
            bounds = across.get(name, [])
            told = " and ".join(bound.bound for bound in bounds)
            holds = all(bound.holds(value) for bound in bounds)
            others.setdefault(label, []).append(Measured(measure, value, told, holds))
    return (*passages, *(Passage(label, tuple(found)) for label, found in others.items()))


def _objections(record: Mapping[str, Any]) -> list[str]:
    return list(record.get("reasons") or ([record["reason"]] if record["reason"] else []))


def _measures(
    one: Asked | None, step: Step, label: str, record: Mapping[str, Any]
) -> tuple[Measured, ...]:
    row = row_of(label, record)
    found: dict[str, list[Threshold]] = {}
    if one is not None and isinstance(step, Filter):
        like = one.neutral.get(flags_of(row))
        near = [like] if like is not None else list(one.neutral.values())[:1]
        for threshold in thresholds_of(step, label, near):
            found.setdefault(threshold.measure, []).append(threshold)
    measures = []
    for name, value in row.items():
        if value is None:
            continue
        bounds = found.get(name, [])
        number = isinstance(value, int | float) and not isinstance(value, bool)
        holds = not number or all(bound.holds(value) for bound in bounds)
        told = " and ".join(dict.fromkeys(bound.bound for bound in bounds))
        measures.append(Measured(name, value, told, holds))
    return tuple(measures)


def _cuts(corpus: CleanedCorpus, part: MeasuredPart, row: int | None) -> tuple[str, ...]:
    table = read_cuts(corpus.path, part.index)
    return (
        tuple(
            f"bytes {cut['begin']:,} to {cut['end']:,}: {cut['reason']}"
            + (f" of {cut['duplicate_of']}" if cut.get("duplicate_of") else "")
            + (f" in {cut['duplicate_in']}" if cut.get("duplicate_in") else "")
            for cut in table.filter(pc.equal(table.column("row"), row)).to_pylist()
        )
        if row is not None
        else ()
    )


def _repeats(corpus: CleanedCorpus, part: MeasuredPart, row: int | None) -> int:
    path = corpus.path / mix_name(part.index)
    if row is None or not path.is_file():
        return 1
    return int(read_repeats(path, int(part.passed.sum()))[row])


def _duplicates_of(corpus: CleanedCorpus, doc_id: str) -> tuple[str, ...]:
    """Who left because this document stayed, with the Jaccard similarity."""
    found = []
    for index in range(len(corpus.part_paths())):
        with open_documents(corpus.path / removed_name(index)) as reader:
            table = reader.read_all()
        for row in table.filter(pc.equal(table.column("duplicate_of"), doc_id)).to_pylist():
            jaccard = f", Jaccard {row['jaccard']:.3f}" if row["jaccard"] is not None else ""
            found.append(f"{row['doc_id']} ({row['reason']}{jaccard})")
    return tuple(found)


def _held_out(corpus: CleanedCorpus, doc_id: str) -> Journey | None:
    """A document that no filter saw: set apart itself, or equal to one that is."""
    for part in raw_part_paths(corpus):
        with open_documents(part / DOCUMENTS) as reader:
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                rows = pc.indices_nonzero(pc.equal(batch.column("doc_id"), doc_id)).to_pylist()
                if rows:
                    return _of_raw(corpus, batch.slice(rows[0], 1).to_pylist()[0])
    return None


def _of_raw(corpus: CleanedCorpus, row: Mapping[str, Any]) -> Journey:
    verdict = "held out: its text equals held-out text"
    for parent in parents_of(corpus):
        if isinstance(parent, EvalSet):
            with open_documents(parent.documents_path) as reader:
                ids = reader.read_all().column("doc_id")
            if pc.any(pc.equal(ids, row["doc_id"])).as_py():
                verdict = f"held out: it is in the eval set {parent.name}, no filter judged it"
    return Journey(
        corpus, row["doc_id"], row["source"], "", None, len(row["text"].encode("utf-8")), verdict,
        False, text=row["text"][:_SHOWN_CHARS],
    )  # fmt: skip


def render_journey(journey: Journey, learners: Sequence[Learner] = ()) -> RenderableType:
    """The journey for a terminal; `learners` are the models that learned from the corpus."""
    colour = "green" if journey.is_kept else "red"
    head = Text.assemble(
        (visible(journey.doc_id), "bold"), " in ", journey.corpus.ref, ": ",
        (visible(journey.verdict), f"bold {colour}"),
    )  # fmt: skip
    known = [f"source {journey.source}", journey.place, journey.language, size(journey.bytes)]
    parts: list[RenderableType] = [
        head, Text(visible("  " + " · ".join(str(part) for part in known if part)), style="dim"),
    ]  # fmt: skip
    parts += _passages_text(journey.passages, journey.language)
    for told in journey.duplicates:
        parts.append(_plain(f"  because it stayed, {told} left"))
    parts += [_plain(f"  cut out: {cut}") for cut in journey.cuts]
    if journey.is_kept and journey.repeats != 1:
        times = f"used {journey.repeats} times" if journey.repeats else "not drawn"
        parts.append(_plain(f"  mixing: {times}"))
    parts += [_plain(f"  learned from by {learner}") for learner in learned_from(journey, learners)]
    if journey.text:
        quoted = " ".join(journey.text.split())
        parts.append(Text(visible(f"  “{quoted[: _SHOWN_CHARS // 2]}…”"), style="italic dim"))
    return Group(*parts)


def learned_from(journey: Journey, learners: Sequence[Learner]) -> list[Learner]:
    """Those that saw the document: nobody, where it left the corpus or was not drawn."""
    return list(learners) if journey.is_kept and journey.repeats else []


def _passages_text(passages: Sequence[Passage], language: str | None) -> list[Text]:
    """A line per measure below its step; lines, so that a narrow terminal cuts no name off."""
    rows = [row for passage in passages for row in passage.measures]
    names = max((len(row.name) for row in rows), default=0)
    values = max((len(_value(row.value)) for row in rows), default=0)
    lines = []
    for passage in (one for one in passages if one.applies):
        title = Text(visible(f"  {passage.label}"), style="bold")
        if passage.objection:
            title.append(visible(f" → {passage.objection}"), style="bold red")
        lines.append(title)
        for row in passage.measures:
            mark = "✗" if not row.holds else "✓" if row.bounds else ""
            told = f"    {row.name:<{names}}  {_value(row.value):>{values}}  {row.bounds} {mark}"
            lines.append(Text(visible(told.rstrip()), style="" if row.holds else "red"))
    passed_by = [one.label for one in passages if not one.applies]
    if passed_by:
        lines.append(Text(f"  not for {language or UNDETERMINED}: {', '.join(passed_by)}", "dim"))
    return lines


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    return "\N{EN DASH}" if math.isnan(value) else in_short(float(value))


def _plain(text: str) -> Text:
    """Data, never markup."""
    return Text(visible(text))
