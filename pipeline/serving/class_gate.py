"""When a classifier becomes champion: it is right more often on the same texts, beyond chance.

Both must have been measured on the same labels: then texts can be compared in pairs.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artifacts import EvalReport
from pipeline.evals.paired import DRAWS
from pipeline.evals.statistics import bootstrap_ratio
from pipeline.serving.gate import Limits, Verdict, inputs_of, measured


def class_gate(
    candidate: EvalReport, champion: EvalReport, limits: Limits | None = None
) -> Verdict:
    """Accuracy, paired by text. There are no sources here that could be worse on their own."""
    limits = limits or Limits()
    ours, theirs = inputs_of(candidate, "labels"), inputs_of(champion, "labels")
    if ours != theirs:
        return Verdict(
            False,
            f"measured on {', '.join(ours)}, the champion on {', '.join(theirs)}: different labels "
            "never promote; only `mill registry promote` makes it champion",
        )
    own, before = measured(candidate), measured(champion)
    if "accuracy" not in own:
        return Verdict(False, "its report has no finite accuracy")
    if "accuracy" not in before:
        return Verdict(True, "the champion's report has no finite accuracy")
    a, b = _predictions(candidate.path), _predictions(champion.path)
    if not all(a[name].equals(b[name]) for name in ("id", "unit", "expected")):
        return Verdict(False, "other texts were asked than of the champion; not comparable")
    expected = np.array(a["expected"].to_pylist(), object)
    right = [np.array(table["predicted"].to_pylist(), object) == expected for table in (a, b)]
    better = right[0].astype(np.float64) - right[1]
    _, text = np.unique(np.array(a["id"].to_pylist()), return_inverse=True)
    interval = bootstrap_ratio(
        np.bincount(text, weights=better), np.bincount(text).astype(np.float64),
        draws=DRAWS, seed=0, confidence=limits.confidence,
    )  # fmt: skip
    numbers = (
        f"accuracy {own['accuracy']:.4f} against {before['accuracy']:.4f}, difference "
        f"{better.mean():+.4f} ({100 * limits.confidence:.4g} % interval {interval.low:+.4f} to "
        f"{interval.high:+.4f}, {len(better)} targets)"
    )
    figures = {"delta": float(better.mean()), "low": interval.low, "high": interval.high}
    if not interval.low > 0:
        return Verdict(False, f"not better than the champion beyond chance: {numbers}", figures)
    return Verdict(True, f"better than the champion: {numbers}", figures)


def _predictions(report: Path) -> pa.Table:
    with pa.memory_map(str(report / "predictions.arrow")) as file:
        return pa.ipc.open_file(file).read_all()
