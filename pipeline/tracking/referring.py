"""What `models:/NAME@alias` and `models:/NAME/3` refer to, and what registered models refer to."""

import re
from pathlib import Path

from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.tracking.config import TrackingConfig, default_uri
from pipeline.tracking.fetching import check_files, local_export
from pipeline.tracking.ledger import DEFAULT_STORE, Ledger
from pipeline.tracking.registry import opened
from pipeline.tracking.store import UNAVAILABLE
from pipeline.tracking.versions import Version

MODEL_REFERENCE = re.compile(
    r"models:/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(@(?P<alias>[\w.-]+)|/(?P<number>\d+))"
)


def tracking_of(root: Path, name: str, tracking: TrackingConfig | None = None) -> TrackingConfig:
    """The store that holds `name`: the one asked for, else where this root registered it last."""
    tracking = tracking or TrackingConfig()
    if tracking.uri is None:
        store = Ledger(root, default_uri(root)).store_of(name)
        if store not in (None, DEFAULT_STORE):
            return tracking.model_copy(update={"uri": store})
    return tracking


def version_of(reference: str, *, root: Path, tracking: TrackingConfig | None = None) -> Version:
    """The version behind a reference; ConfigError if it names nothing, ArtifactError if MLflow
    cannot be reached.
    """
    name, alias, number = parsed(reference)
    try:
        with opened(root, tracking_of(root, name, tracking)) as registry:
            return registry.named(name, alias=alias, number=number)
    except UNAVAILABLE as error:
        raise _unreachable(reference, error) from error


def model_directory(
    reference: str, *, root: Path, tracking: TrackingConfig | None = None
) -> tuple[Path, str]:
    """The Hugging Face directory behind `models:/NAME@alias` or `models:/NAME/3`, and its name.

    The export under the root where it is still there, else a download into `root/downloads`.
    ConfigError for a reference that names nothing, ArtifactError if MLflow cannot be reached or the
    files are not those that were registered.
    """
    name, alias, number = parsed(reference)
    try:
        with opened(root, tracking_of(root, name, tracking)) as registry:
            version = registry.named(name, alias=alias, number=number)
            label = f"{version.name} version {version.number}"
            exported = local_export(root, version)
            if exported is not None:
                check_files(exported.hf_path, version)
                return exported.hf_path, label
            return registry.download(version), label
    except UNAVAILABLE as error:
        raise _unreachable(reference, error) from error


def needed_exports(root: Path, *, uri: str | None) -> tuple[frozenset[str], frozenset[str]]:
    """Fingerprints of the exports the registry needs, and of those an alias points to.

    ArtifactError when MLflow cannot be reached: what it needs is then not known.
    """
    tracking = TrackingConfig() if uri is None else TrackingConfig(uri=uri)
    try:
        with opened(root, tracking) as registry:
            return registry.exports()
    except UNAVAILABLE as error:
        raise ArtifactError(f"the registry cannot be asked what it needs: {error}") from error


def parsed(reference: str) -> tuple[str, str | None, str | None]:
    """(name, alias, number) of a reference; ConfigError for another form."""
    found = MODEL_REFERENCE.fullmatch(reference)
    if found is None:
        raise ConfigError(f"{reference!r} is not models:/NAME@ALIAS or models:/NAME/VERSION")
    return found["name"], found["alias"], found["number"]


def _unreachable(reference: str, error: Exception) -> ArtifactError:
    cause = (str(error).splitlines() or [type(error).__name__])[0][:300]
    return ArtifactError(
        f"{reference} cannot be looked up: the registry cannot be reached ({cause}); start its "
        "server, or name the export under the root (export@DIGITS)"
    )
