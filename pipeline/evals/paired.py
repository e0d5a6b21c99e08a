"""Two models on the same documents: is one better, and by how much?

The documents are resampled for both at once, so what makes a document hard cancels out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from pipeline.artifacts import EvalReport
from pipeline.corpus.languages.codes import UNDETERMINED
from pipeline.evals.document_scores import read_scores
from pipeline.evals.statistics import bits_per_byte, bootstrap_ratio
from pipeline.store.errors import ArtifactError

DRAWS = 1_000
Axis = Literal["source", "language"]
AXES: tuple[Axis, ...] = ("source", "language")


@dataclass(frozen=True)
class Comparison:
    """Candidate minus champion, in bits per byte: negative means the candidate is better."""

    delta: float
    low: float
    high: float
    """Paired-bootstrap interval of `delta`, 95 % unless asked otherwise."""
    win_rate: float
    """Share of documents on which the candidate needs fewer bits; ties count half."""
    documents: int

    @property
    def better(self) -> bool:
        """Whether the candidate is better beyond what other documents could change.

        One document cannot tell: drawn again it is the same, and the interval has no width.
        """
        return self.documents > 1 and self.high < 0


def eval_set_ref(report: EvalReport) -> str:
    """`eval_set@<12 digits>` of the eval set the report was measured on."""
    refs = [ref for ref in report.manifest.inputs if ref.startswith("eval_set@")]
    if len(refs) != 1:
        raise ArtifactError(
            f"{report.path} names {len(refs)} eval sets in its manifest; expected one"
        )
    return refs[0]


@dataclass(frozen=True)
class GroupChange:
    """One source or language: what both models need for its documents."""

    axis: Axis
    name: str
    candidate: float
    champion: float
    """In bits per byte (or another cost of a unit), as `candidate`."""
    count: int
    """Documents, or tokens, in it."""

    @property
    def relative(self) -> float:
        """By which fraction the candidate needs more; negative where it needs less."""
        if self.champion > 0:
            return self.candidate / self.champion - 1
        return math.inf if self.candidate > 0 else 0.0


def compare(
    candidate: EvalReport, champion: EvalReport, *, draws: int = DRAWS, seed: int = 0,
    confidence: float = 0.95,
) -> Comparison:  # fmt: skip
    """The paired comparison; ArtifactError if the two were measured on different eval sets."""
    a, b = _paired_scores(candidate, champion)
    num_bytes = a["bytes"].to_numpy().astype(np.float64)
    return compare_nats(
        a["nats"].to_numpy(), b["nats"].to_numpy(), num_bytes, draws=draws, seed=seed,
        confidence=confidence,
    )  # fmt: skip


def changes_by_group(candidate: EvalReport, champion: EvalReport) -> list[GroupChange]:
    """Bits per byte of both models in every source and language; ArtifactError as in `compare`."""
    a, b = _paired_scores(candidate, champion)
    num_bytes = a["bytes"].to_numpy().astype(np.float64) * np.log(2)
    groups = {axis: a[axis].to_pylist() for axis in AXES if axis in a.column_names}
    return changes_of(groups, a["nats"].to_numpy(), b["nats"].to_numpy(), num_bytes)


def changes_of(
    groups: Mapping[Axis, Sequence[str | None]],
    candidate: np.ndarray,
    champion: np.ndarray,
    units: np.ndarray,
) -> list[GroupChange]:
    """Costs of both models (D,) over `units` (D,), summed by each axis's names (D of them)."""
    found = []
    for axis, names in groups.items():
        labels, number = np.unique([name or UNDETERMINED for name in names], return_inverse=True)
        size = np.bincount(number, weights=units)
        ours, theirs = (np.bincount(number, weights=nats) for nats in (candidate, champion))
        for i, count in enumerate(np.bincount(number).tolist()):
            if size[i] > 0:
                costs = float(ours[i] / size[i]), float(theirs[i] / size[i])
                found.append(GroupChange(axis, str(labels[i]), *costs, count))
    return found


def _paired_scores(candidate: EvalReport, champion: EvalReport) -> tuple[pa.Table, pa.Table]:
    """The per-document figures of both, row by row of the same documents."""
    ours, theirs = eval_set_ref(candidate), eval_set_ref(champion)
    if ours != theirs:
        raise ArtifactError(
            f"{candidate.ref} was measured on {ours}, {champion.ref} on {theirs}: not comparable; "
            "evaluate both on one eval set"
        )
    # Two sources may hold one id: sorted by it alone, their rows could change places.
    order = [("source", "ascending"), ("doc_id", "ascending")]
    a = read_scores(candidate.path / "documents.arrow").sort_by(order)
    b = read_scores(champion.path / "documents.arrow").sort_by(order)
    if not (a["doc_id"].equals(b["doc_id"]) and a["bytes"].equals(b["bytes"])):
        raise ArtifactError(
            f"{candidate.ref} and {champion.ref} hold different documents; re-evaluate both"
        )
    return a, b


def compare_nats(
    candidate: np.ndarray, champion: np.ndarray, num_bytes: np.ndarray, *, draws: int, seed: int,
    confidence: float = 0.95,
) -> Comparison:  # fmt: skip
    """The comparison of per-document nats (D,) over the same `num_bytes` (D,)."""
    filled = num_bytes > 0
    difference, num_bytes = (candidate - champion)[filled], num_bytes[filled]
    interval = bootstrap_ratio(
        difference / np.log(2), num_bytes, draws=draws, seed=seed, confidence=confidence
    )
    wins = (difference < 0).sum() + 0.5 * (difference == 0).sum()
    return Comparison(
        delta=bits_per_byte(float(difference.sum()), float(num_bytes.sum())),
        low=interval.low,
        high=interval.high,
        win_rate=float(wins / len(difference)),
        documents=len(difference),
    )
