"""The shelf: versions of registered models, found by the fingerprint of their export.

    challenger  the newest candidate        champion  what answers        previous  champion before

Every change is written to our ledger too, so `restore` can fill an empty registry again.
"""

import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mlflow.artifacts import download_artifacts
from mlflow.entities import Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.artifacts import ExportedModel, seek_artifact
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.files import check_name, file_lock
from pipeline.tracking.config import TrackingConfig, tracking_uri
from pipeline.tracking.ledger import Entry, Ledger
from pipeline.tracking.store import UNAVAILABLE, Store, open_store
from pipeline.tracking.versions import (
    CHAMPION,
    FINGERPRINT_TAG,
    GATE_TAG,
    MAX_TAG_CHARACTERS,
    PREVIOUS,
    REASON_TAG,
    ROLLED_BACK,
    Version,
)

logger = logging.getLogger(__name__)

MODEL_REFERENCE = re.compile(
    r"models:/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(@(?P<alias>[\w.-]+)|/(?P<number>\d+))"
)
RESTORING_TAG = "gristmill.restoring"
LOCK_WAIT_SECONDS = 600.0


class Registry:
    """Reads and changes one registry; use it inside `opened`."""

    def __init__(self, store: Store, root: Path) -> None:
        self._store = store
        self._client = store.client
        self._root = root
        self.uri = store.uri
        self._ledger = Ledger(root, store.uri)
        self.restored: tuple[str, ...] = ()
        """What opening it brought back."""

    def find(self, name: str, fingerprint: str) -> Version | None:
        """The version made from the export `fingerprint`."""
        query = f"name = '{name}' and tags.`{FINGERPRINT_TAG}` = '{fingerprint}'"
        found = self._client.search_model_versions(query)
        numbers = [int(version.version) for version in found]
        return self.get(name, max(numbers)) if numbers else None

    def get(self, name: str, number: int) -> Version:
        """Version `number` of `name`; ConfigError if there is none."""
        try:
            return _version(self._client.get_model_version(name, str(number)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise ConfigError(f"{name} has no version {number} at {self.uri}") from error

    def at(self, name: str, alias: str) -> Version | None:
        """The version an alias points to."""
        try:
            return _version(self._client.get_model_version_by_alias(name, alias))
        except MlflowException as error:
            # MLflow answers a missing alias with INVALID_PARAMETER_VALUE.
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return None

    def log(
        self,
        name: str,
        exported: ExportedModel,
        *,
        tags: Mapping[str, str],
        metrics: Mapping[str, float] | None = None,
        parent_run_id: str | None = None,
    ) -> Version:
        """Log `exported` as a model and make it a new version, files first."""
        from pipeline.tracking.packaging import write_mlflow_model  # mlflow.pyfunc: seconds

        self._ensure_model(name)
        run_tags = {"mlflow.source.name": "gristmill", FINGERPRINT_TAG: exported.fingerprint}
        if parent_run_id is not None:
            run_tags["mlflow.parentRunId"] = parent_run_id
        run = self._client.create_run(
            self._store.experiment_id, run_name=f"{name} {exported.ref}", tags=run_tags
        )
        run_id = run.info.run_id
        status = "FAILED"
        try:
            with _scratch(self._root) as scratch:
                directory = scratch / "model"
                write_mlflow_model(exported, directory)
                self._client.log_artifacts(run_id, str(directory), "model")
            started = run.info.start_time
            numbers = [Metric(k, v, started, 0) for k, v in (metrics or {}).items()]
            self._client.log_batch(run_id, metrics=numbers)
            created = self._client.create_model_version(
                name,
                source=f"{run.info.artifact_uri}/model",
                run_id=run_id,
                tags={FINGERPRINT_TAG: exported.fingerprint, **tags},
                await_creation_for=0,  # it is there when the call returns
            )
            status = "FINISHED"
        finally:
            self._client.set_terminated(run_id, status)
        self._ledger.version(Entry(name, exported.fingerprint, dict(tags)))
        return self.get(name, int(created.version))

    def point(self, alias: str, version: Version) -> None:
        """Let `alias` point to `version`, here and in the ledger."""
        if alias not in version.aliases:
            self._client.set_registered_model_alias(version.name, alias, str(version.number))
        elif self._ledger.state().aliases.get((version.name, alias)) == version.fingerprint:
            return  # both know: a killed process may have told the server only
        self._ledger.alias(version.name, alias, version.fingerprint)

    def clear(self, name: str, alias: str) -> None:
        """Let `alias` point to nothing."""
        self._client.delete_registered_model_alias(name, alias)
        self._ledger.alias(name, alias, None)

    def tag(self, version: Version, tags: Mapping[str, str]) -> Version:
        """Set tags on a version, here and in the ledger; equal ones cost nothing."""
        wanted = {key: value[:MAX_TAG_CHARACTERS] for key, value in tags.items()}
        changed = {k: v for k, v in wanted.items() if version.tags.get(k) != v}
        if not changed:
            return version
        for key, value in changed.items():
            self._client.set_model_version_tag(version.name, str(version.number), key, value)
        merged = {k: v for k, v in {**version.tags, **changed}.items() if k != FINGERPRINT_TAG}
        self._ledger.version(Entry(version.name, version.fingerprint, merged))
        return self.get(version.name, version.number)

    def crown(self, version: Version) -> None:
        """Make `version` the champion; who was it before becomes `previous`."""
        before = self.at(version.name, CHAMPION)
        # First, so that a kill in between does not leave a champion without a way back.
        if before is not None and before.number != version.number:
            self.point(PREVIOUS, before)
        self.point(CHAMPION, version)

    def download(self, version: Version) -> Path:
        """The Hugging Face directory of a version, fetched once into `root/downloads`."""
        target = (
            self._root / "downloads" / f"{version.name}-{version.number}-{version.fingerprint[:12]}"
        )
        hf = target / "artifacts" / "hf"
        if not hf.is_dir():
            with _scratch(self._root) as scratch:
                source = self._client.get_model_version_download_uri(
                    version.name, str(version.number)
                )
                fetched = download_artifacts(
                    artifact_uri=source, dst_path=str(scratch), tracking_uri=self.uri
                )
                target.parent.mkdir(parents=True, exist_ok=True)
                Path(fetched).rename(target)
        if not hf.is_dir():
            raise ArtifactError(f"{version.uri} was not registered by this project: it has no hf/")
        return hf

    def restore(self) -> list[str]:
        """Bring back registered models of the ledger that the store does not know at all.

        Returns what was restored, `NAME/3`; exports no longer under the root are skipped with a
        warning. Numbers count from 1 again; aliases point to the same exports as before. A killed
        restore leaves RESTORING_TAG on the model, and the next one goes on.
        """
        state = self._ledger.state()
        lost = {entry.name for entry in state.versions if not self._is_whole(entry.name)}
        for name in sorted(lost):
            self._ensure_model(name, {RESTORING_TAG: "yes"})
        restored = []
        for entry in state.versions:
            if entry.name not in lost or self.find(entry.name, entry.fingerprint) is not None:
                continue
            exported = seek_artifact(self._root, f"export@{entry.fingerprint}")
            if not isinstance(exported, ExportedModel):
                logger.warning(
                    "%s cannot be registered again: export@%s is not under %s",
                    entry.name, entry.fingerprint[:12], self._root,
                )  # fmt: skip
                continue
            version = self.log(entry.name, exported, tags=entry.tags)
            restored.append(f"{version.name}/{version.number}")
        for (name, alias), fingerprint in state.aliases.items():
            target = self.find(name, fingerprint) if name in lost else None
            if target is not None:
                self.point(alias, target)
        for name in sorted(lost):
            self._client.delete_registered_model_tag(name, RESTORING_TAG)
        return restored

    def exports(self) -> tuple[frozenset[str], frozenset[str]]:
        """Fingerprints of the exports behind versions and pending registrations; the aliased."""
        found = [_version(version) for version in self._client.search_model_versions()]
        pending = {str(facts["export"]) for facts in self._ledger.state().pending}
        all_of_them = {version.fingerprint for version in found} | pending
        aliased: set[str] = set()
        for model in self._client.search_registered_models():
            for alias in model.aliases or {}:
                version = self.at(str(model.name), str(alias))
                aliased |= {version.fingerprint} if version is not None else set()
        return frozenset(all_of_them - {""}), frozenset(aliased - {""})

    def _is_whole(self, name: str) -> bool:
        """Whether the store knows the model, and not only from a restore that was killed."""
        try:
            return RESTORING_TAG not in self._client.get_registered_model(name).tags
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def _ensure_model(self, name: str, tags: Mapping[str, str] | None = None) -> None:
        try:
            self._client.create_registered_model(name, dict(tags or {}))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


@contextmanager
def opened(root: Path, tracking: TrackingConfig | None = None) -> Iterator[Registry]:
    """The registry of a root, one user at a time on this machine, restored if it was lost.

    Raises one of `store.UNAVAILABLE` when it cannot be reached.
    """
    root = root.resolve()
    tracking = tracking or TrackingConfig()
    store = open_store(tracking_uri(tracking, root), root, tracking.experiment)
    with file_lock(
        root / "locks" / "registry.lock",
        owner=f"process {os.getpid()}",
        wait_seconds=LOCK_WAIT_SECONDS,
        waiting=lambda holder: logger.warning("waiting for the registry, held by %s", holder),
    ):
        registry = Registry(store, root)
        registry.restored = tuple(registry.restore())
        if registry.restored:
            names = ", ".join(registry.restored)
            logger.warning("the registry had lost models; registered again: %s", names)
        yield registry


@contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    """An empty directory under the root, where there is room for a model; gone afterwards.

    What a killed process left is removed first: the registry's lock makes us the only user.
    """
    directory = root / "scratch"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def model_directory(
    reference: str, *, root: Path, tracking: TrackingConfig | None = None
) -> tuple[Path, str]:
    """The Hugging Face directory behind `models:/NAME@alias` or `models:/NAME/3`, and its name.

    The export under the root where it is still there, else a download into `root/downloads`.
    ConfigError for a reference that names nothing, ArtifactError if MLflow cannot be reached.
    """
    found = MODEL_REFERENCE.fullmatch(reference)
    if found is None:
        raise ConfigError(f"{reference!r} is not models:/NAME@ALIAS or models:/NAME/VERSION")
    name, alias, number = found["name"], found["alias"], found["number"]
    try:
        with opened(root, tracking) as registry:
            version = registry.get(name, int(number)) if number else registry.at(name, alias)
            if version is None:
                raise ConfigError(f"{name} has no alias {alias} at {registry.uri}")
            label = f"{version.name} version {version.number}"
            exported = seek_artifact(root, f"export@{version.fingerprint or '-'}")
            if isinstance(exported, ExportedModel):
                return exported.hf_path, label
            return registry.download(version), label
    except UNAVAILABLE as error:
        raise ArtifactError(f"{reference} cannot be looked up: {error}") from error


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


def promote(
    root: Path, name: str, number: int, *, tracking: TrackingConfig | None = None
) -> Version:
    """Make version `number` of `name` the champion by hand, whatever the gate said."""
    check_name(name, what="name")
    with opened(root, tracking) as registry:
        version = registry.get(name, number)
        registry.crown(version)
        return registry.tag(version, {GATE_TAG: "promoted", REASON_TAG: "promoted by hand"})


def rollback(root: Path, name: str, *, tracking: TrackingConfig | None = None) -> Version:
    """Make the previous champion of `name` the champion again; returns it.

    The one rolled back is never promoted by the gate again, only by hand. ArtifactError without a
    previous champion.
    """
    check_name(name, what="name")
    with opened(root, tracking) as registry:
        current, previous = registry.at(name, CHAMPION), registry.at(name, PREVIOUS)
        if current is None or previous is None or previous.number == current.number:
            raise ArtifactError(
                f"{name} has no {'champion' if current is None else 'previous champion'} at "
                f"{registry.uri}; choose a version with `registry promote {name} VERSION`"
            )
        registry.point(CHAMPION, previous)
        registry.clear(name, PREVIOUS)
        reason = f"rolled back to version {previous.number} by hand"
        registry.tag(current, {GATE_TAG: ROLLED_BACK, REASON_TAG: reason})
        return registry.get(name, previous.number)


def _version(found: ModelVersion) -> Version:
    tags = {str(key): str(value) for key, value in (found.tags or {}).items()}
    return Version(
        name=str(found.name),
        number=int(found.version),
        fingerprint=tags.get(FINGERPRINT_TAG, ""),
        tags=tags,
        aliases=tuple(sorted(found.aliases or ())),
    )
