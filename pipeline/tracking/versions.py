"""A version of a registered model, and the names its aliases and tags have."""

from collections.abc import Mapping
from dataclasses import dataclass

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
FINGERPRINT_TAG = "gristmill.fingerprint"
GATE_TAG = "gristmill.gate"
REASON_TAG = "gristmill.gate_reason"
FILES_TAG = "gristmill.files_sha256"
"""Digest over the names and hashes of the files in `hf/`."""
MODEL_TAG = "gristmill.mlflow_model"
"""MLflow's id of the logged model that holds the files."""
EVAL_SET_USES_TAG = "gristmill.eval_set_uses"
RESCORED_TAG = "gristmill.rescored_report"
"""Fingerprint of the report that measured a champion on an eval set that came after it."""
ROLLED_BACK = "rolled_back"
MAX_TAG_CHARACTERS = 4900  # MLflow takes 5,000 bytes or so, by store


@dataclass(frozen=True)
class Version:
    """One version of a registered model."""

    name: str
    number: int
    fingerprint: str
    """Of the export it was made from; empty for a version somebody else registered."""
    tags: Mapping[str, str]
    aliases: tuple[str, ...]

    @property
    def uri(self) -> str:
        """How MLflow loads exactly this version."""
        return f"models:/{self.name}/{self.number}"

    def __str__(self) -> str:
        reason = self.tags.get(REASON_TAG, "")
        return (
            f"{self.name} version {self.number} ({', '.join(self.aliases) or 'no alias'}): {reason}"
        )
