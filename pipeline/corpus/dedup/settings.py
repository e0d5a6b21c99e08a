"""How alike two documents may be, to each other and to the held-out text."""

from pydantic import BaseModel, ConfigDict, Field


class SignatureConfig(BaseModel):
    """What shapes the signatures of a part: another value makes other parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shingle_words: int
    size: int
    """Numbers in a MinHash signature."""
    seed: int


class DedupConfig(BaseModel):
    """Exact and near-duplicate removal; the longest of a group stays."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exact: bool = Field(True, title="Drop copies", description="Equal but for white space.")
    near: bool = Field(True, title="Drop near-duplicates", description="By MinHash and Jaccard.")
    min_jaccard: float = Field(
        0.8,  # Lee et al. 2022, "Deduplicating training data makes language models better"
        gt=0,
        le=1,
        title="Similarity",
        description="Documents with at least this Jaccard similarity of shingles are duplicates.",
    )
    shingle_words: int = Field(
        5,  # FineWeb, Penedo et al. 2024
        ge=1,
        le=32,
        title="Words per shingle",
        description="Characters in scripts written without spaces.",
    )
    bands: int = Field(14, ge=1, le=64, title="Bands", description="FineWeb: 14.")
    band_rows: int = Field(8, ge=1, le=32, title="Rows per band", description="FineWeb: 8.")

    @property
    def signature_size(self) -> int:
        """Numbers in a MinHash signature."""
        return self.bands * self.band_rows

    def for_parts(self, seed: int) -> SignatureConfig:
        """The settings that shape a part's signatures; thresholds are not among them."""
        return SignatureConfig(
            shingle_words=self.shingle_words, size=self.signature_size, seed=seed
        )


class DecontaminationConfig(BaseModel):
    """How much of the held-out text may stay in the training text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_overlap: float = Field(
        0.10,
        ge=0,
        le=1,
        title="Largest overlap",
        description="A document is dropped when more than this share of its own 13-grams "
        "occurs in held-out text.",
    )
    max_covered: float = Field(
        0.10,
        ge=0,
        le=1,
        title="Largest part of a held-out document",
        description="A document is dropped when it has more than this share of the 13-grams of "
        "any one held-out document, however long it is itself.",
    )
    near_duplicates: bool = Field(
        True,
        title="Drop near-duplicates of held-out documents",
        description="Same similarity as between training documents.",
    )
