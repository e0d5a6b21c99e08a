"""Labelled texts, or texts with labelled words, split by text: what a classifier learns from.

eval set, corpus -> train.jsonl  validation.jsonl  held_out.jsonl  quarantine.jsonl
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from pipeline.artifacts import CleanedCorpus, EvalSet, LabelSet
from pipeline.conversations.splits import SPLITS, Split
from pipeline.corpus.cleaned import iter_documents
from pipeline.labels.example import Labelled, write_labelled
from pipeline.labels.files import LabelFiles, Refused, rows_of
from pipeline.labels.pydocs import PydocsLabels, pydocs_rows
from pipeline.labels.splitting import (
    LabelSplits,
    drawn_split,
    label_counts,
    split_labelled,
)
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import DataError
from pipeline.store.files import replacing, sha256_file
from pipeline.store.fingerprint import plain, short
from pipeline.store.runtime import Runtime

VERSION = 1
MOST_QUARANTINED = 10_000  # lines kept; all are counted
SHOWN_REASONS = 3


class LabelsConfig(BaseModel):
    """Where the labels come from, and which of them count."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[PydocsLabels | LabelFiles, Field(discriminator="kind")] = Field(
        PydocsLabels(), title="Source", description="of the documentation itself, or your own files"
    )
    labels: tuple[str, ...] | None = Field(
        None, title="Labels", min_length=2,
        description="the classes, in their order; rows with another are left out and counted. "
        "null: those that are found",
    )  # fmt: skip
    min_per_label: int = Field(
        10, ge=1, title="Examples per label",
        description="labels in fewer examples are left out, with these, and counted",
    )  # fmt: skip
    max_text_bytes: int = Field(
        8_192, ge=1, title="Longest text", description="UTF-8 bytes; a longer row is left out"
    )
    seed: int = Field(0, title="Seed", description="decides the split and the choice", ge=0)


def prepare_labels(
    config: LabelsConfig,
    name: str,
    eval_set: EvalSet,
    corpus: CleanedCorpus,
    *,
    root: Path,
    runtime: Runtime,
) -> LabelSet:
    """Read the labels of the task `name`, check that they make sense, and write one file per split.

    DataError for one class, too many bad rows, or splits that measure nothing. Labels of files have
    nothing to do with eval set and corpus, which then are no inputs.
    """
    identity: dict[str, Any] = {"name": name, **plain(config)}
    inputs = [eval_set.key, corpus.key]
    files: list[Path] = []
    if isinstance(config.source, LabelFiles):
        # A file enters by its content; where it lies is not part of the identity.
        files = config.source.files()
        identity["source"].pop("paths")
        inputs = [f"file@{sha256_file(path)}" for path in files]
    key = artifact_key("labels", VERSION, identity, inputs)
    directory = root / "labels" / short(key.fingerprint)

    def work(directory: Path) -> Outcome:
        refused: list[Refused] = []
        if isinstance(config.source, LabelFiles):
            source = config.source
            rows = list(_of_files(config, source, files, refused))
        else:
            ids, texts = _column(eval_set, "doc_id"), _column(eval_set, "text")
            held = zip(ids, texts, strict=True)
            kept = ((one.doc_id, one.text) for one in iter_documents(corpus))
            rows = list(pydocs_rows(config.source, kept, held, seed=config.seed))
        splits = split_labelled(rows, allowed=config.labels, min_per_label=config.min_per_label)
        for split in SPLITS:
            write_labelled(directory / f"{split}.jsonl", splits.of(split), config.source.level)
        _write_quarantine(directory / "quarantine.jsonl", refused)
        return Outcome(_facts(name, config, splits, refused))

    build(key, directory, work, root=root, runtime=runtime)
    return LabelSet(directory, key.fingerprint)


def _of_files(
    config: LabelsConfig, source: LabelFiles, files: list[Path], refused: list[Refused]
) -> Iterator[tuple[Labelled, Split]]:
    seen = 0
    for row in rows_of(source, files, max_bytes=config.max_text_bytes):
        seen += 1
        if isinstance(row, Refused):
            refused.append(row)
            continue
        yield row, drawn_split(
            row.group, seed=config.seed,
            validation=source.validation_fraction, held_out=source.held_out_fraction,
        )  # fmt: skip
    if not seen:
        raise DataError(f"{', '.join(map(str, files))} holds no row; give labelled examples")
    if len(refused) > source.max_bad_fraction * seen:
        reasons = Counter(one.reason for one in refused).most_common(SHOWN_REASONS)
        told = ", ".join(f"{count} x {reason}" for reason, count in reasons)
        raise DataError(
            f"{len(refused)} of {seen} rows cannot be used ({told}; the first is "
            f"{refused[0].where}), allowed are {source.max_bad_fraction:.1%} (max_bad_fraction); "
            f"rows of the level {source.level} are "
            + ('{"text", "label"}' if source.level == "text" else '{"words", "labels"}')
        )


def _column(eval_set: EvalSet, name: str) -> list[str]:
    with pa.memory_map(str(eval_set.documents_path)) as file:
        values: list[str] = pa.ipc.open_file(file).read_all()[name].to_pylist()
    return values


def _write_quarantine(path: Path, refused: list[Refused]) -> None:
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        for one in refused[:MOST_QUARANTINED]:
            line = json.dumps({"where": one.where, "reason": one.reason}, ensure_ascii=False)
            handle.write(line + "\n")


def _facts(
    name: str, config: LabelsConfig, splits: LabelSplits, refused: list[Refused]
) -> dict[str, Any]:
    quarantined = Counter(one.reason for one in refused)
    return {
        "name": name,
        "level": config.source.level,
        "labels": list(splits.labels),
        "examples": {split: len(splits.of(split)) for split in SPLITS},
        "counts": {split: dict(sorted(label_counts(splits.of(split)).items())) for split in SPLITS},
        "removed": {reason: n for reason, n in sorted(splits.removed.items()) if n},
        "quarantined": dict(sorted(quarantined.items())),
    }
