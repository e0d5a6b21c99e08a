"""What mixing is told: weights or shares of sources, a budget, and how often text may repeat."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_WEIGHT = 1000.0  # as often as max_repeats may let a document be used


class Budget(BaseModel):
    """How much text the mix holds, in bytes or in tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int | None = Field(None, ge=1, title="Bytes of text")
    tokens: int | None = Field(
        None, ge=1, title="Tokens", description="Turned into bytes by bytes_per_token."
    )
    bytes_per_token: float = Field(
        4.0,  # guess for English and a vocabulary of 30,000 to 200,000; Chinese has about 3 to 4
        gt=0,
        title="Bytes per token",
        description="Of the tokenizer that will be used; `mill run` reports it after tokenizing.",
    )

    @model_validator(mode="after")
    def _is_one(self) -> "Budget":
        if (self.bytes is None) == (self.tokens is None):
            raise ValueError("give the budget in bytes or in tokens, one of them")
        return self

    @property
    def num_bytes(self) -> int:
        """The budget in bytes."""
        if self.bytes is not None:
            return self.bytes
        assert self.tokens is not None
        return round(self.tokens * self.bytes_per_token)


class MixingConfig(BaseModel):
    """How sources are weighed against each other and how much of them is used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: dict[str, float] = Field(
        {},
        title="Weights",
        description="Source -> how often its text is used beside that of weight 1: 2 takes it "
        "twice, 0.5 every other document, 0 none. Sources not named have their own weight, or 1.",
    )
    shares: dict[str, float] = Field(
        {},
        title="Shares",
        description="Source -> its share of the mixed text, instead of weights; sources not named "
        "have the rest, in proportion to their size. Needs a budget or takes what is there once.",
    )
    budget: Budget | None = Field(None, title="Budget", description="Of all sources together.")
    max_repeats: float = Field(
        4.0,  # Muennighoff et al. 2023: up to four epochs are almost as good as new text
        ge=1,
        le=1000,
        title="Most repeats",
        description="No document is used more often; what is missing then falls to the others.",
    )
    seed: int = Field(0, ge=0, lt=1 << 63, title="Seed", description="Of which documents are drawn")

    @model_validator(mode="after")
    def _is_consistent(self) -> "MixingConfig":
        if self.weights and self.shares:
            raise ValueError("give weights or shares, not both")
        for name, value in {**self.weights, **self.shares}.items():
            if not 0 <= value <= MOST_WEIGHT:
                raise ValueError(f"{name}={value} must be 0 to {MOST_WEIGHT:g}")
        if sum(self.shares.values()) > 1 + 1e-9:
            raise ValueError(f"the shares add up to {sum(self.shares.values()):g}, more than 1")
        return self

    def changes_nothing(self, source_weights: Mapping[str, float]) -> bool:
        """Whether every document is used once, as without mixing."""
        weights = {**source_weights, **self.weights}
        return not self.shares and self.budget is None and set(weights.values()) <= {1.0}
