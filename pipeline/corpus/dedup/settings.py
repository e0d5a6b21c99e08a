"""How alike two documents may be, to each other and to the held-out text; who stays."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MIN_GUARDED_DOCUMENTS = 10  # fewer than this are no source that could be wiped out; guess


class RepeatedLines(BaseModel):
    """Lines or paragraphs that occur again anywhere in the corpus; the first occurrence stays."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unit: Literal["line", "paragraph"] = Field(
        "line", title="Unit", description="Paragraphs are separated by blank lines."
    )
    min_chars: int = Field(
        40,  # guess: longer than a heading, a brace or "All rights reserved."
        ge=1,
        title="Shortest",
        description="Characters; shorter lines may repeat. White space at the ends is not counted.",
    )
    max_lost: float = Field(
        0.8,  # Dolma's paragraph deduplication drops a document beyond this share of duplicates
        gt=0,
        le=1,
        title="Largest loss",
        description="A document that would lose more than this share of its bytes leaves whole.",
    )


class SignatureConfig(BaseModel):
    """What shapes the signatures of a part: another value makes other parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shingle_words: int = 5
    shingle_chars: int = 5
    bits: Literal[32, 64] = 32
    size: int = 112
    """Numbers in a MinHash signature."""
    seed: int = 0
    urls: bool = False
    lines: RepeatedLines | None = None


class KeepRule(BaseModel):
    """Which of several duplicates stays: by source, then length, order of sources, smallest id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[str, ...] = Field(
        (),
        title="Preferred sources",
        description="Names in order of preference; sources not named come after them.",
    )
    length: Literal["longest", "shortest"] = Field(
        "longest", title="Length", description="In characters."
    )


class DedupConfig(BaseModel):
    """Exact, address, line and near-duplicate removal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exact: bool = Field(True, title="Drop copies", description="Equal but for white space.")
    url: bool = Field(
        False,
        title="Drop repeated addresses",
        description="Documents whose metadata name the same `url`, normalised.",
    )
    lines: RepeatedLines | None = Field(
        None, title="Cut repeated lines", description="Across the whole corpus."
    )
    near: bool = Field(True, title="Drop near-duplicates", description="By MinHash and Jaccard.")
    min_jaccard: float = Field(
        0.8,  # Lee et al. 2022, "Deduplicating training data makes language models better"
        gt=0,
        le=1,
        title="Similarity",
        description="Documents with at least this Jaccard similarity of shingles are duplicates.",
    )
    closure: Literal["verified", "unverified"] = Field(
        "verified",
        title="What joins a group",
        description="verified: true similarity with the document that stays. unverified: whatever "
        "shares a band with a member, as FineWeb did it; `min_jaccard` then plays no part.",
    )
    shingle_words: int = Field(
        5,  # FineWeb, Penedo et al. 2024
        ge=1,
        le=32,
        title="Words per shingle",
        description="In documents mostly in scripts written with spaces; FineWeb: 5.",
    )
    shingle_chars: int = Field(
        5,
        ge=1,
        le=64,
        title="Characters per shingle",
        description="In documents mostly in scripts written without spaces.",
    )
    bits: Literal[32, 64] = Field(
        32, title="Bits", description="Of each number in a signature; 64 takes twice the space."
    )
    bands: int = Field(14, ge=1, le=64, title="Bands", description="FineWeb: 14.")
    band_rows: int = Field(8, ge=1, le=32, title="Rows per band", description="FineWeb: 8.")
    keep: KeepRule = Field(
        KeepRule(), title="Which one stays", description="By source, then length, then id."
    )
    max_source_loss: float = Field(
        0.8,  # guess: marin issue 6854 lost 859,090 of 859,092 documents of one source
        gt=0,
        le=1,
        title="Largest loss of a source",
        description="The run stops when a source of ten documents or more would lose a larger "
        "share of them to near-duplicates; 1 never stops.",
    )
    against: tuple[str, ...] = Field(
        (),
        title="Earlier corpora",
        description="Cleaned corpora (directories or clean@digits) whose documents are not wanted "
        "again.",
    )
    known_parts: Literal["refuse", "skip"] = Field(
        "refuse",
        title="Files an earlier corpus was made from",
        description="refuse: the run stops. skip: they are left out and only new files are "
        "cleaned, as each night does.",
    )

    @model_validator(mode="after")
    def _sources_once(self) -> "DedupConfig":
        names = self.keep.sources
        if len(set(names)) < len(names):
            raise ValueError(f"keep.sources={list(names)} names a source twice")
        return self

    @property
    def signature_size(self) -> int:
        """Numbers in a MinHash signature."""
        return self.bands * self.band_rows

    def for_parts(self, seed: int) -> SignatureConfig:
        """The settings that shape a part's signatures; thresholds are not among them."""
        lines = self.lines
        if lines is not None:
            lines = RepeatedLines(unit=lines.unit, min_chars=lines.min_chars)
        return SignatureConfig(
            shingle_words=self.shingle_words,
            shingle_chars=self.shingle_chars,
            bits=self.bits,
            size=self.signature_size,
            seed=seed,
            urls=self.url,
            lines=lines,
        )

    def identity(self) -> dict[str, object]:
        """What shapes the result; the earlier corpora and the parts enter by their fingerprints."""
        elsewhere = ("against", "known_parts")
        names = (name for name in DedupConfig.model_fields if name not in elsewhere)
        return {name: getattr(self, name) for name in names}


class HeldOutFiles(BaseModel):
    """Further text the training text must be kept free of, such as a benchmark's questions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        title="Name",
        description="What the lists of removed documents call it.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
    )
    paths: tuple[str, ...] = Field(
        min_length=1,
        title="Files",
        description="Paths or globs. `.jsonl` (also .gz, .zst): a document per line; other files: "
        "a document per paragraph.",
    )
    fields: tuple[str, ...] = Field(
        (),
        title="Fields",
        description="Of each JSON object, joined by line breaks; empty: every string in it.",
    )


class DecontaminationConfig(BaseModel):
    """How much of the held-out text may stay in the training text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    against: tuple[HeldOutFiles, ...] = Field(
        (), title="Further held-out text", description="The frozen eval set is always held out."
    )
    action: Literal["drop", "trim"] = Field(
        "drop",
        title="What happens to an overlapping document",
        description="drop: it leaves. trim: the overlapping 13-grams are cut out of it.",
    )
    max_trimmed: float = Field(
        0.5,  # guess
        gt=0,
        le=1,
        title="Largest trimmed share",
        description="A document that would lose more than this share of its bytes leaves whole.",
    )
    max_overlap: float = Field(
        0.10,
        ge=0,
        le=1,
        title="Largest overlap",
        description="A document overlaps when more than this share of its own 13-grams occurs in "
        "held-out text.",
    )
    max_covered: float = Field(
        0.10,
        ge=0,
        le=1,
        title="Largest part of a held-out document",
        description="A document overlaps when it has more than this share of the 13-grams of "
        "any one held-out document, however long it is itself.",
    )
    near_duplicates: bool = Field(
        True,
        title="Drop near-duplicates of held-out documents",
        description="Same similarity as between training documents.",
    )

    @model_validator(mode="after")
    def _names_once(self) -> "DecontaminationConfig":
        names = [one.name for one in self.against]
        if len(set(names)) < len(names):
            raise ValueError(f"against names {names}; give each set its own name")
        return self

    def identity(self) -> dict[str, object]:
        """What shapes the result; the held-out files enter by content instead."""
        names = (name for name in DecontaminationConfig.model_fields if name != "against")
        return {name: getattr(self, name) for name in names}
