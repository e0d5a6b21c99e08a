"""What the comparison holds in memory grows by bytes per document, not by their signatures."""

import os
import sys
from pathlib import Path

import pytest

from benchmarks.processes import measure

CHECKOUT = Path(__file__).resolve().parents[2]
BYTES_PER_DOCUMENT = 300  # 47 measured from 0.3 to 3 million; a signature alone has 448


@pytest.mark.slow
def test_peak_memory_grows_by_less_than_a_signature_per_document(tmp_path: Path) -> None:
    peaks = []
    sizes = (100_000, 400_000)
    for documents in sizes:
        folder = tmp_path / str(documents)
        for what in ("make", "merge"):
            spent = measure(
                [
                    sys.executable, "-m", "benchmarks.synthetic_signatures", what, folder,
                    "--documents", str(documents),
                ],
                cores=len(os.sched_getaffinity(0)),
                log=tmp_path / "log",
                environment={"NUMBA_NUM_THREADS": "1"},
                directory=CHECKOUT,
            )  # fmt: skip
        peaks.append(spent.peak_bytes)
    assert peaks[1] - peaks[0] < BYTES_PER_DOCUMENT * (sizes[1] - sizes[0])
    assert peaks[1] < 1e9
