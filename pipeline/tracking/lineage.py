"""An artifact as journal events: parameters, tags, figures of merit, the data it was made from.

Everything comes from manifests, so a deleted MLflow database can be filled again from them.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.artifacts import Artifact, seek_artifact
from pipeline.store.fingerprint import MLFLOW_DIGITS

MAX_PARAM_CHARACTERS = 6000  # MLflow's limit on a parameter's value


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
    """The numbers among an artifact's facts, named `facts/...`."""
    return {
        f"facts/{name}": float(value)
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


def datasets(root: Path, artifact: Artifact) -> list[dict[str, str]]:
    """The inputs of an artifact as data sets: name, digest (at most 32 digits), place, role."""
    rows = []
    for reference in artifact.manifest.inputs:
        name, _, fingerprint = reference.rpartition("@")
        found = seek_artifact(root, reference)
        source = str(found.path.relative_to(root)) if found is not None else reference
        full = found.fingerprint if found is not None else fingerprint
        role = "evaluation" if name == "eval_set" else "training"
        rows.append(
            {"name": name, "digest": full[:MLFLOW_DIGITS], "source": source, "context": role}
        )
    return rows
