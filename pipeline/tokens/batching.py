"""How token shards become rows: the settings. What they build is in windows.py and documents.py.

    windows     | b x x e b y | y y y e b z |     concatenated and cut: no padding, O(1) to open
    packed      | b x x e b z z e | b y y y y |   whole documents by best fit, nothing cut or lost
    documents   | b x x e . . . . | b z z e . |   one document (or piece of a long one) per row

Frozen stdlib dataclasses: part of what is trained on, so part of the identity of a training run.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from model.settings import FORBID_EXTRA, check, setting


@dataclass(frozen=True)
class Mixture:
    """Sources in given shares of the rows, instead of all text once per epoch.

    Sources that are left out are not trained on; a small one is repeated as its share demands.
    """

    sources: tuple[str, ...] = setting((), "Names of sources in the corpus.")
    weights: tuple[float, ...] = setting((), "Their shares of the rows, in any unit.", item_gt=0.0)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)
        if not self.sources or len(self.sources) != len(self.weights):
            raise ValueError(
                f"mixture has {len(self.sources)} sources and {len(self.weights)} weights; "
                "give one weight per source, and at least one"
            )
        if len(set(self.sources)) < len(self.sources):
            raise ValueError(f"mixture.sources={self.sources} names one twice; name each once")


_MIXTURE = "Sources by weight; null takes all text evenly."


@dataclass(frozen=True)
class CutWindows:
    """Documents end to end, cut every `context_length` tokens; nothing is lost but the last cut."""

    kind: Literal["windows"] = "windows"
    reset_positions: bool = setting(
        True, "Positions restart with every document; false counts through the row."
    )
    mixture: Mixture | None = setting(None, _MIXTURE)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class PackedDocuments:
    """Whole documents, several to a row, by best fit; only those longer than a row are cut."""

    kind: Literal["packed"] = "packed"
    mixture: Mixture | None = setting(None, _MIXTURE)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class SingleDocuments:
    """One document per row, padded; a longer one takes several rows."""

    kind: Literal["documents"] = "documents"
    mixture: Mixture | None = setting(None, _MIXTURE)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)


AnyBatching = CutWindows | PackedDocuments | SingleDocuments


def for_validation(batching: AnyBatching) -> CutWindows:
    """Every held-out token once, in windows whatever the training rows are: losses compare."""
    resets = batching.reset_positions if isinstance(batching, CutWindows) else True
    return CutWindows(reset_positions=resets)
