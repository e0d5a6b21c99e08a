"""The MLflow store a run is mirrored into: reached quickly, or not at all.

Opening it migrates a fresh SQLite file (about 5 s), under a lock because two processes doing so at
once break it. HTTP calls get short timeouts and one retry: MLflow's own defaults block for 247 s.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow import environment_variables as mlflow_settings
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError
from urllib3.exceptions import HTTPError

from pipeline.store.errors import ArtifactError
from pipeline.store.files import file_lock
from pipeline.tracking.config import StoreUnavailable, default_artifacts, default_uri, reachable

KIND = {"mlflow.experimentKind": "custom_model_development"}
"""MLflow then opens the experiment with metrics and charts, not with prompts and traces."""
HTTP_TIMEOUT_SECONDS = 10
HTTP_RETRIES = 1
MIGRATION_WAIT_SECONDS = 120.0

UNAVAILABLE = (MlflowException, SQLAlchemyError, HTTPError, OSError)
"""What a store that cannot be used just now raises (requests' errors are OSErrors)."""


@dataclass(frozen=True)
class Store:
    """An open tracking store and the experiment our runs belong to."""

    uri: str
    client: MlflowClient
    experiment_id: str


def open_client(uri: str, root: Path) -> MlflowClient:
    """A client whose store exists and is migrated; StoreUnavailable when nothing answers."""
    if not reachable(uri):
        raise StoreUnavailable(f"nothing listens at {uri}")
    _restrain_mlflow()
    # "Creating initial MLflow database tables" is no news to anybody.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    if uri != default_uri(root):
        return MlflowClient(tracking_uri=uri, registry_uri=uri)
    root.mkdir(parents=True, exist_ok=True)
    with file_lock(
        root / "locks" / "mlflow.lock",
        owner=f"process {os.getpid()} opening the tracking store",
        wait_seconds=MIGRATION_WAIT_SECONDS,
        waiting=lambda holder: None,
    ):
        set_aside_if_moved(root)
        # Making the client creates and migrates the database.
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def open_store(uri: str, root: Path, experiment: str) -> Store:
    """The store with its experiment, created on first use with files under the root by default."""
    client = open_client(uri, root)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        place = _artifact_location(uri, root)
        try:
            return Store(uri, client, client.create_experiment(experiment, place, KIND))
        except MlflowException as error:
            found = client.get_experiment_by_name(experiment)  # another process was faster
            if found is None:
                raise error from None
    return Store(uri, client, _active(client, found))


def _artifact_location(uri: str, root: Path) -> str | None:
    """Where files of a new experiment go; None: the server decides.

    A database without a server has nobody to decide, and MLflow would take `mlruns` in whatever
    directory the process runs.
    """
    if uri.startswith("sqlite:"):
        return default_artifacts(Path(uri.removeprefix("sqlite:///")).parent)
    return None if uri.startswith("http") else default_artifacts(root)


def _active(client: MlflowClient, experiment: Experiment) -> str:
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def _restrain_mlflow() -> None:
    """Bound MLflow's own waiting and printing, unless the user has set it."""
    for setting, value in (
        (mlflow_settings.MLFLOW_HTTP_REQUEST_TIMEOUT, HTTP_TIMEOUT_SECONDS),
        (mlflow_settings.MLFLOW_HTTP_REQUEST_MAX_RETRIES, HTTP_RETRIES),
        (mlflow_settings.MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR, 0),
        (mlflow_settings.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT, True),
    ):
        if not setting.is_set():
            setting.set(value)


def set_aside_if_moved(root: Path) -> None:
    """MLflow stores absolute paths: a database that came here with a moved tree is dead.

    It is renamed, never deleted; the caller finds an empty store and `rebuild` fills it from
    manifests and journals. A marker beside the database says where it was made.
    """
    database = root / "mlflow.db"
    marker = root / "mlflow.made-at"
    here = str(root.resolve())
    if database.exists() and marker.is_file() and marker.read_text("utf-8") != here:
        for name in ("mlflow.db", "mlartifacts"):
            path = root / name
            if path.exists():
                path.rename(_free_name(root, f"{name}.moved"))
    if not database.exists() or not marker.is_file():
        marker.write_text(here, "utf-8")


def _free_name(root: Path, name: str) -> Path:
    for number in range(1, 1000):
        path = root / f"{name}-{number}"
        if not path.exists():
            return path
    raise ArtifactError(f"{root} holds 1000 files named {name}-*; delete the old ones")
