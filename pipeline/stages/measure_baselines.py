"""What a model must beat: compressors and n-gram models that saw the same training text.

    baselines.json     rows of bits per byte, documents with their overlap
    documents.arrow    nats per held-out document and method, for paired comparison

"The same training text" is the documents of the training split of the token shards. Every method
scores the text of each held-out document from its bos on; the end of a document is not scored.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.artifacts import (
    BaselineReport,
    Checkpoint,
    CleanedCorpus,
    EvalSet,
    TokenShards,
    TrainedTokenizer,
)
from pipeline.corpus.ngrams import OVERLAP_WORDS
from pipeline.evals.baselines_inputs import Inputs, prepare_inputs
from pipeline.evals.baselines_overlap import overlap_shares
from pipeline.evals.baselines_parts import VERSION as PART_VERSION
from pipeline.evals.baselines_parts import (
    Job,
    Measured,
    OverlapJob,
    Part,
    RowName,
    find_grams,
    read_measured,
    run_job,
)
from pipeline.evals.statistics import bits_per_byte
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.executor import run_jobs
from pipeline.store.files import replacing, write_json
from pipeline.store.fingerprint import digest, short
from pipeline.store.manifest import is_finished
from pipeline.store.runtime import Runtime
from pipeline.tokens.tokenizer import Tokenizer

VERSION = 1
NGRAM_ORDER = 5
PPMD_ORDERS = {"ppmd8_primed": 8, "ppmd16_primed": 16}
ALL_ROWS: tuple[RowName, ...] = (
    "xz", "xz_primed", "ppmd8_primed", "ppmd16_primed", "ngram5", "ngram5_pruned", "uniform",
)  # fmt: skip


class BaselinesConfig(BaseModel):
    """Which baselines are measured, and how much of the training text they read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: tuple[RowName, ...] = Field(
        ALL_ROWS, title="Baselines", description="measured in this order; each name once"
    )

    @field_validator("rows")
    @classmethod
    def _each_once(cls, rows: tuple[RowName, ...]) -> tuple[RowName, ...]:
        if len(set(rows)) != len(rows):
            raise ValueError(f"a baseline is named twice in {list(rows)}; name each once")
        return rows

    clean_overlap: float = Field(
        0.10, title="Clean overlap", ge=0, le=1,
        description="a held-out document is clean if the training text has at most this share of "
        "its 13-grams",
    )  # fmt: skip
    compressor_bytes: int = Field(
        64 << 20, title="Text for compressors", ge=1 << 10,
        description="bytes of training text; of a larger one, documents at even distances",
    )  # fmt: skip
    ngram_tokens: int = Field(
        40_000_000, title="Tokens for n-grams", ge=1_000, le=400_000_000,
        description="of a larger text, documents at even distances; 40 M need about 6 GB of memory",
    )  # fmt: skip
    ppmd_memory_bytes: int = Field(
        2_000_000_000, title="Memory of PPMd", ge=1 << 20, le=4_000_000_000,
        description="upper limit per order; PPMd forgets everything when it is reached",
    )  # fmt: skip


def measure_baselines(
    config: BaselinesConfig,
    corpus: CleanedCorpus,
    tokenizer: TrainedTokenizer,
    shards: TokenShards,
    eval_set: EvalSet,
    base: Checkpoint,
    *,
    root: Path,
    runtime: Runtime,
) -> BaselineReport:
    """Measure every row of `config` on the eval set; of the base model only its size matters.

    DataError for an empty eval set or training split.
    """
    model_bytes = int(base.facts["parameter_bytes"])
    size = f"parameter_bytes@{digest(model_bytes)}"
    key = artifact_key(
        "baselines", VERSION, config, [corpus.key, tokenizer.key, shards.key, eval_set.key, size]
    )
    directory = root / "baselines" / short(key.fingerprint)

    def work(directory: Path) -> Outcome:
        with tempfile.TemporaryDirectory(dir=directory, prefix="scratch.tmp-") as scratch:
            words = Tokenizer.load(tokenizer.path)
            inputs = prepare_inputs(
                corpus, shards, eval_set, words, Path(scratch), max_tokens=config.ngram_tokens
            )
            started = time.perf_counter()
            overlap = _overlap(inputs, runtime)
            seconds = {"overlap_seconds": round(time.perf_counter() - started, 3)}
            clean = [i for i, share in enumerate(overlap) if share <= config.clean_overlap]
            parts = _parts(config, inputs, clean, model_bytes, root)
            _run(parts, inputs, root, runtime)
        measured = {part.name: read_measured(part) for part in parts}
        if "uniform" in config.rows:
            measured["uniform"] = _uniform(inputs)
        rows = [_row(name, measured[name], inputs, clean) for name in config.rows]
        report = {**_counts(config, inputs, clean, model_bytes), **seconds}
        documents = [
            {
                "doc_id": doc_id,
                "bytes": size,
                "overlap": share,
                "clean": share <= config.clean_overlap,
            }
            for doc_id, size, share in zip(
                inputs.doc_ids, inputs.document_bytes, overlap, strict=True
            )
        ]
        write_json(directory / "baselines.json", {**report, "rows": rows, "documents": documents})
        _write_documents(directory / "documents.arrow", documents, measured)
        facts = {**report, **{row["name"]: row["bits_per_byte"] for row in rows}}
        runtime.journal.event("baselines", facts)
        built = sorted({f"parts/baselines/{Path(part.directory).name}" for part in parts})
        return Outcome(facts, tuple(built))

    build(key, directory, work, root=root, runtime=runtime)
    return BaselineReport(directory, key.fingerprint)


def _overlap(inputs: Inputs, runtime: Runtime) -> list[float]:
    """Per held-out document, the share of its 13-grams that the training text contains."""
    jobs = [OverlapJob(inputs.scratch, i, runtime.workers) for i in range(runtime.workers)]
    held_out = inputs.scratch.texts("held_out")
    masks = [np.frombuffer(bits, np.uint8) for bits in run_jobs(runtime, find_grams, jobs)]
    shares: list[float] = overlap_shares(held_out, np.bitwise_or.reduce(masks)).tolist()
    return shares


def _parts(
    config: BaselinesConfig, inputs: Inputs, clean: list[int], model_bytes: int, root: Path
) -> list[Part]:
    """What is measured in workers, the longest first."""
    text = [f"training@{inputs.text_digest}", f"held_out@{inputs.held_out_digest}"]
    tokens = [f"tokens@{inputs.token_digest}", f"held_out@{inputs.held_out_digest}"]
    compressing = {"stride": -(-inputs.training_bytes // config.compressor_bytes), "clean": clean}
    ngram = {"vocab_size": inputs.vocab_size, "order": NGRAM_ORDER}
    settings: dict[str, tuple[dict[str, Any], list[str]]] = {
        "xz_primed": (compressing, text),
        "ppmd16_primed": (compressing, text),
        "ngram5": ({**ngram, "max_bytes": None}, tokens),
        "ngram5_pruned": ({**ngram, "max_bytes": model_bytes}, tokens),
        "ppmd8_primed": (compressing, text),
        "xz": ({"clean": clean}, text[1:]),
    }
    parts = []
    for name, (chosen, inputs_read) in settings.items():
        if name not in config.rows:
            continue
        if name in PPMD_ORDERS:
            chosen = {
                **chosen,
                "order": PPMD_ORDERS[name],
                "memory_bytes": config.ppmd_memory_bytes,
            }
        key = artifact_key("baselines_part", PART_VERSION, {"name": name, **chosen}, inputs_read)
        directory = root / "parts" / "baselines" / short(key.fingerprint)
        parts.append(Part(name, key, str(directory.absolute()), chosen))
    return parts


def _run(parts: list[Part], inputs: Inputs, root: Path, runtime: Runtime) -> None:
    """Build what is missing; the two n-gram models share one counting of the text."""
    missing = [part for part in parts if not is_finished(Path(part.directory))]
    groups: dict[str, list[Part]] = {}
    for part in missing:
        groups.setdefault("ngram" if part.name.startswith("ngram") else part.name, []).append(part)
    jobs = [Job(str(root.absolute()), inputs.scratch, tuple(group)) for group in groups.values()]
    run_jobs(
        runtime, run_job, jobs,
        done=lambda finished, total: runtime.progress.advance(finished, total, "baselines"),
    )  # fmt: skip


def _uniform(inputs: Inputs) -> Measured:
    per_token = float(np.log(inputs.vocab_size))
    documents = [tokens * per_token for tokens in inputs.document_tokens]
    note = f"every one of {inputs.vocab_size:,} tokens equally likely"
    return Measured(sum(documents), 0, note, documents=documents)


def _row(name: str, measured: Measured, inputs: Inputs, clean: list[int]) -> dict[str, Any]:
    nats_clean = measured.nats_clean
    if measured.documents is not None:
        nats_clean = sum(measured.documents[i] for i in clean)
    clean_bytes = sum(inputs.document_bytes[i] for i in clean)
    return {
        "name": name,
        "bits_per_byte": bits_per_byte(measured.nats, inputs.held_out_bytes),
        "bits_per_byte_clean": bits_per_byte(nats_clean or 0.0, clean_bytes)
        if clean_bytes
        else None,
        "bytes": measured.bytes,
        "seconds": measured.seconds,
        "note": measured.note,
    }


def _counts(
    config: BaselinesConfig, inputs: Inputs, clean: list[int], model_bytes: int
) -> dict[str, Any]:
    return {
        "documents_held_out": len(inputs.doc_ids),
        "documents_clean": len(clean),
        "bytes_held_out": inputs.held_out_bytes,
        "bytes_clean": sum(inputs.document_bytes[i] for i in clean),
        "clean_overlap": config.clean_overlap,
        "overlap_words": OVERLAP_WORDS,
        "training_documents": inputs.training_documents,
        "training_bytes": inputs.training_bytes,
        "training_tokens": inputs.training_tokens,
        "model_bytes": model_bytes,
    }


def _write_documents(
    path: Path, documents: list[dict[str, Any]], measured: dict[str, Measured]
) -> None:
    table = pa.Table.from_pylist(documents)
    for name, values in measured.items():
        if values.documents is not None:
            table = table.append_column(f"nats_{name}", pa.array(values.documents, pa.float64()))
    with replacing(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
