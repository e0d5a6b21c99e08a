"""Dirty text for benchmarks/cleaning_value.py, and what becomes of it: one corpus per arm.

    pages     web pages given by --data: tags stripped / main text extracted, then cleaned
    machine   what this machine has of documentation: as found / cleaned

Held out are documents that the full cleaning keeps; no arm sees them or anything like them.
"""

import hashlib
import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from benchmarks.corpora import machine_texts
from benchmarks.pages import pages_of, write_archive
from pipeline.artifacts import CleanedCorpus, EvalSet
from pipeline.corpus.cleaned import Document, iter_documents
from pipeline.corpus.sources import AnySource, JsonlSource, WarcSource
from pipeline.corpus.sources.charset import decode_page
from pipeline.stages.clean_corpus import CleanConfig, clean_corpus
from pipeline.stages.freeze_eval_set import EVAL_SCHEMA
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import DataError
from pipeline.store.files import replacing
from pipeline.store.runtime import Runtime

_NO_TEXT = re.compile(r"(?is)<(script|style|noscript|template|svg)\b.*?</\1\s*>|<!--.*?-->")
_BREAKS = re.compile(r"(?i)</?(p|div|br|li|tr|h[1-6]|ul|ol|table|section|article|option)\b[^>]*>")
_TAGS = re.compile(r"(?s)<[^>]*>")

WEB_RULES = [
    {"kind": "rules", "preset": "generic", "routes": {"en": "fineweb", "zh": "fineweb2-zh"}},
    {"kind": "personal_data"},
]
NO_DEDUP = {"exact": False, "near": False}
MIN_HELD_OUT, MAX_HELD_OUT = 400, 20_000  # bytes of one document


@dataclass(frozen=True)
class Arm:
    """One way to prepare the text."""

    name: str
    source: JsonlSource
    config: Mapping[str, Any]
    """CleanConfig without its sources."""


@dataclass(frozen=True)
class World:
    """The same documents, prepared in several ways; from the rawest to the cleanest."""

    name: str
    arms: tuple[Arm, ...]
    documents: int
    bytes: int
    """Of what it started from: HTML for pages."""


def machine_world(place: Path, *, max_bytes: int) -> World:
    """Documentation, licences and changelogs of this machine, copies and all."""
    texts: list[tuple[str, str]] = []
    size = 0
    for number, text in enumerate(_in_hash_order(machine_texts(), share=4)):
        encoded = text.encode("utf-8", "ignore")
        if size + len(encoded) > max_bytes:
            break
        texts.append((f"{number}", encoded.decode("utf-8")))
        size += len(encoded)
    source = _written(place / "machine.jsonl", texts, "machine")
    rules = [{"kind": "rules", "preset": "documentation"}]
    return World("machine", _arms(source, source, rules, raw="as found"), len(texts), size)


def _in_hash_order(texts: Iterable[str], *, share: int) -> Iterator[str]:
    """One in `share` distinct texts with all its copies, spread over the machine."""
    chosen = []
    for number, text in enumerate(texts):
        head = hashlib.sha256(text[:400].encode("utf-8", "ignore")).digest()
        if head[0] % share == 0:  # by the beginning: near-copies are drawn together
            order = hashlib.sha256(f"{number}".encode()).digest()
            chosen.append((order, text))
    chosen.sort(key=lambda item: item[0])
    yield from (text for _, text in chosen)


def pages_world(place: Path, pages: Path) -> World:
    """Web pages: everything between the tags, or the main text that the extractor finds."""
    archive = packed(pages, place)
    found = list(pages_of(pages))
    texts = ((page.url, stripped(page.data)) for page in found)
    raw = _written(place / "stripped.jsonl", texts, "pages")
    extracted = WarcSource(name="pages", paths=(str(archive),), max_bad_fraction=0.5)
    arms = _arms(raw, extracted, WEB_RULES, raw="tags stripped")
    return World("pages", arms, len(found), sum(len(page.data) for page in found))


def packed(pages: Path, place: Path) -> Path:
    """The pages below a folder as one web archive in `place`."""
    archive = place / "pages.warc.gz"
    place.mkdir(parents=True, exist_ok=True)
    with replacing(archive) as temporary, temporary.open("wb") as sink:
        write_archive(pages_of(pages), sink)
    return archive


def stripped(page: bytes) -> str:
    """Everything between the tags of a page but scripts: what no one looked at."""
    text = decode_page(page).text
    text = _BREAKS.sub("\n", _NO_TEXT.sub(" ", text))
    text = html.unescape(_TAGS.sub(" ", text))
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def _arms(
    raw_source: AnySource, source: AnySource, rules: Sequence[object], *, raw: str
) -> tuple[Arm, ...]:
    untouched = {"mojibake": False, "invisible": False}
    as_is = {"repair": untouched, "steps": [], "dedup": NO_DEDUP}
    arms = [Arm(raw, raw_source, as_is)]
    if source is not raw_source:
        arms.append(Arm("extracted", source, {"steps": [], "dedup": NO_DEDUP}))
    arms.append(Arm("cleaned", source, {"steps": rules, "dedup": NO_DEDUP}))
    arms.append(Arm("cleaned and deduplicated", source, {"steps": rules}))
    return tuple(arms)


def _written(path: Path, texts: Iterable[tuple[str, str]], name: str) -> JsonlSource:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for doc_id, text in texts:
            file.write(orjson.dumps({"id": doc_id, "text": text}) + b"\n")
    return JsonlSource(name=name, paths=(str(path),), ids="corpus")


def hold_out(world: World, root: Path, runtime: Runtime, *, max_bytes: int) -> EvalSet:
    """Documents that the last arm keeps, by a hash of their id, up to `max_bytes`."""
    nothing = frozen_nothing(root)
    kept = [
        document
        for document in iter_documents(cleaned(world.arms[-1], nothing, root, runtime))
        if MIN_HELD_OUT <= len(document.text.encode("utf-8")) <= MAX_HELD_OUT
    ]
    kept.sort(key=lambda document: hashlib.sha256(document.doc_id.encode()).digest())
    chosen, size = [], 0
    for document in kept:
        size += len(document.text.encode("utf-8"))
        if size > max_bytes:
            break
        chosen.append(document)
    if not chosen:
        raise DataError(f"cleaning kept nothing of the {world.documents} documents to hold out")
    return _frozen(root, world.name, sorted(chosen, key=lambda document: document.doc_id))


def frozen_nothing(root: Path) -> EvalSet:
    """A held-out set of one sentence: the stage wants one, and nothing is to leave for it."""
    return _frozen(root, "none", [Document("none", "An empty set has nothing.", "none")])


def _frozen(root: Path, name: str, documents: Sequence[Document]) -> EvalSet:
    columns = [[getattr(d, field) for d in documents] for field in ("doc_id", "text", "source")]
    table = pa.table(columns, schema=EVAL_SCHEMA)

    def write(directory: Path) -> Outcome:
        with pa.ipc.new_file(str(directory / "documents.arrow"), EVAL_SCHEMA) as writer:
            writer.write_table(table)
        return Outcome({"documents": len(documents)})

    key = artifact_key("eval_set", 1, [name, *columns], [])
    work = partial(write)
    path = build(key, root / "eval-sets" / name, work, root=root, runtime=runtime_of())
    return EvalSet(path, key.fingerprint)


def runtime_of() -> Runtime:
    """One process, one thread: what the figures are per core of."""
    return Runtime(workers=1, threads=1)


def cleaned(arm: Arm, held_out: EvalSet, root: Path, runtime: Runtime) -> CleanedCorpus:
    """The corpus of one arm."""
    config = CleanConfig.model_validate({"sources": (arm.source,), **arm.config})
    return clean_corpus(config, held_out, root=root, runtime=runtime)
