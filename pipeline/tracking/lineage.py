"""An artifact as journal events: parameters, tags, figures of merit, the data it was made from.

Everything comes from manifests, so a deleted MLflow database can be filled again from them.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.artifacts import Artifact, seek_artifact
from pipeline.store.fingerprint import MLFLOW_DIGITS

WHOLE_RUN = "whole_run"
"""Prefix of figures that have one value: MLflow draws charts by name, and curves come first so."""

MAX_PARAM_CHARACTERS = 6000  # MLflow's limit on a parameter's value
MAX_MODEL_PARAM_CHARACTERS = 500  # guess; MLflow's own limit for a logged model is not documented
ROLES = {
    "tokenizer": "tokenizer", "pretrain": "model", "finetune": "model", "classify": "model",
    "evaluate": "report",
    "baselines": "report", "export": "model", "exclusions": "excluded",
}  # fmt: skip
"""Inputs that are the same to every stage."""
TRAINING = ("tokenizer", "pretrain", "finetune", "classify", "baselines")
"""Stages that learn something from their inputs."""


def flattened(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings with dotted names; a list is one leaf."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from flattened(item, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, value


def parameters(config: Any) -> dict[str, str]:
    """A configuration as MLflow parameters."""
    leaves = flattened(config)
    return {
        name: (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))[
            :MAX_PARAM_CHARACTERS
        ]
        for name, value in leaves
        if name
    }


def figures_of_merit(facts: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among an artifact's facts, named `whole_run/...`."""
    return {
        f"{WHOLE_RUN}/{name}": float(value)
        for name, value in flattened(facts)
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def tags(artifact: Artifact) -> dict[str, str]:
    """What identifies the artifact and the code that made it."""
    manifest = artifact.manifest
    made = manifest.provenance
    found = {
        "fingerprint": manifest.fingerprint,
        "artifact": manifest.ref,
        "stage_version": manifest.stage_version,
        "inputs": ", ".join(manifest.inputs),
        "git_commit": made.get("git_commit"),
        "git_dirty": made.get("git_dirty"),
        "device": made.get("device"),
        "host": made.get("host"),
    }
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def lineage_of(artifact: Artifact) -> dict[str, str]:
    """Everything the artifact was made from, back to the documents: stage -> references."""
    found: dict[str, list[str]] = {}
    waiting, seen = [artifact], {artifact.ref}
    while waiting:
        for reference in waiting.pop().manifest.inputs:
            if reference in seen:
                continue
            seen.add(reference)
            found.setdefault(reference.rpartition("@")[0], []).append(reference)
            parent = seek_artifact(artifact.root, reference)
            if parent is not None:
                waiting.append(parent)
    return {
        stage: ", ".join(sorted(references))[:MAX_MODEL_PARAM_CHARACTERS]
        for stage, references in sorted(found.items())
    }


def datasets(root: Path, artifact: Artifact) -> list[dict[str, str]]:
    """The inputs of an artifact as data sets: name, digest (at most 32 digits), place, role."""
    rows = []
    for reference in artifact.manifest.inputs:
        name, _, fingerprint = reference.rpartition("@")
        found = seek_artifact(root, reference)
        source = str(found.path.relative_to(root)) if found is not None else reference
        full = found.fingerprint if found is not None else fingerprint
        role = _role(name, artifact.stage)
        rows.append(
            {"name": name, "digest": full[:MLFLOW_DIGITS], "source": source, "context": role}
        )
    return rows


def _role(name: str, stage: str) -> str:
    """What an input is to the stage that took it: MLflow's context of a data set."""
    if name in ROLES:
        return ROLES[name]
    if stage in ("evaluate", "baselines") and name in ("eval_set", "examples", "labels"):
        return "evaluation"
    if name in ("eval_set", "held_out"):
        return "held out"
    return "training" if stage in TRAINING else "source"
