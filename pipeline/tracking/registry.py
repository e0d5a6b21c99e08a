"""The shelf: versions of registered models, found by the fingerprint of their export.

    challenger  the newest candidate        champion  what answers        previous  champion before

Every change is written to our ledger too, so `restore` can fill an empty registry again.
"""

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mlflow.artifacts import download_artifacts
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric
from mlflow.exceptions import MlflowException

from pipeline.artifacts import Artifact, ExportedModel, seek_artifact
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.files import file_lock
from pipeline.tracking.config import TrackingConfig, tracking_uri
from pipeline.tracking.fetching import (
    check_files,
    exported_files,
    files_digest,
    no_alias,
    scratch_directory,
)
from pipeline.tracking.ledger import Entry, Ledger
from pipeline.tracking.lineage import lineage_of
from pipeline.tracking.repairing import (
    REGISTRAR_TAG,
    end_dead_registrations,
    model_id_of,
    registrar,
    repair,
    version_from,
)
from pipeline.tracking.store import Store, open_store
from pipeline.tracking.versions import (
    CHAMPION,
    FILES_TAG,
    FINGERPRINT_TAG,
    GATE_TAG,
    MAX_TAG_CHARACTERS,
    MODEL_TAG,
    NOTE_TAG,
    PREVIOUS,
    REASON_TAG,
    Version,
    description,
    model_description,
)

logger = logging.getLogger(__name__)

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
            return version_from(self._client.get_model_version(name, str(number)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise ConfigError(f"{name} has no version {number} at {self.uri}") from error

    def at(self, name: str, alias: str) -> Version | None:
        """The version an alias points to."""
        try:
            return version_from(self._client.get_model_version_by_alias(name, alias))
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
        dataset: Artifact | None = None,
        parent_run_id: str | None = None,
    ) -> Version:
        """Log `exported` as a model and make it a new version, files first.

        `metrics` were measured on `dataset`.
        """
        from pipeline.tracking.packaging import write_mlflow_model  # mlflow.pyfunc: seconds

        self._ensure_model(name)
        tags = {**tags, FILES_TAG: files_digest(exported_files(exported))}
        run_tags = {
            "mlflow.source.name": "gristmill",
            FINGERPRINT_TAG: exported.fingerprint,
            REGISTRAR_TAG: registrar(self._root),
        }
        if parent_run_id is not None:
            run_tags["mlflow.parentRunId"] = parent_run_id
        run = self._client.create_run(
            self._store.experiment_id, run_name=f"{name} {exported.ref}", tags=run_tags
        )
        run_id = run.info.run_id
        status = "FAILED"
        try:
            model = self._client.create_logged_model(
                self._store.experiment_id, name, run_id,
                tags={FINGERPRINT_TAG: exported.fingerprint}, params=lineage_of(exported),
            )  # fmt: skip
            with scratch_directory(self._root) as scratch:
                write_mlflow_model(exported, scratch / "model")
                self._client.log_model_artifacts(model.model_id, str(scratch / "model"))
            self._client.finalize_logged_model(model.model_id, "READY")
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
            created = self._client.create_model_version(
                name,
                # Not models:/m-...: the store of a file looks that up at the process's own URI.
                source=model.artifact_location,
                run_id=run_id,
                tags={
                    **tags,
                    FINGERPRINT_TAG: exported.fingerprint,
                    MODEL_TAG: model.model_id,
                },
                description=description(name, tags),
                await_creation_for=0,  # it is there when the call returns
                model_id=model.model_id,
            )
            there = json.dumps([{"name": name, "version": int(created.version)}])
            self._client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": there})
            status = "FINISHED"
        finally:
            self._client.set_terminated(run_id, status)
        self._ledger.version(Entry(name, exported.fingerprint, dict(tags)))
        version = self.get(name, int(created.version))
        if metrics:
            self.measured(version, metrics, dataset)
        return version

    def measured(
        self, version: Version, metrics: Mapping[str, float], dataset: Artifact | None
    ) -> None:
        """Write figures into the version's run, linked to its model and to what they are about."""
        found = self._client.get_model_version(version.name, str(version.number))
        if not found.run_id:
            return  # somebody else registered it
        about: dict[str, str] = {}
        if dataset is not None:
            name = getattr(dataset, "name", dataset.ref)
            about = {"dataset_name": name, "dataset_digest": dataset.mlflow_digest}
            row = Dataset(
                name=name, digest=dataset.mlflow_digest, source_type="local",
                source=json.dumps({"uri": str(dataset.path)}),
            )  # fmt: skip
            role = [InputTag("mlflow.data.context", "evaluation")]
            self._client.log_inputs(found.run_id, [DatasetInput(row, role)])
        when = time.time_ns() // 1_000_000
        model_id = model_id_of(found)
        self._client.log_batch(found.run_id, metrics=[
            Metric(k, v, when, 0, model_id=model_id, run_id=found.run_id, **about)
            for k, v in metrics.items()
        ])  # fmt: skip

    def attach(self, version: Version, files: Iterable[Path], folder: str) -> None:
        """Show files with the version: among the artifacts of its run."""
        found = self._client.get_model_version(version.name, str(version.number))
        for path in files if found.run_id else ():
            self._client.log_artifact(found.run_id, str(path), folder)

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
        text = description(version.name, {**version.tags, **changed})
        self._client.update_model_version(version.name, str(version.number), text)
        if (model_id := version.tags.get(MODEL_TAG)) is not None:
            self._client.set_logged_model_tags(model_id, {NOTE_TAG: text})
        own = (FINGERPRINT_TAG, MODEL_TAG)  # of this store; a restored version has others
        merged = {k: v for k, v in {**version.tags, **changed}.items() if k not in own}
        self._ledger.version(Entry(version.name, version.fingerprint, merged))
        return self.get(version.name, version.number)

    def explain(self, version: Version, parent_run_id: str | None) -> None:
        """Say what became of it where people look first: on its run and on that of the graph."""
        found = self._client.get_model_version(version.name, str(version.number))
        if found.run_id:
            self._client.set_tag(found.run_id, NOTE_TAG, str(found.description or ""))
        if parent_run_id is None:
            return
        link = f"[{version.name} version {version.number}]"
        try:
            note = self._client.get_run(parent_run_id).data.tags.get(NOTE_TAG, "")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return  # it was deleted meanwhile
        others = [line for line in note.split("\n\n") if line and not line.startswith(link)]
        page = f"#/models/{version.name}/versions/{version.number}"
        verdict = f"{version.tags.get(GATE_TAG, '')}: {version.tags.get(REASON_TAG, '')}"
        self._client.set_tag(
            parent_run_id, NOTE_TAG, "\n\n".join([*others, f"{link}({page}) {verdict}"])
        )

    def crown(self, version: Version) -> None:
        """Make `version` the champion; who was it before becomes `previous`."""
        before = self.at(version.name, CHAMPION)
        # First, so that a kill in between does not leave a champion without a way back.
        if before is not None and before.number != version.number:
            self.point(PREVIOUS, before)
        self.point(CHAMPION, version)

    def aliases(self, name: str) -> dict[str, int]:
        """Alias -> number of the version it points to; empty for a name nobody registered."""
        try:
            found = self._client.get_registered_model(name).aliases or {}
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}
        return {str(alias): int(number) for alias, number in found.items()}

    def named(self, name: str, *, alias: str | None, number: str | None) -> Version:
        """What `models:/NAME@alias` or `models:/NAME/3` means; ConfigError if it means nothing."""
        if number:
            return self.get(name, int(number))
        version = self.at(name, str(alias))
        if version is None:
            raise no_alias(name, str(alias), self.uri, self.aliases(name))
        return version

    def download(self, version: Version) -> Path:
        """The Hugging Face directory of a version, fetched once into `root/downloads`.

        ArtifactError when its files are gone or not those that were registered.
        """
        target = (
            self._root / "downloads" / f"{version.name}-{version.number}-{version.fingerprint[:12]}"
        )
        hf = target / "artifacts" / "hf"
        if not hf.is_dir():
            with scratch_directory(self._root) as scratch:
                source = self._client.get_model_version_download_uri(
                    version.name, str(version.number)
                )
                try:
                    fetched = download_artifacts(
                        artifact_uri=source, dst_path=str(scratch), tracking_uri=self.uri
                    )
                except (MlflowException, OSError) as error:
                    raise _without_files(version, source, str(error)) from error
                if not (Path(fetched) / "artifacts" / "hf").is_dir():
                    raise _without_files(version, source, "there is no artifacts/hf")
                check_files(Path(fetched) / "artifacts" / "hf", version)
                target.parent.mkdir(parents=True, exist_ok=True)
                Path(fetched).rename(target)
        check_files(hf, version)
        return hf

    def repair(self) -> tuple[list[str], list[str]]:
        """Bring back the files of versions that lost them; what was, and what could not be."""
        return repair(self._client, self._root)

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
        found = [version_from(version) for version in self._client.search_model_versions()]
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
            self._client.create_registered_model(name, dict(tags or {}), model_description(name))
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
        end_dead_registrations(store, root)
        registry = Registry(store, root)
        registry.restored = tuple(registry.restore())
        if registry.restored:
            names = ", ".join(registry.restored)
            logger.warning("the registry had lost models; registered again: %s", names)
        yield registry


def _without_files(version: Version, source: str, cause: str) -> ArtifactError:
    return ArtifactError(
        f"the files of {version.uri} cannot be fetched from {source} "
        f"({' '.join(cause.split())[:200]}); where they were deleted, `mill store sync` brings "
        "them back from the export under the root"
    )
