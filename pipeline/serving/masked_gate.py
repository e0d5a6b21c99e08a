"""When an encoder becomes champion: it finds the same hidden tokens with fewer nats, beyond chance.

Both must have been measured on the same eval set, with the same tokenizer and the same settings:
then the same tokens were hidden in the same surroundings, and documents can be compared in pairs.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artifacts import EvalReport
from pipeline.evals.paired import DRAWS
from pipeline.evals.statistics import bootstrap_ratio
from pipeline.serving.gate import Verdict, inputs_of, measured


def masked_gate(candidate: EvalReport, champion: EvalReport) -> Verdict:
    """Nats per hidden token, paired by document."""
    for stage, what in (("eval_set", "eval sets"), ("tokenizer", "tokenizers")):
        ours, theirs = inputs_of(candidate, stage), inputs_of(champion, stage)
        if ours != theirs:
            return Verdict(
                False,
                f"measured on {', '.join(ours)}, the champion on {', '.join(theirs)}: different "
                f"{what} never promote; only `registry promote` makes it champion",
            )
    own, before = measured(candidate), measured(champion)
    if "masked_nats_per_token" not in own:
        return Verdict(False, "its report has no finite masked_nats_per_token")
    if "masked_nats_per_token" not in before:
        return Verdict(True, "the champion's report has no finite masked_nats_per_token")
    a, b = _places(candidate.path), _places(champion.path)
    if not (a["doc_id"].equals(b["doc_id"]) and a["place"].equals(b["place"])):
        return Verdict(False, "other tokens were hidden than for the champion; not comparable")
    _, number = np.unique(np.array(a["doc_id"].to_pylist()), return_inverse=True)
    difference = a["nats"].to_numpy() - b["nats"].to_numpy()
    interval = bootstrap_ratio(
        np.bincount(number, weights=difference), np.bincount(number).astype(np.float64),
        draws=DRAWS, seed=0,
    )  # fmt: skip
    numbers = (
        f"{own['masked_nats_per_token']:.4f} nats per hidden token against "
        f"{before['masked_nats_per_token']:.4f}, difference {difference.mean():+.4f} (95 % "
        f"interval {interval.low:+.4f} to {interval.high:+.4f}, {len(difference)} tokens)"
    )
    if interval.high < 0:
        return Verdict(True, f"better than the champion: {numbers}")
    return Verdict(False, f"not better than the champion beyond chance: {numbers}")


def _places(report: Path) -> pa.Table:
    with pa.memory_map(str(report / "places.arrow")) as file:
        return pa.ipc.open_file(file).read_all()
