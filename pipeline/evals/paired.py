"""Two models on the same documents: is one better, and by how much?

The documents are resampled for both at once, so what makes a document hard cancels out.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.artifacts import EvalReport
from pipeline.evals.document_scores import read_scores
from pipeline.evals.statistics import bits_per_byte, bootstrap_ratio
from pipeline.store.errors import ArtifactError

DRAWS = 1_000


@dataclass(frozen=True)
class Comparison:
    """Candidate minus champion, in bits per byte: negative means the candidate is better."""

    delta: float
    low: float
    high: float
    """95 % paired-bootstrap interval of `delta`."""
    win_rate: float
    """Share of documents on which the candidate needs fewer bits; ties count half."""
    documents: int

    @property
    def better(self) -> bool:
        """Whether the candidate is better beyond what other documents could change."""
        return self.high < 0


def eval_set_ref(report: EvalReport) -> str:
    """`eval_set@<12 digits>` of the eval set the report was measured on."""
    refs = [ref for ref in report.manifest.inputs if ref.startswith("eval_set@")]
    if len(refs) != 1:
        raise ArtifactError(
            f"{report.path} names {len(refs)} eval sets in its manifest; expected one"
        )
    return refs[0]


def compare(
    candidate: EvalReport, champion: EvalReport, *, draws: int = DRAWS, seed: int = 0
) -> Comparison:
    """The paired comparison; ArtifactError if the two were measured on different eval sets."""
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
    num_bytes = a["bytes"].to_numpy().astype(np.float64)
    return compare_nats(
        a["nats"].to_numpy(), b["nats"].to_numpy(), num_bytes, draws=draws, seed=seed
    )


def compare_nats(
    candidate: np.ndarray, champion: np.ndarray, num_bytes: np.ndarray, *, draws: int, seed: int
) -> Comparison:
    """The comparison of per-document nats (D,) over the same `num_bytes` (D,)."""
    filled = num_bytes > 0
    difference, num_bytes = (candidate - champion)[filled], num_bytes[filled]
    interval = bootstrap_ratio(difference / np.log(2), num_bytes, draws=draws, seed=seed)
    wins = (difference < 0).sum() + 0.5 * (difference == 0).sum()
    return Comparison(
        delta=bits_per_byte(float(difference.sum()), float(num_bytes.sum())),
        low=interval.low,
        high=interval.high,
        win_rate=float(wins / len(difference)),
        documents=len(difference),
    )
