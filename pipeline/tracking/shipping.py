"""One run's journal files -> MLflow, each record exactly once.

    flow.jsonl -> parent run        <stage>.jsonl -> child runs

A cursor beside the journal remembers the run ids and the byte offset shipped so far, per store.
After a crash between sending and remembering, a batch is sent again: MLflow keeps one copy of equal
(key, step, timestamp, value), and a run is found again by its tags, so nothing doubles.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from pipeline.store.errors import ArtifactError
from pipeline.store.files import read_json, write_json
from pipeline.store.fingerprint import digest, short
from pipeline.tracking.journal import Record, read_journal
from pipeline.tracking.store import Store

logger = logging.getLogger(__name__)

FLOW = "flow"
RUN_TAG = "gristmill.run_id"
STAGE_TAG = "gristmill.stage"
MAX_BATCH = 1000  # metrics per log_batch, MLflow's limit
MAX_SMALL_BATCH = 100  # params or tags per log_batch, MLflow's limit
MAX_KEY = 250
MAX_TAG_CHARACTERS = 5000
_REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # the same bytes will be refused again


class RunShipper:
    """Sends what one run directory holds and the store has not got yet."""

    def __init__(self, store: Store, root: Path, directory: Path) -> None:
        self._store = store
        self._client = store.client
        self._root = root
        self._directory = directory
        self._description = read_json(directory / "run.json")
        self._cursor_path = directory / f"cursor-{short(digest(store.uri))}.json"
        self._cursor: dict[str, dict[str, Any]] = self._load_cursor()
        self.refused = 0
        """Values the store would not take; they stay in the journal."""

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the parent run, once it exists."""
        return self._cursor.get(FLOW, {}).get("run_id")

    def ship(self) -> int:
        """Send everything now in the journal; returns the number of records sent.

        Raises what the store raises when it cannot be reached; progress so far is kept.
        """
        sent = 0
        for path in self._files():
            while True:
                offset = self._cursor.get(path.stem, {}).get("offset", 0)
                reading = read_journal(path, offset=offset)
                if reading.offset == offset:
                    break
                if reading.broken:
                    logger.warning("%s: %d broken lines skipped", path, reading.broken)
                if reading.records:
                    self._send(path.stem, reading.records)
                    sent += len(reading.records)
                self._cursor.setdefault(path.stem, {})["offset"] = reading.offset
                write_json(self._cursor_path, self._cursor)
        return sent

    def _files(self) -> list[Path]:
        """The flow's journal first: its run is the parent of the others."""
        files = sorted(self._directory.glob("*.jsonl"))
        return sorted(files, key=lambda path: path.stem != FLOW)

    def _load_cursor(self) -> dict[str, dict[str, Any]]:
        """The cursor, or an empty one if it is damaged or its database has been deleted."""
        try:
            cursor = read_json(self._cursor_path)
        except ArtifactError:
            return {}
        run_id = cursor.get(FLOW, {}).get("run_id")
        if run_id is not None:
            try:
                self._client.get_run(run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return {}
        return cursor

    def _send(self, stage: str, records: Sequence[Record]) -> None:
        run_id = self._run(stage, records[0].milliseconds)
        metrics = [
            Metric(_key(name), value, record.milliseconds, record.step)
            for record in records
            if record.metrics is not None
            for name, value in record.metrics.items()
        ]
        for start in range(0, len(metrics), MAX_BATCH):
            self._log(run_id, metrics=metrics[start : start + MAX_BATCH])
        for record in records:
            if record.event is not None:
                self._send_event(run_id, stage, record)

    def _run(self, stage: str, started: int) -> str:
        """MLflow's run for one journal file: remembered, found by its tags, or created."""
        known = self._cursor.setdefault(stage, {})
        if "run_id" not in known:
            if stage != FLOW and self.run_id is None:
                self._run(FLOW, int(self._description["started"]))
            own = str(self._description["run_id"])
            query = f"tags.`{RUN_TAG}` = '{own}' and tags.`{STAGE_TAG}` = '{stage}'"
            found = self._client.search_runs([self._store.experiment_id], query, max_results=1)
            if found:
                known["run_id"] = found[0].info.run_id
            else:
                known["run_id"] = self._create(stage, own, started)
            write_json(self._cursor_path, self._cursor)
        return str(known["run_id"])

    def _create(self, stage: str, own: str, started: int) -> str:
        tags = {RUN_TAG: own, STAGE_TAG: stage, "mlflow.source.name": "gristmill"}
        name = stage
        if stage == FLOW:
            name = str(self._description["run_name"])
            tags.update({k: str(v) for k, v in self._description["tags"].items()})
        elif self.run_id is not None:
            tags["mlflow.parentRunId"] = self.run_id
        run = self._client.create_run(
            self._store.experiment_id, start_time=started, tags=tags, run_name=name
        )
        return str(run.info.run_id)

    def _send_event(self, run_id: str, stage: str, record: Record) -> None:
        facts = record.facts or {}
        if record.event == "started":
            self._client.update_run(run_id, status="RUNNING")
        elif record.event == "finished":
            journal = self._directory / f"{stage}.jsonl"
            self._client.log_artifact(run_id, str(journal), "journal")
            ended = int(facts.get("ended", record.milliseconds))
            self._client.set_terminated(run_id, str(facts["status"]), ended)
        elif record.event == "params":
            self._log_params(run_id, facts)
        elif record.event == "tags":
            tags = [RunTag(_key(k), str(v)[:MAX_TAG_CHARACTERS]) for k, v in facts.items()]
            for start in range(0, len(tags), MAX_SMALL_BATCH):
                self._log(run_id, tags=tags[start : start + MAX_SMALL_BATCH])
        elif record.event == "dataset":
            self._log_dataset(run_id, facts)
        elif record.event == "file":
            path = self._root / str(facts["path"])
            if path.is_file():
                self._client.log_artifact(run_id, str(path), str(facts["folder"]) or None)
            else:
                logger.warning("%s is gone and cannot be shown in MLflow", path)

    def _log_params(self, run_id: str, facts: Mapping[str, Any]) -> None:
        """Parameters are written once: a changed value becomes a tag beside the first one."""
        known = self._client.get_run(run_id).data.params
        wanted = {_key(name): str(value) for name, value in facts.items()}
        new = [Param(name, value) for name, value in wanted.items() if name not in known]
        for start in range(0, len(new), MAX_SMALL_BATCH):
            self._log(run_id, params=new[start : start + MAX_SMALL_BATCH])
        for name, value in wanted.items():
            if name in known and known[name] != value:
                tag = RunTag(_key(f"changed.{name}"), value[:MAX_TAG_CHARACTERS])
                self._log(run_id, tags=[tag])

    def _log_dataset(self, run_id: str, facts: Mapping[str, Any]) -> None:
        place = self._root / str(facts["source"])
        # The entity a MetaDataset turns into, without its guess among several kinds of source.
        dataset = Dataset(
            name=str(facts["name"]),
            digest=str(facts["digest"]),
            source_type="local",
            source=json.dumps({"uri": str(place)}),
        )
        role = [InputTag("mlflow.data.context", str(facts["context"]))]
        self._client.log_inputs(run_id, [DatasetInput(dataset, role)])

    def _log(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
    ) -> None:
        """log_batch; when the store refuses the content, one by one without the refused ones."""
        try:
            self._client.log_batch(run_id, metrics, params, tags)
        except MlflowException as error:
            if error.error_code not in _REFUSED:
                raise
            items: list[Metric | Param | RunTag] = [*metrics, *params, *tags]
            if len(items) == 1:
                self.refused += 1
                logger.warning("MLflow refuses %s: %s", items[0].key, error.message)
                return
            for metric in metrics:
                self._log(run_id, metrics=[metric])
            for param in params:
                self._log(run_id, params=[param])
            for tag in tags:
                self._log(run_id, tags=[tag])


def _key(name: str) -> str:
    """A name MLflow accepts: other characters become '_'."""
    kept = "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in name)[:MAX_KEY]
    parts = [part for part in kept.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "_"
