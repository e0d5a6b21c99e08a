"""What both training stages do inside their artifact's directory."""

import shutil
from collections.abc import Mapping
from typing import Any

from pipeline.store.building import Outcome
from pipeline.store.runtime import Runtime
from pipeline.training.job import TrainingJob
from pipeline.training.launch import JOB_FILE, run_job


def train_artifact(job: TrainingJob, runtime: Runtime, facts: Mapping[str, Any]) -> Outcome:
    """Train, then leave only what belongs to the artifact: the rest names paths of this machine."""
    trained = run_job(job, runtime)
    for folder in ("checkpoints", "rows"):
        if (job.path / folder).exists():
            shutil.rmtree(job.path / folder)
    (job.path / JOB_FILE).unlink(missing_ok=True)
    return Outcome(facts={**trained, **facts})
