import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.store.errors import ArtifactError
from pipeline.tracking import store
from pipeline.tracking.config import TrackingConfig, default_uri
from pipeline.tracking.run import Tracking, start_tracking
from pipeline.tracking.shipping import RunShipper
from pipeline.tracking.store import open_store
from pipeline.tracking.sync import sync
from tests.registry.worlds import World
from tests.tracking.databases import migrated_database

OPEN = Callable[[Path], MlflowClient]
QUIET = TrackingConfig(system_metrics_seconds=None)


def run_of(client: MlflowClient, stage: str, run_id: str = "r1") -> Run:
    """The one MLflow run of a stage; a duplicate would be found here."""
    query = f"tags.`gristmill.run_id` = '{run_id}' and tags.`gristmill.stage` = '{stage}'"
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    (found,) = client.search_runs(ids, query)
    return found


def history(client: MlflowClient, stage: str, key: str, run_id: str = "r1") -> list[tuple]:
    run = run_of(client, stage, run_id)
    rows = client.get_metric_history(run.info.run_id, key)
    return sorted((row.step, row.value) for row in rows)


def written(root: Path, run_id: str = "r1", config: TrackingConfig = QUIET) -> Tracking:
    """A run with 30 losses in one stage, finished."""
    tracking = start_tracking(config, root, run_id, "demo", {"git_commit": "abc"})
    with tracking.stage("pretrain") as journal:
        for step in range(30):
            journal.metrics({"loss": 1 / (step + 1)}, step=step)
        journal.event("params", {"width": "16"})
    tracking.finish()
    return tracking


EXPECTED = [(step, 1 / (step + 1)) for step in range(30)]


def test_run_ships_every_number_once_with_params_tags_and_status(root: Path, client: OPEN) -> None:
    tracking = written(root)
    mlflow = client(root)
    parent, child = run_of(mlflow, "flow"), run_of(mlflow, "pretrain")
    assert history(mlflow, "pretrain", "loss") == EXPECTED
    assert (parent.info.status, child.info.status) == ("FINISHED", "FINISHED")
    assert parent.data.tags["git_commit"] == "abc"
    assert parent.info.run_name == "demo"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.params == {"width": "16"}
    assert tracking.mlflow_run_id() == parent.info.run_id
    assert parent.info.artifact_uri.startswith((root / "mlartifacts").as_uri())


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")],
)
def test_status_follows_how_the_stage_ends(
    root: Path, client: OPEN, error: type[BaseException], status: str
) -> None:
    with pytest.raises(error), start_tracking(QUIET, root, "r1", "demo", {}) as tracking:
        with tracking.stage("clean"):
            raise error
    mlflow = client(root)
    assert run_of(mlflow, "clean").info.status == status
    assert run_of(mlflow, "flow").info.status == status


def test_crash_between_sending_and_remembering_doubles_nothing(root: Path, client: OPEN) -> None:
    written(root)
    for cursor in (root / "journal" / "r1").glob("cursor-*.json"):
        cursor.unlink()
    assert sync(root).records > 0
    mlflow = client(root)
    assert history(mlflow, "pretrain", "loss") == EXPECTED
    assert run_of(mlflow, "flow").info.status == "FINISHED"


def test_interrupted_shipping_goes_on_where_it_stopped(root: Path, client: OPEN) -> None:
    written(root)
    directory = root / "journal" / "r1"
    journal = directory / "pretrain.jsonl"
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    target = root / "copy"
    shutil.copytree(directory, target / "journal" / "r1")
    for cursor in target.rglob("cursor-*.json"):
        cursor.unlink()
    shutil.copyfile(root / "mlflow.db", target / "mlflow.db")
    opened = open_store(default_uri(target), target, "other")
    copied = target / "journal" / "r1" / "pretrain.jsonl"
    for count in (5, 12, len(lines)):
        copied.write_bytes(b"".join(lines[:count]))
        RunShipper(opened, target, copied.parent).ship()
    rows = opened.client.search_runs([opened.experiment_id], "tags.`gristmill.stage` = 'pretrain'")
    assert len(rows) == 1
    found = opened.client.get_metric_history(rows[0].info.run_id, "loss")
    assert sorted((row.step, row.value) for row in found) == EXPECTED


def test_continued_run_appends_to_the_same_mlflow_runs(root: Path, client: OPEN) -> None:
    written(root)
    with start_tracking(QUIET, root, "r1", "demo", {}) as tracking:
        with tracking.stage("pretrain") as journal:
            journal.metrics({"loss": 9.0}, step=30)
    assert history(client(root), "pretrain", "loss") == [*EXPECTED, (30, 9.0)]


def test_changed_parameter_is_kept_beside_the_first_and_stops_nothing(
    root: Path, client: OPEN
) -> None:
    with start_tracking(QUIET, root, "r1", "demo", {}) as tracking:
        with tracking.stage("clean") as journal:
            journal.event("params", {"a": "1"})
            journal.event("params", {"a": "2", "b": "3"})
            journal.metrics({"after": 1}, step=0)
    run = run_of(client(root), "clean")
    assert run.data.params == {"a": "1", "b": "3"}
    assert run.data.tags["changed.a"] == "2"
    assert run.data.metrics == {"after": 1.0}


def test_odd_names_and_values_arrive_or_are_counted(root: Path, client: OPEN) -> None:
    with start_tracking(QUIET, root, "r1", "demo", {}) as tracking:
        with tracking.stage("clean") as journal:
            journal.metrics({"../x;y": 1, "nan": math.nan, "": 2, "ünïcode": 3}, step=0)
            journal.event("tags", {"t": "x" * 20_000, "empty": ""})
            journal.event("file", {"path": "not/there.png", "folder": ""})
    metrics = run_of(client(root), "clean").data.metrics
    assert metrics["x_y"] == 1.0 and math.isnan(metrics["nan"])


def test_log_stage_records_config_lineage_facts_and_figures(root: Path, client: OPEN) -> None:
    world = World(root)
    base = world.base()
    report = world.report(base, world.eval_set(), bits=1.5)
    with start_tracking(QUIET, root, "r1", "demo", {}) as tracking:
        with tracking.stage("evaluate-base"):
            tracking.log_stage(report, {"loss.png": b"\x89PNG"})
    mlflow = client(root)
    run = run_of(mlflow, "evaluate-base")
    assert run.data.params == {"bits": "1.5", "response_loss": "2.0"}
    assert run.data.metrics["whole_run/bits_per_byte"] == 1.5
    assert run.data.tags["fingerprint"] == report.fingerprint
    inputs = {entry.dataset.name: entry.dataset for entry in run.inputs.dataset_inputs}
    assert inputs["pretrain"].digest == base.mlflow_digest
    assert json.loads(inputs["pretrain"].source)["uri"] == str(base.path)
    assert set(inputs) == {"pretrain", "eval_set", "examples"}
    files = {f.path for f in mlflow.list_artifacts(run.info.run_id)}
    assert {"manifest.json", "figures", "journal"} <= files


def test_dead_server_costs_less_than_a_second_and_sync_sends_everything(
    root: Path, client: OPEN, dead_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = TrackingConfig(uri=dead_uri, system_metrics_seconds=None)
    # The first use in a process imports mlflow, which is not the server's fault.
    started = time.perf_counter()
    tracking = written(root, config=config)
    assert time.perf_counter() - started < 1.0
    assert tracking.run_url is None
    warnings = [r for r in caplog.records if "cannot be reached" in r.getMessage()]
    assert len(warnings) == 1
    with pytest.raises(ArtifactError, match="cannot be reached"):
        sync(root, dead_uri)
    assert sync(root).records > 30
    assert history(client(root), "pretrain", "loss") == EXPECTED
    assert sync(root).records == 0


def test_deleted_database_is_filled_again_from_the_journals(root: Path, client: OPEN) -> None:
    written(root)
    (root / "mlflow.db").unlink()
    shutil.copyfile(migrated_database(), root / "mlflow.db")
    sync(root)
    assert history(client(root), "pretrain", "loss") == EXPECTED
    assert sync(root).records == 0


def test_database_that_came_with_a_moved_tree_is_set_aside(root: Path) -> None:
    for name in ("mlflow.db", "mlflow.made-at"):
        (root / name).write_text("/elsewhere")
    store.set_aside_if_moved(root)
    assert [path.name for path in root.glob("mlflow.db*")] == ["mlflow.db.moved-1"]
    (root / "mlflow.db").write_text("new")
    store.set_aside_if_moved(root)
    assert (root / "mlflow.db").read_text() == "new"


@pytest.mark.slow  # creates a database
def test_moved_root_gets_a_new_database_with_the_same_runs(root: Path, client: OPEN) -> None:
    written(root)
    moved = root.with_name("moved")
    root.rename(moved)
    sync(moved)
    assert history(client(moved), "pretrain", "loss") == EXPECTED
    assert run_of(client(moved), "flow").info.artifact_uri.startswith(moved.as_uri())
    assert [path.name for path in moved.glob("mlflow.db.moved-*")] == ["mlflow.db.moved-1"]


def test_run_of_a_dead_process_is_closed_as_killed(root: Path, client: OPEN) -> None:
    tracking = start_tracking(QUIET, root, "r1", "demo", {})
    journal = tracking._stage_journal("pretrain")
    journal.event("started", {})
    journal.metrics({"loss": 1.0}, step=0)
    assert sync(root).alive == 1  # ours: its process lives
    dead = root.with_name("dead")
    shutil.copytree(root / "journal" / "r1", dead / "journal" / "r1")
    tracking.finish("FAILED")
    for cursor in dead.rglob("cursor-*.json"):
        cursor.unlink()
    shutil.copyfile(root / "mlflow.db", dead / "mlflow.db")
    opened = open_store(default_uri(dead), dead, "other")
    (dead / "journal" / "r1" / "run.json").write_text(
        json.dumps(
            {"run_id": "r2", "run_name": "x", "tags": {}, "experiment": "other", "started": 1}
        )
    )
    sync(dead)
    runs = opened.client.search_runs([opened.experiment_id])
    assert {run.info.status for run in runs} == {"KILLED"}
    assert len(runs) == 2


def test_damaged_description_is_reported_and_the_others_are_sent(root: Path) -> None:
    written(root)
    bad = root / "journal" / "bad"
    bad.mkdir()
    (bad / "run.json").write_text("{")
    report = sync(root)
    assert (report.damaged, report.runs) == (("bad",), 1)


def test_disabled_tracking_still_writes_the_journal(root: Path) -> None:
    config = TrackingConfig(enabled=False, system_metrics_seconds=None)
    tracking = written(root, config=config)
    assert tracking.mlflow_run_id() is None
    assert (root / "journal" / "r1" / "pretrain.jsonl").stat().st_size > 0


@pytest.mark.parametrize(
    "uri", ["file:///tmp/x", "mlruns", "/tmp/mlruns", "sqlite:///mlflow.db", "ftp://x"]
)
def test_uri_that_cannot_work_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="uri="):
        TrackingConfig(uri=uri)


def test_run_url_points_into_the_ui(root: Path) -> None:
    config = QUIET.model_copy(update={"ui_url": "http://127.0.0.1:5000/"})
    tracking = written(root, config=config)
    assert tracking.run_url is not None
    assert tracking.run_url.startswith("http://127.0.0.1:5000/#/experiments/")
