"""The environment of our entry points, set before any library reads it.

Telemetry of every library is off unless the user turned it on; stores are absolute and lie under
the root. Only `flows/` reads or writes environment variables.
"""

import os
from pathlib import Path

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # Huge pages for torch's allocator: the head's matrix product on CPU is up to 3 times as fast.
    "THP_MEM_ALLOC_ENABLE": "1",
    # A thread of torch that waits for another shall sleep, not spin: where other programs want the
    # cores too, training a small model is 15 times as fast (measured at a load of 7 on 2 cores).
    "OMP_WAIT_POLICY": "PASSIVE",
    # But not at once: a wait this short (a fraction of a millisecond) is the rule within a training
    # step, and waking costs more. On two idle cores a step of 14 M parameters took 498 ms instead
    # of 571 in bfloat16, 1,333 instead of 1,807 in float32.
    "GOMP_SPINCOUNT": "10000",
    # oneDNN keeps a compiled product for each of 1,024 shapes; packed examples never run out of new
    # shapes, and fine-tuning the default grew by 9 GB. 64 hold all shapes of a pretraining run.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    # Prefect warns for every log record written outside a run, which is most of ours.
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # Ours is the display; Prefect's own lines on the terminal repeat it.
    "PREFECT_LOGGING_LEVEL": "WARNING",
}


def prepare_environment(root: Path | None = None) -> None:
    """Set what is unset; with `root`, Prefect's home too (the user's own setting wins)."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if root is not None:
        os.environ.setdefault("PREFECT_HOME", str(root / "prefect"))
        Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)


def prefect_api_url() -> str | None:
    """The Prefect server the user configured, or None."""
    return os.environ.get("PREFECT_API_URL") or None
