"""When an encoder becomes champion: it finds the same hidden tokens with fewer nats, beyond chance,
and in no source and no language with more than the bound allows. An encoder-decoder likewise, with
the tokens of its targets.

Both must have been measured on the same eval set, with the same tokenizer and the same settings:
then the same tokens were hidden in the same surroundings, and documents can be compared in pairs.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artifacts import EvalReport, EvalSet, seek_artifact
from pipeline.evals.held_out_text import frozen_documents
from pipeline.evals.paired import AXES, DRAWS, Axis, GroupChange, changes_of
from pipeline.evals.statistics import bootstrap_ratio
from pipeline.serving.gate import Limits, Verdict, inputs_of, measured, worsened, worst_of


def masked_gate(
    candidate: EvalReport,
    champion: EvalReport,
    limits: Limits | None = None,
    figure: str = "masked_nats_per_token",
) -> Verdict:
    """Nats per hidden or target token, paired by document; then every source and language."""
    unit = "nats per target token" if figure.startswith("target") else "nats per hidden token"
    limits = limits or Limits()
    for stage, what in (
        ("eval_set", "eval sets"), ("tokenizer", "tokenizers"), ("examples", "examples"),
    ):  # fmt: skip
        ours, theirs = inputs_of(candidate, stage), inputs_of(champion, stage)
        if ours != theirs:
            return Verdict(
                False,
                f"measured on {', '.join(ours) or f'no {what}'}, the champion on "
                f"{', '.join(theirs) or f'no {what}'}: different "
                f"{what} never promote; only `mill registry promote` makes it champion",
            )
    own, before = measured(candidate), measured(champion)
    if figure not in own:
        return Verdict(False, f"its report has no finite {figure}")
    if figure not in before:
        return Verdict(True, f"the champion's report has no finite {figure}")
    a, b = _places(candidate.path), _places(champion.path)
    if not (a["doc_id"].equals(b["doc_id"]) and a["place"].equals(b["place"])):
        return Verdict(False, "other tokens were asked for than from the champion; not comparable")
    _, number = np.unique(np.array(a["doc_id"].to_pylist()), return_inverse=True)
    difference = a["nats"].to_numpy() - b["nats"].to_numpy()
    interval = bootstrap_ratio(
        np.bincount(number, weights=difference), np.bincount(number).astype(np.float64),
        draws=DRAWS, seed=0, confidence=limits.confidence,
    )  # fmt: skip
    numbers = (
        f"{own[figure]:.4f} {unit} against "
        f"{before[figure]:.4f}, difference {difference.mean():+.4f} ("
        f"{100 * limits.confidence:.4g} % interval {interval.low:+.4f} to "
        f"{interval.high:+.4f}, {len(difference)} tokens)"
    )
    changes = _changes(candidate, a, b)
    figures = {
        "delta": float(difference.mean()), "low": interval.low, "high": interval.high,
        **worst_of(changes),
    }  # fmt: skip
    if not interval.high < 0:
        return Verdict(False, f"not better than the champion beyond chance: {numbers}", figures)
    objection = worsened(changes, limits.max_worsening, unit, things="tokens")
    if objection is not None:
        return Verdict(False, f"{objection}, though better on the whole: {numbers}", figures)
    return Verdict(True, f"better than the champion: {numbers}", figures)


def _changes(report: EvalReport, a: pa.Table, b: pa.Table) -> list[GroupChange]:
    """Nats per token of both by source and language; none where the set is gone."""
    if inputs_of(report, "examples"):  # pairs: they have neither source nor language
        return []
    (reference,) = inputs_of(report, "eval_set")
    eval_set = seek_artifact(report.root, reference)
    if not isinstance(eval_set, EvalSet):
        return []
    documents = frozen_documents(eval_set)
    place = {doc_id: number for number, doc_id in enumerate(documents["doc_id"])}
    rows = [place[doc_id] for doc_id in a["doc_id"].to_pylist()]
    groups: dict[Axis, list[str | None]] = {
        axis: [documents[axis][row] for row in rows] for axis in AXES
    }
    return changes_of(groups, a["nats"].to_numpy(), b["nats"].to_numpy(), np.ones(len(rows)))


def _places(report: Path) -> pa.Table:
    with pa.memory_map(str(report / "places.arrow")) as file:
        return pa.ipc.open_file(file).read_all()
