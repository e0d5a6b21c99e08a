"""Prompt/answer pairs for supervised fine-tuning, split by what they are about.

eval set, corpus -> train.jsonl  validation.jsonl  held_out.jsonl  quarantine.jsonl
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from pipeline.artifacts import CleanedCorpus, EvalSet, ExampleSet
from pipeline.conversations.decontamination import without_held_out_text
from pipeline.conversations.example import Example, write_examples
from pipeline.conversations.formats import Limits, ReadReport
from pipeline.conversations.own_pairs import (
    PLACE,
    HuggingFacePairs,
    JsonlPairs,
    OwnPairs,
    pairs_from_files,
)
from pipeline.conversations.pydocs_pairs import DocObject, PydocsPairs, make_pairs
from pipeline.conversations.splits import SPLITS, Pairs, distinct
from pipeline.conversations.text_pairs import TextPairs, pairs_from_text
from pipeline.corpus.cleaned import iter_documents, kept_parts, read_kept
from pipeline.corpus.exclusions import excluded_from
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import ArtifactError, DataError
from pipeline.store.files import replacing, sha256_file
from pipeline.store.fingerprint import plain, short
from pipeline.store.runtime import Runtime

VERSION = 4
OBJECTS = "objects.arrow"
OBJECT_COLUMNS = tuple(DocObject.__dataclass_fields__)


class ExamplesConfig(BaseModel):
    """Where the fine-tuning pairs come from and how long they may be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[
        PydocsPairs | JsonlPairs | HuggingFacePairs | TextPairs, Field(discriminator="kind")
    ] = Field(
        PydocsPairs(),
        title="Source",
        description="made from Python documentation or from the corpus's text, or your own files",
    )
    max_prompt_bytes: int = Field(
        8_192,
        title="Longest prompt",
        description="UTF-8 bytes; a longer row is left out and counted",
        ge=1,
    )
    max_answer_bytes: int = Field(
        8_192,
        title="Longest answer",
        description="UTF-8 bytes; a longer row is left out and counted",
        ge=1,
    )
    seed: int = Field(
        0, title="Seed", description="decides the choice of pairs and the split", ge=0
    )


def prepare_examples(
    config: ExamplesConfig,
    eval_set: EvalSet,
    corpus: CleanedCorpus,
    *,
    root: Path,
    runtime: Runtime,
) -> ExampleSet:
    """Make the pairs, split them by group, and write one JSONL file per split.

    DataError when no training pair can be made; a user's bad rows go to quarantine.jsonl.
    """
    inputs = [eval_set.key, corpus.key]
    identity: dict[str, Any] = plain(config)
    files: list[Path] = []
    if isinstance(config.source, OwnPairs):
        # A file enters by its content; where it lies is not part of the identity.
        files = config.source.files(root)
        for name in PLACE:
            identity["source"].pop(name, None)
        inputs += [f"file@{sha256_file(path)}" for path in files]
    key = artifact_key("examples", VERSION, identity, inputs)
    directory = root / "examples" / short(key.fingerprint)

    def work(directory: Path) -> Outcome:
        limits = Limits(config.max_prompt_bytes, config.max_answer_bytes)
        report = ReadReport()
        if isinstance(config.source, OwnPairs):
            pairs, report = pairs_from_files(config.source, files, limits, config.seed)
        elif isinstance(config.source, TextPairs):
            kept = ((d.doc_id, d.text) for d in iter_documents(corpus))
            ids, texts = _held_out(eval_set, "doc_id"), _held_out(eval_set, "text")
            pairs = pairs_from_text(
                kept, zip(ids, texts, strict=True),
                config=config.source, limits=limits, seed=config.seed,
            )  # fmt: skip
        else:
            pairs = _pydocs(config.source, eval_set, corpus, limits, config.seed, root)
        pairs = without_held_out_text(pairs, _held_out(eval_set, "text"))
        if not pairs.train:
            raise DataError(
                f"examples.source={config.source.kind} gives no training pair (left out: "
                f"{dict(pairs.removed)}, quarantined: {report.reasons()}); add examples, or raise "
                f"max_prompt_bytes={limits.prompt_bytes} or max_answer_bytes={limits.answer_bytes}"
            )
        for split in SPLITS:
            write_examples(directory / f"{split}.jsonl", pairs.of(split))
        _write_quarantine(directory / "quarantine.jsonl", report)
        return Outcome(_facts(pairs, report))

    build(key, directory, work, root=root, runtime=runtime)
    return ExampleSet(directory, key.fingerprint)


def _pydocs(
    source: PydocsPairs,
    eval_set: EvalSet,
    corpus: CleanedCorpus,
    limits: Limits,
    seed: int,
    root: Path,
) -> Pairs:
    held_out = frozenset(_held_out(eval_set, "doc_id"))

    def lines_of_training_text(wanted: frozenset[str]) -> set[str]:
        return _lines_found(corpus, wanted)

    excluded = excluded_from(corpus)
    objects = (one for one in _objects(corpus, root) if one.doc_id not in excluded)
    return make_pairs(
        objects, held_out, lines_of_training_text,
        config=source, limits=limits, seed=seed,
    )  # fmt: skip


def _held_out(eval_set: EvalSet, column: str) -> list[str]:
    with pa.memory_map(str(eval_set.documents_path)) as file:
        values: list[str] = pa.ipc.open_file(file).read_all()[column].to_pylist()
    return values


def _objects(corpus: CleanedCorpus, root: Path) -> Iterator[DocObject]:
    """Every documented object of the raw parts the corpus was cleaned from."""
    if "raw_parts" not in corpus.facts:
        raise ArtifactError(
            f"{corpus.path} names no raw_parts; rebuild it: delete it and rerun clean"
        )
    paths = [root / part / OBJECTS for part in corpus.facts["raw_parts"]]
    paths = [path for path in paths if path.is_file()]
    if not paths:
        raise DataError(
            "examples.source.kind=pydocs needs a corpus with a pydocs source; this one has none: "
            "add {kind: pydocs} to clean.sources, or give your own as {kind: jsonl, paths: [...]}"
        )
    for path in paths:
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all().select(list(OBJECT_COLUMNS))
            columns = [table[name].to_pylist() for name in OBJECT_COLUMNS]
        for values in zip(*columns, strict=True):
            yield _object(dict(zip(OBJECT_COLUMNS, values, strict=True)))


def _object(row: dict[str, Any]) -> DocObject:
    texts = {name: value or "" for name, value in row.items() if name != "parameters"}
    return DocObject(**texts, parameters=tuple(row["parameters"] or ()))


def _lines_found(corpus: CleanedCorpus, wanted: frozenset[str]) -> set[str]:
    """Which of `wanted` occur in the training text as a line, or as a line's first sentence."""
    found: set[str] = set()
    for part in kept_parts(corpus):
        for text in read_kept(part, columns=("text",))["text"].to_pylist():
            lines = set(map(str.strip, text.split("\n")))
            found |= wanted & lines
            found |= wanted & {line.partition(". ")[0] + "." for line in lines if ". " in line}
    return found


def _write_quarantine(path: Path, report: ReadReport) -> None:
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        for item in report.quarantined:
            handle.write(json.dumps(item, ensure_ascii=False, sort_keys=True) + "\n")


def _facts(pairs: Pairs, report: ReadReport) -> dict[str, Any]:
    return {
        "examples": {split: len(pairs.of(split)) for split in SPLITS},
        "kinds": {split: _kinds(pairs.of(split)) for split in SPLITS},
        "groups": len({example.group for split in SPLITS for example in pairs.of(split)}),
        "removed": dict(sorted(pairs.removed.items())),
        "formats": report.shapes,
        "quarantined": report.reasons(),
        "diversity": {
            "prompt_distinct_1": distinct([example.question for example in pairs.train], 1),
            "prompt_distinct_2": distinct([example.question for example in pairs.train], 2),
            "answer_distinct_1": distinct([example.expected for example in pairs.train], 1),
            "answer_distinct_2": distinct([example.expected for example in pairs.train], 2),
        },
        "answers_without_repeats": len({example.expected for example in pairs.train}),
    }


def _kinds(examples: Sequence[Example]) -> dict[str, int]:
    return dict(sorted(Counter(example.kind for example in examples).items()))
