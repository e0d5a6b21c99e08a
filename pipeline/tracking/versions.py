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
NOTE_TAG = "mlflow.note.content"
"""What MLflow's pages of runs and logged models call their description; Markdown."""
ROLLED_BACK = "rolled_back"
_SHOWN = {
    "gristmill.bits_per_byte": "bits per byte",
    "gristmill.response_loss": "response loss",
    "gristmill.masked_nats_per_token": "nats per hidden token",
    "gristmill.target_nats_per_token": "nats per target token",
}
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


def description(name: str, tags: Mapping[str, str]) -> str:
    """What MLflow's page says first about a version: verdict, figures, origin, how to load it."""
    figures = [f"{title} {float(tags[key]):.4f}" for key, title in _SHOWN.items() if key in tags]
    lines = [
        f"{tags.get(GATE_TAG, 'not judged')}: {tags.get(REASON_TAG, 'the gate was not asked')}",
        ", ".join(figures),
        f"made from `{tags.get('gristmill.checkpoint', 'unknown')}`; model card: "
        "`artifacts/hf/README.md` of the model; certificate: among the artifacts of the source run",
        f'`mlflow.pyfunc.load_model("models:/{name}@{CHAMPION}")` answers with the champion',
    ]
    return "\n\n".join(line for line in lines if line)


def model_description(name: str) -> str:
    """What MLflow's page says first about a registered model: what its aliases mean."""
    return "\n\n".join([
        f"`{CHAMPION}` answers, `{CHALLENGER}` is the newest candidate, `{PREVIOUS}` was champion "
        "before. A version's description begins with what the gate said of it, and why.",
        f'`mlflow.pyfunc.load_model("models:/{name}@{CHAMPION}")`',
    ])  # fmt: skip
