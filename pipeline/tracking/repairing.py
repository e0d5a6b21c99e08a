"""Versions as MLflow has them, and what is mended before anybody uses them.

version without files        -> its export under the root -> the same place, the same hashes
registration that was killed -> its run, which MLflow calls running for ever, is KILLED
"""

import platform
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from pipeline.store.fingerprint import digest, short
from pipeline.tracking.fetching import local_export, scratch_directory
from pipeline.tracking.store import Store
from pipeline.tracking.versions import FINGERPRINT_TAG, MODEL_TAG, Version

REGISTRAR_TAG = "gristmill.registered_from"


def registrar(root: Path) -> str:
    """Who registers from this root of this machine: only one process at a time, by its lock."""
    return short(digest(f"{platform.node()}:{root.resolve()}"))


def end_dead_registrations(store: Store, root: Path) -> None:
    """End the runs of registrations that were killed; the caller holds the root's lock.

    Whoever holds it is the only one who registers from here: what is running still is dead.
    """
    query = f"attributes.status = 'RUNNING' and tags.`{REGISTRAR_TAG}` = '{registrar(root)}'"
    for run in store.client.search_runs([store.experiment_id], query):
        store.client.set_terminated(run.info.run_id, "KILLED")


def repair(client: MlflowClient, root: Path) -> tuple[list[str], list[str]]:
    """Bring back the files of versions that lost them, from the exports under the root.

    Returns what was repaired and what could not be, `NAME/3`.
    """
    from pipeline.tracking.packaging import write_mlflow_model  # mlflow.pyfunc: seconds

    repaired, lost = [], []
    for found in client.search_model_versions():
        version = version_from(found)
        if not version.fingerprint or _has_files(client, found):
            continue
        exported = local_export(root, version)
        if exported is None:
            lost.append(f"{version.name}/{version.number}")
            continue
        with scratch_directory(root) as scratch:
            write_mlflow_model(exported, scratch / "model")
            if (model_id := model_id_of(found)) is not None:
                client.log_model_artifacts(model_id, str(scratch / "model"))
            else:  # registered before versions had a logged model
                client.log_artifacts(str(found.run_id), str(scratch / "model"), "model")
        repaired.append(f"{version.name}/{version.number}")
    return repaired, lost


def _has_files(client: MlflowClient, found: ModelVersion) -> bool:
    """Whether the version's model is where the store says it is."""
    if (model_id := model_id_of(found)) is not None:
        there = {f.path for f in client.list_logged_model_artifacts(model_id)}
    else:
        listed = client.list_artifacts(str(found.run_id), "model")
        there = {f.path.removeprefix("model/") for f in listed}
    return {"MLmodel", "artifacts"} <= there


def model_id_of(found: ModelVersion) -> str | None:
    """The logged model with a version's files; None for one registered before there were any."""
    return found.model_id or (found.tags or {}).get(MODEL_TAG)


def version_from(found: ModelVersion) -> Version:
    """MLflow's entity as ours."""
    tags = {str(key): str(value) for key, value in (found.tags or {}).items()}
    return Version(
        name=str(found.name),
        number=int(found.version),
        fingerprint=tags.get(FINGERPRINT_TAG, ""),
        tags=tags,
        aliases=tuple(sorted(found.aliases or ())),
    )
