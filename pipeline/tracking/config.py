"""Where runs are tracked: settings, and the addresses they resolve to."""

import socket
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pipeline.store.errors import ConfigError
from pipeline.store.secrets import REMEDY, holds_credentials

PROBE_SECONDS = 0.5
SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql")


def _usable_uri(uri: str) -> str:
    if holds_credentials(uri):
        raise ValueError(f"uri holds credentials; {REMEDY}")
    scheme = urlsplit(uri).scheme
    if scheme.split("+")[0] not in SCHEMES:
        raise ValueError(
            f"uri={uri!r} is not a tracking store this project writes to; use one of "
            f"{', '.join(SCHEMES)} (file stores are in maintenance mode in MLflow: leave uri empty "
            "for a database file under the root)"
        )
    if scheme == "sqlite" and not uri.startswith("sqlite:////"):
        raise ValueError(
            f"uri={uri!r} depends on the current directory; write an absolute path with four "
            "slashes, sqlite:////home/me/mlflow.db"
        )
    return uri


class TrackingConfig(BaseModel):
    """How a run is mirrored into MLflow; the local journal is always written."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    enabled: bool = Field(True, title="Mirror into MLflow", description="Off: journal files only.")
    uri: Annotated[str, AfterValidator(_usable_uri)] | None = Field(
        None, title="Tracking URI", description="Empty: an SQLite file mlflow.db under the root."
    )
    experiment: str = Field(
        "gristmill", min_length=1, max_length=200, title="Experiment", description="MLflow's group."
    )
    ui_url: str | None = Field(
        None,
        title="MLflow UI address",
        description="Where the MLflow pages are served; for links. A http URI serves its own.",
    )
    system_metrics_seconds: float | None = Field(
        5.0,
        ge=0.1,
        title="Sample CPU, memory, disk and GPU every",
        description="Seconds; null: off.",
    )
    drain_seconds: float = Field(
        20.0, ge=0, title="Wait for MLflow at the end", description="Seconds, at most."
    )


def tracking_at(uri: str | None) -> TrackingConfig:
    """The settings of a store named on the command line; ConfigError for one we do not write to."""
    try:
        return TrackingConfig(uri=uri)
    except ValidationError as error:
        raise ConfigError(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from error


def default_uri(root: Path) -> str:
    """The SQLite store under the root, by absolute path."""
    return f"sqlite:///{root.resolve() / 'mlflow.db'}"


def default_artifacts(root: Path) -> str:
    """Where the default store keeps files, as a URI."""
    return (root.resolve() / "mlartifacts").as_uri()


def tracking_uri(config: TrackingConfig, root: Path) -> str:
    """The store this run is mirrored into."""
    return config.uri if config.uri is not None else default_uri(root)


def sync_command(uri: str, root: Path) -> str:
    """What a person types to send later what the store at `uri` could not take now."""
    named = "" if uri == default_uri(root) else f" --uri {uri}"
    return f"mill store sync --root {root}{named}"


class StoreUnavailable(OSError):
    """The tracking store does not answer; what was to be sent stays in the journal."""


def reachable(uri: str, *, seconds: float = PROBE_SECONDS) -> bool:
    """Whether something listens at an http(s) URI; databases are always tried for real."""
    address = urlsplit(uri)
    if address.scheme not in ("http", "https") or address.hostname is None:
        return True
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        with socket.create_connection((address.hostname, port), timeout=seconds):
            return True
    except OSError:
        return False
