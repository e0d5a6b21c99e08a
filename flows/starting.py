"""`pretrain.start: {kind: registered, name, alias}`: which weights these are, decided once.

    models:/NAME@alias -> version 3 -> pretrain@... under the root, else its Hugging Face directory

Decided once per root and settings, in `resolved/start-*.json`: the alias may move on, also because
of the very run that starts from it, and the same command must still mean the same.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.artifacts import Checkpoint, seek_artifact
from pipeline.config import RunConfig
from pipeline.store.errors import ArtifactError
from pipeline.store.files import read_json, write_json
from pipeline.store.fingerprint import digest, plain, short
from pipeline.tracking.champions import CHECKPOINT_TAG
from pipeline.tracking.config import TrackingConfig
from pipeline.training.config import AnyStart, FromCheckpoint, HuggingFace, Registered


def with_start(config: RunConfig, root: Path, *, remember: bool) -> RunConfig:
    """`config` with a registered start replaced by the checkpoint or directory it stands for.

    `remember=False` writes nothing: plans. ConfigError when nothing has that name or alias,
    ArtifactError when MLflow cannot be asked or the record is damaged.
    """
    start = config.pretrain.start
    if not isinstance(start, Registered):
        return config
    asked = short(digest({"start of": plain(config.pretrain)}))
    path = root / "resolved" / f"start-{asked}.json"
    if path.is_file():
        found = read_json(path)
    else:
        found = _looked_up(start, root, config.tracking)
        if remember:
            write_json(path, found)
    resolved = replace(config.pretrain, start=_as_start(found, path))
    return config.model_copy(update={"pretrain": resolved})


def _looked_up(start: Registered, root: Path, tracking: TrackingConfig) -> dict[str, Any]:
    from pipeline.tracking.referring import model_directory, version_of  # heavy: mlflow

    reference = f"models:/{start.name}@{start.alias}"
    version = version_of(reference, root=root, tracking=tracking)
    found: dict[str, Any] = {"requested": reference, "version": version.number}
    checkpoint = seek_artifact(root, version.tags.get(CHECKPOINT_TAG, ""))
    if isinstance(checkpoint, Checkpoint):
        return {**found, "ref": checkpoint.ref}
    directory, _label = model_directory(reference, root=root, tracking=tracking)
    return {**found, "path": str(directory)}


def _as_start(found: Any, path: Path) -> AnyStart:
    if isinstance(found, dict) and isinstance(found.get("ref"), str):
        return FromCheckpoint(found["ref"])
    if isinstance(found, dict) and isinstance(found.get("path"), str):
        return HuggingFace(found["path"])
    raise ArtifactError(f"{path} names neither checkpoint nor directory; delete it and run again")
