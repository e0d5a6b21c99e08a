"""Stage `tokenize`: the cleaned corpus as Arrow shards of token ids, one part per cleaned part."""

import functools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pipeline.artifacts import CleanedCorpus, TokenShards, TrainedTokenizer
from pipeline.corpus.cleaned import KeptPart, kept_parts
from pipeline.store.building import ArtifactKey, Outcome, artifact_key, build
from pipeline.store.errors import DataError
from pipeline.store.executor import run_jobs
from pipeline.store.files import read_json
from pipeline.store.fingerprint import short
from pipeline.store.manifest import is_finished, read_manifest
from pipeline.store.runtime import Runtime
from pipeline.tokens.engines import EngineName, choose_engine
from pipeline.tokens.shards import SPLITS, token_dtype
from pipeline.tokens.slices import (
    FACTS_PREFIX,
    SliceJob,
    add_up,
    cut,
    document_bytes,
    encode_run,
    slice_documents,
)
from pipeline.tokens.tokenizer import Tokenizer

VERSION = 1
PART_VERSION = 1
PART_STAGE = "tokenize_part"
INLINE_BYTES = 16 << 20  # less text is encoded sooner than worker processes have started
RUNS_PER_WORKER = 4  # per part: few enough to read it only so often, enough to share it evenly
PROOF_DOCUMENTS = 1000  # of each part; engines.PROOF_BYTES is the limit that counts
_STAGING = "staging"


class TokenizeConfig(BaseModel):
    """How documents become shards."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    validation_fraction: float = Field(
        0.01,
        ge=0,
        lt=1,
        title="Validation share",
        description="share of documents, chosen by a hash of their id, kept for validation loss",
    )
    seed: int = Field(0, ge=0, title="Seed", description="which documents become validation")
    shard_bytes: int = Field(
        8 << 20,
        ge=1 << 10,
        le=1 << 30,
        title="Shard size",
        description="bytes of text per shard; a shard is the unit of work of one process",
    )


@dataclass(frozen=True)
class _Part:
    """A cleaned part and the part of tokens made from it."""

    kept: KeptPart
    key: ArtifactKey
    directory: Path
    staging: Path


def tokenize_corpus(
    config: TokenizeConfig,
    corpus: CleanedCorpus,
    tokenizer: TrainedTokenizer,
    *,
    root: Path,
    runtime: Runtime,
) -> TokenShards:
    """Encode every document as `[bos] + ids + [eos]`; the bytes do not depend on the workers.

    Killed, the same call goes on after the last finished shard. DataError when nothing is left to
    train on.
    """
    key = artifact_key("tokenize", VERSION, config, [corpus.key, tokenizer.key])

    def work(directory: Path) -> Outcome:
        loaded = Tokenizer.load(tokenizer.path)
        parts = [
            _part(kept, config, loaded, root=root, staging=directory / _STAGING)
            for kept in kept_parts(corpus)
        ]
        _encode(parts, config, tokenizer, loaded, runtime)
        facts = _seal(parts, root=root, runtime=runtime)
        shutil.rmtree(directory / _STAGING, ignore_errors=True)
        references = tuple(str(part.directory.relative_to(root)) for part in parts)
        return Outcome(_facts(facts, loaded), references)

    directory = root / "tokens" / short(key.fingerprint)
    path = build(key, directory, work, root=root, runtime=runtime, resume=True)
    return TokenShards(path, key.fingerprint)


def _part(
    kept: KeptPart, config: TokenizeConfig, tokenizer: Tokenizer, *, root: Path, staging: Path
) -> _Part:
    inputs = [f"kept@{kept.fingerprint}", f"encoding@{tokenizer.sha256}"]
    key = artifact_key(PART_STAGE, PART_VERSION, config, inputs)
    name = short(key.fingerprint)
    return _Part(kept, key, root / "parts" / "tokenize" / name, staging / name)


def _encode(
    parts: list[_Part],
    config: TokenizeConfig,
    tokenizer: TrainedTokenizer,
    loaded: Tokenizer,
    runtime: Runtime,
) -> None:
    """All shards of all unfinished parts, in worker processes, into the staging folders."""
    missing = {part.directory: part for part in parts if not is_finished(part.directory)}
    if not missing:
        return
    choice = choose_engine(loaded, tokenizer.path, _first_texts(list(missing.values())))
    sized = [
        run
        for part in missing.values()
        for run in _runs(part, config, tokenizer, choice.engine, max(1, runtime.workers))
    ]
    # The largest first, so that no worker is left alone with one at the end.
    runs = [run for _, run in sorted(sized, key=lambda item: -item[0])]
    shards_done = np.cumsum([0, *map(len, runs)]).tolist()

    def tell(done: int, total: int) -> None:
        runtime.progress.advance(shards_done[done], shards_done[total], "shards")

    made: list[dict[str, Any]] = []
    if sum(size for size, _ in sized) > INLINE_BYTES:
        made = [fact for facts in run_jobs(runtime, encode_run, runs, done=tell) for fact in facts]
    else:
        for done, run in enumerate(runs, start=1):
            made += encode_run(run)
            tell(done, len(runs))
    refused = {choice.refused, *(reason for fact in made for reason in fact.get("refused", ()))}
    for message in sorted(filter(None, refused)):
        runtime.progress.event("warning", {"message": message})


def _runs(
    part: _Part,
    config: TokenizeConfig,
    tokenizer: TrainedTokenizer,
    engine: EngineName,
    workers: int,
) -> Iterator[tuple[int, tuple[SliceJob, ...]]]:
    """Bytes and slices of each job of a part: slices that follow each other, to be read once."""
    sizes = document_bytes(part.kept)
    jobs = [
        SliceJob(
            part.kept, index, start, stop, tokenizer.path, part.staging,
            config.validation_fraction, config.seed, engine,
        )
        for index, (start, stop) in enumerate(cut(sizes, config.shard_bytes))
    ]  # fmt: skip
    length = max(1, -(-len(jobs) // (RUNS_PER_WORKER * workers)))
    for first in range(0, len(jobs), length):
        run = tuple(jobs[first : first + length])
        yield int(sizes[run[0].start : run[-1].stop].sum()), run


def _first_texts(parts: list[_Part]) -> Iterator[bytes]:
    """The texts an engine has to prove itself on: the first ones that are to be encoded."""
    for part in parts:
        for _, _, text in slice_documents(part.kept, 0, PROOF_DOCUMENTS):
            yield text


def _seal(parts: list[_Part], *, root: Path, runtime: Runtime) -> list[dict[str, Any]]:
    """Move each part's shards from staging to their place, under a manifest of their own."""
    facts = []
    for part in parts:
        collect = functools.partial(_collect, part.staging)
        build(part.key, part.directory, collect, root=root, runtime=runtime, quiet=True)
        facts.append(dict(read_manifest(part.directory).facts))
    return facts


def _collect(staging: Path, directory: Path) -> Outcome:
    facts = []
    for path in sorted(staging.glob(f"{FACTS_PREFIX}*.json")):
        facts.append(read_json(path))
        number = path.stem.removeprefix(FACTS_PREFIX)
        for split in SPLITS:
            shard = staging / f"{split}-{number}.arrow"
            if shard.is_file():
                os.replace(shard, directory / shard.name)
    return Outcome(add_up(facts))


def _facts(parts: list[dict[str, Any]], tokenizer: Tokenizer) -> dict[str, Any]:
    facts = add_up(parts)
    documents = facts["train_documents"] + facts["validation_documents"]
    size = facts["train_bytes"] + facts["validation_bytes"]
    tokens = facts["train_tokens"] + facts["validation_tokens"]
    if documents == 0:
        raise DataError(
            "the cleaned corpus holds no documents; give it more text or milder filters"
        )
    if facts["train_documents"] == 0:
        raise DataError(
            f"all {documents} documents fell to the validation split; lower "
            "tokenize.validation_fraction or give more documents"
        )
    return {
        **facts,
        "documents": documents,
        "bytes": size,
        "bytes_per_token": round(size / (tokens - 2 * documents), 4)
        if tokens > 2 * documents
        else 0.0,
        "vocab_size": tokenizer.vocab_size,
        "tokenizer_sha256": tokenizer.sha256,
        "dtype": np.dtype(token_dtype(tokenizer.vocab_size)).name,
    }
