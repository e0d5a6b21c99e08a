"""Stage `tokenizer`: learn a byte-level BPE from the cleaned corpus, or take one that is there."""

import hashlib
import heapq
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pipeline.artifacts import CleanedCorpus, TrainedTokenizer
from pipeline.corpus.cleaned import iter_kept, kept_parts
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.files import sha256_bytes
from pipeline.store.fingerprint import plain, short
from pipeline.store.runtime import Runtime
from pipeline.tokens.adopted import adopt, identity
from pipeline.tokens.huggingface import write_huggingface
from pipeline.tokens.merges import parse_ranks
from pipeline.tokens.patterns import PATTERNS, PatternName
from pipeline.tokens.ranks import (
    END_OF_TEXT,
    PUBLICATIONS,
    PublishedName,
    find_ranks,
    tiktoken_cache,
)
from pipeline.tokens.tokenizer import BOS, EOS, SPECIALS, Tokenizer, with_more_specials
from pipeline.tokens.training import check_vocab_size, even_shares, train_ranks

VERSION = 1
RANKS_FOLDER = "ranks"
"""Folder under the root where `mill tokenizer import` puts published ranks."""


_MASK_FIELD: bool = Field(
    False, title="Mask token", description="add <|mask|>, which masked-LM training needs"
)
_SENTINELS_FIELD: int = Field(
    0,
    ge=0,
    le=10_000,
    title="Sentinels",
    description="add <extra_id_0>, <extra_id_1>, ...: so many, which span corruption needs; T5 has "
    "100",
)
_MORE_FIELD: tuple[str, ...] = Field(
    (),
    title="More special tokens",
    description="added at the end, so that a model trained without them can go on with them",
)


class TrainedTokenizerConfig(BaseModel):
    """A byte-level BPE learnt from the cleaned corpus."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["trained"] = "trained"
    vocab_size: int = Field(
        4096,
        ge=1,
        le=1 << 20,
        title="Vocabulary",
        description="ids in all, 7 special tokens included; the mask token, sentinels and "
        "more_specials come on top",
    )
    mask: bool = _MASK_FIELD
    sentinels: int = _SENTINELS_FIELD
    more_specials: tuple[str, ...] = _MORE_FIELD
    pattern: PatternName = Field(
        "cl100k",
        title="Split pattern",
        description="how text is cut before merging; han keeps Chinese apart from its surroundings",
    )
    sample_bytes: int = Field(
        10_000_000,
        ge=1,
        title="Sample",
        description="bytes of text to learn from, spread evenly over the sources",
    )
    min_pair_count: int = Field(
        2, ge=1, title="Rarest merge", description="a merge must occur this often in the sample"
    )


class PublishedTokenizerConfig(BaseModel):
    """A published tiktoken encoding, read from a file you have; nothing is downloaded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["published"] = "published"
    name: PublishedName = Field(title="Encoding", description="its <|endoftext|> plays bos and eos")
    mask: bool = _MASK_FIELD
    sentinels: int = _SENTINELS_FIELD
    more_specials: tuple[str, ...] = _MORE_FIELD
    file: str | None = Field(
        None,
        title="Ranks file",
        description="a .tiktoken file, or a folder such as tiktoken's cache; null: imported ranks, "
        "then tiktoken's default cache folder",
    )


class HuggingFaceTokenizerConfig(BaseModel):
    """The tokenizer of a downloaded model, to go on from that model's weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["huggingface"] = "huggingface"
    path: str = Field(
        title="Directory",
        description="where tokenizer.json is: a byte-level BPE, as of GPT-2, Llama 3 and Qwen",
        min_length=1,
    )
    mask: bool = _MASK_FIELD
    sentinels: int = _SENTINELS_FIELD
    more_specials: tuple[str, ...] = _MORE_FIELD


AnyTokenizerConfig = TrainedTokenizerConfig | PublishedTokenizerConfig | HuggingFaceTokenizerConfig
TokenizerConfig = Annotated[AnyTokenizerConfig, Field(discriminator="kind")]


def train_tokenizer(
    config: AnyTokenizerConfig,
    corpus: CleanedCorpus,
    *,
    root: Path,
    runtime: Runtime,
    ranks_folders: Sequence[Path] = (),
) -> TrainedTokenizer:
    """Train on `corpus`, or take a published encoding or a model's own tokenizer, whose identity
    does not depend on it.

    `ranks_folders` are searched for published ranks before tiktoken's default cache folder.
    """
    if isinstance(config, PublishedTokenizerConfig):
        places = [root / RANKS_FOLDER, *ranks_folders, tiktoken_cache()]
        if config.file:
            places = [Path(config.file).expanduser()]
        return _published(config, places, root=root, runtime=runtime)
    if isinstance(config, HuggingFaceTokenizerConfig):
        return _adopted(config, root=root, runtime=runtime)
    check_vocab_size(config.vocab_size)
    key = artifact_key("tokenizer", VERSION, _identity(plain(config)), [corpus.key])

    def work(directory: Path) -> Outcome:
        sizes = _bytes_by_source(corpus)
        fractions = even_shares(sizes, config.sample_bytes)
        limits = {source: int(sizes[source] * f) for source, f in fractions.items() if f < 1}
        enough = _enough(corpus, limits)
        trained = train_ranks(
            lambda: _sample(corpus, fractions, limits, enough),
            vocab_size=config.vocab_size,
            pattern=PATTERNS[config.pattern],
            min_pair_count=config.min_pair_count,
        )
        tokenizer = _with_specials(trained.tokenizer, config)
        _save(tokenizer, directory)
        facts = {
            **_facts(tokenizer),
            "sample_bytes": trained.sample_bytes,
            **trained.measured.facts(),
            "sample_fractions": {source: round(f, 6) for source, f in sorted(fractions.items())},
        }
        return Outcome(facts)

    directory = root / "tokenizer" / short(key.fingerprint)
    path = build(key, directory, work, root=root, runtime=runtime)
    return TrainedTokenizer(path, key.fingerprint)


def check_files(config: AnyTokenizerConfig) -> None:
    """ConfigError or DataError for a tokenizer that is to be taken from files and cannot be.

    For plans: before anything is built. Imported ranks are looked for when the stage runs.
    """
    if isinstance(config, HuggingFaceTokenizerConfig):
        adopt(Path(config.path).expanduser())
    elif isinstance(config, PublishedTokenizerConfig) and config.file:
        find_ranks(config.name, [Path(config.file).expanduser()])


def _published(
    config: PublishedTokenizerConfig, places: Sequence[Path], *, root: Path, runtime: Runtime
) -> TrainedTokenizer:
    publication = PUBLICATIONS[config.name]
    # The content is fixed by the sha256, so a finished artifact needs the file no more.
    identity = {
        "kind": "published", "specials": list(SPECIALS),
        **_identity(_added(config)),
    }  # fmt: skip
    key = artifact_key("tokenizer", VERSION, identity, [f"ranks@{publication.sha256}"])

    def work(directory: Path) -> Outcome:
        ranks = parse_ranks(find_ranks(config.name, places), where=publication.ranks_name)
        pattern = PATTERNS[publication.pattern]
        specials, roles = published_specials(publication.specials)
        tokenizer = Tokenizer(publication.ranks_name, pattern, ranks, specials, roles)
        tokenizer = _with_specials(tokenizer, config)
        _save(tokenizer, directory)
        return Outcome({**_facts(tokenizer), "published": publication.ranks_name})

    directory = root / "tokenizer" / short(key.fingerprint)
    path = build(key, directory, work, root=root, runtime=runtime)
    return TrainedTokenizer(path, key.fingerprint)


def _adopted(
    config: HuggingFaceTokenizerConfig, *, root: Path, runtime: Runtime
) -> TrainedTokenizer:
    source = Path(config.path).expanduser()
    settings = {
        "kind": "huggingface", "specials": list(SPECIALS),
        **_identity(_added(config)),
    }  # fmt: skip
    # The content decides, wherever the directory lies.
    key = artifact_key("tokenizer", VERSION, settings, [f"vocabulary@{identity(source)}"])

    def work(directory: Path) -> Outcome:
        tokenizer = _with_specials(adopt(source), config)
        _save(tokenizer, directory)
        return Outcome(_facts(tokenizer))

    directory = root / "tokenizer" / short(key.fingerprint)
    path = build(key, directory, work, root=root, runtime=runtime)
    return TrainedTokenizer(path, key.fingerprint)


def _identity(settings: dict[str, Any]) -> dict[str, Any]:
    """Without choices that were not there once, where they are not made: identities stay."""
    later = ("mask", "sentinels", "more_specials")
    return {k: v for k, v in settings.items() if v or k not in later}


def _added(config: AnyTokenizerConfig) -> dict[str, Any]:
    return {
        "mask": config.mask, "sentinels": config.sentinels,
        "more_specials": list(config.more_specials),
    }  # fmt: skip


def _with_specials(tokenizer: Tokenizer, config: AnyTokenizerConfig) -> Tokenizer:
    """The tokenizer and what is asked for on top of it."""
    return with_more_specials(
        tokenizer, config.more_specials, mask=config.mask, sentinels=config.sentinels
    )


def published_specials(own: dict[str, int]) -> tuple[dict[str, int], dict[str, str]]:
    """Special tokens of a published encoding: its own, with ours for the other roles after them.

    Its `<|endoftext|>` plays bos and eos, as in the data such models were trained on.
    """
    ours = [text for text in SPECIALS if text not in (BOS, EOS)]
    first = max(own.values()) + 1
    specials = own | {text: first + i for i, text in enumerate(ours)}
    return specials, {BOS: END_OF_TEXT, EOS: END_OF_TEXT} | {text: text for text in ours}


def _save(tokenizer: Tokenizer, directory: Path) -> None:
    tokenizer.save(directory)
    write_huggingface(tokenizer, directory / "hf")


def _facts(tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "vocab_size": tokenizer.vocab_size,
        "sha256": tokenizer.sha256,
        "pattern_sha256": sha256_bytes(tokenizer.pattern.encode()),
        "bos": tokenizer.bos,
        "eos": tokenizer.eos,
    }


def _bytes_by_source(corpus: CleanedCorpus) -> dict[str, int]:
    totals: dict[str, int] = {}
    for part in kept_parts(corpus):
        for batch in iter_kept(part, ("text", "source")):
            for source, size in zip(batch.sources, np.diff(batch.offsets).tolist(), strict=True):
                totals[source] = totals.get(source, 0) + size
    return totals


def _enough(corpus: CleanedCorpus, limits: Mapping[str, int]) -> dict[str, float]:
    """The place in line up to which a source's documents make half of its share, at least one.

    Documents of very unequal size can miss their share by far: those up to here are always taken.
    """
    lines: dict[str, list[tuple[float, int]]] = {source: [] for source in limits}  # last one first
    totals = dict.fromkeys(limits, 0)
    if not limits:
        return {}
    for part in kept_parts(corpus):
        for batch in iter_kept(part, ("doc_id", "text", "source")):
            sizes = np.diff(batch.offsets).tolist()
            for doc_id, source, size in zip(batch.doc_ids, batch.sources, sizes, strict=True):
                if source not in limits or not size:
                    continue
                line, size = lines[source], min(size, limits[source])
                heapq.heappush(line, (-_unit(doc_id), size))
                totals[source] += size
                while len(line) > 1 and totals[source] - line[0][1] >= limits[source] / 2:
                    totals[source] -= heapq.heappop(line)[1]
    return {source: -line[0][0] for source, line in lines.items() if line}


def _sample(
    corpus: CleanedCorpus,
    fractions: Mapping[str, float],
    limits: Mapping[str, int],
    enough: Mapping[str, float],
) -> Iterator[str]:
    """Documents chosen by a hash of their id, so the choice does not depend on their order.

    Of one larger than its source's whole share only the beginning is taken.
    """
    for part in kept_parts(corpus):
        for batch in iter_kept(part, ("doc_id", "text", "source")):
            rows = zip(batch.doc_ids, batch.texts, batch.sources, strict=True)
            for doc_id, text, source in rows:
                if source not in limits:
                    yield text
                elif (place := _unit(doc_id)) < fractions[source] or place <= enough.get(source, 0):
                    limit = limits[source]
                    fits = len(text) * 4 <= limit or len(text.encode()) <= limit
                    yield text if fits else text.encode()[:limit].decode("utf-8", "ignore")


def _unit(doc_id: str) -> float:
    """A number in 0..1 from the document's id."""
    digest = hashlib.sha256(
        b"tokenizer sample\0" + doc_id.encode("utf-8", "surrogatepass")
    ).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)
