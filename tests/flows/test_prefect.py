"""A real Prefect server with our pins: deployments, schedule, worker, retries, pages, errors."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from prefect import flow, task
from prefect.client.schemas.objects import FlowRun
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Failed

from flows import show, watching
from flows.display import Display
from flows.language_model import language_model
from flows.logs import tell_prefect_the_rest
from flows.run import open_run
from flows.server import free_port
from flows.settings import Settings
from flows.stage import Stage
from pipeline.config import validate
from pipeline.stages.register import Registration
from pipeline.store.errors import ConfigError, DataError
from pipeline.store.secrets import REMOVED
from tests.flows.conftest import (
    CHECKOUT,
    environment,
    mill,
    mill_here,
    small_settings,
    until,
    write_settings,
)


@pytest.fixture(scope="module")
def deployments(server, api, tmp_path_factory) -> dict[str, dict]:
    """What `mill deploy` makes of the checkout: pools, automations, deployments."""
    root = tmp_path_factory.mktemp("deployed")
    mill(
        "deploy", "--root", str(root), PREFECT_API_URL=server.api_url,
        PREFECT_HOME=str(server.home),
    )  # fmt: skip
    return {row["name"]: row for row in api.post("/deployments/filter", {})}


ALL = {
    "language-model": "gpu", "continue-training": "gpu", "fine-tune": "gpu",
    "evaluate-and-gate": "gpu", "corpus-refresh": "cpu", "watch-corpus": "cpu",
    "housekeeping": "cpu",
}  # fmt: skip


def test_deploy_makes_every_deployment_on_its_pool_with_schedules_paused(deployments):
    assert {name: row["work_pool_name"] for name, row in deployments.items()} == ALL
    crons = {
        name: [(s["schedule"]["cron"], s["schedule"]["timezone"]) for s in row["schedules"]]
        for name, row in deployments.items()
    }
    assert crons["language-model"] == [("0 2 * * *", "UTC")]
    assert all(crons[name] for name in ("continue-training", "watch-corpus", "housekeeping"))
    for row in deployments.values():
        assert not any(s["active"] for s in row["schedules"])
        steps = row["pull_steps"]
        assert [list(step.values())[0]["directory"] for step in steps] == [str(CHECKOUT)]
        variables = row["job_variables"]["env"]
        assert Path(variables["GRISTMILL_ROOT"]).is_absolute()
        assert variables["DO_NOT_TRACK"] == "1" and variables["PYTHONSAFEPATH"] == "1"


def test_work_on_the_gpu_is_one_run_at_a_time(api, deployments):
    pools = {row["name"]: row["concurrency_limit"] for row in api.post("/work_pools/filter", {})}
    assert pools == {"cpu": None, "gpu": 1}
    # A deployment's own limit is a lease: a server that is away for long would end the training.
    assert all(row["global_concurrency_limit"] is None for row in deployments.values())


@pytest.mark.slow
def test_deploying_again_changes_nothing(server, api, deployments):
    mill(
        "deploy", "--root", deployments["watch-corpus"]["job_variables"]["env"]["GRISTMILL_ROOT"],
        PREFECT_API_URL=server.api_url, PREFECT_HOME=str(server.home),
    )  # fmt: skip
    names = [row["name"] for row in api.post("/automations/filter", {})]
    assert len(names) == len(set(names)) >= 5
    assert {row["id"] for row in api.post("/deployments/filter", {})} == {
        row["id"] for row in deployments.values()
    }


def test_deploy_without_a_server_says_what_to_do(tmp_path):
    result = mill("deploy", "--root", str(tmp_path), check=False)
    assert result.returncode == 2 and "set PREFECT_API_URL" in result.stderr


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/api", "nonsense"])
def test_deploy_on_a_server_that_is_not_there_is_one_line(tmp_path, monkeypatch, address):
    monkeypatch.setenv("PREFECT_API_URL", address)
    with temporary_settings({PREFECT_API_URL: address, PREFECT_CLIENT_MAX_RETRIES: 0}):
        result = mill_here("deploy", "--root", str(tmp_path), check=False)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert f"PREFECT_API_URL={address} did not do what it was asked" in result.stderr


@pytest.mark.slow
def test_unpaused_nightly_schedule_makes_a_scheduled_run(api, deployments):
    row = deployments["language-model"]
    schedule = f"{api.url}/deployments/{row['id']}/schedules/{row['schedules'][0]['id']}"
    wanted = {
        "deployments": {"id": {"any_": [row["id"]]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    assert api.post("/flow_runs/filter", wanted) == []
    assert api.client.patch(schedule, json={"active": True}).is_success
    runs = until(lambda: api.post("/flow_runs/filter", wanted), 60, "a scheduled run")
    assert runs[0]["auto_scheduled"]
    assert api.client.patch(schedule, json={"active": False}).is_success


def registered(name: str, *, promoted: bool) -> Registration:
    return Registration(
        name=name, version=2, aliases=("champion",) if promoted else (), uri=f"models:/{name}/2",
        promoted=promoted, reason="for this test", one_liner="",
    )  # fmt: skip


def test_events_start_the_deployments_that_wait_for_them(in_process, api, deployments):
    def started(name: str) -> list[dict]:
        wanted = {"deployments": {"id": {"any_": [deployments[name]["id"]]}}}
        return api.post("/flow_runs/filter", wanted)

    arrived = {
        "prefect.resource.id": f"{watching.CORPUS_RESOURCE}.nightly",
        "prefect.resource.name": "nightly",
    }
    show.emit_registered(registered("nightly-base", promoted=False))
    show.emit_registered(registered("pydocs-base", promoted=True))
    emit_event("corpus.arrived", resource=arrived, payload={"count": 1})
    tell_prefect_the_rest()
    refresh = until(lambda: started("corpus-refresh"), 60, "the refresh")
    assert refresh[0]["parameters"] == {"preset": "nightly", "settings": {"only_new": True}}
    assert started("fine-tune") == []  # not promoted, or another model's
    show.emit_registered(registered("nightly-base", promoted=True))
    tell_prefect_the_rest()
    tuning = until(lambda: started("fine-tune"), 60, "the tuning")
    assert (len(tuning), tuning[0]["parameters"]) == (1, {"preset": "nightly"})
    for row in (*refresh, *tuning):  # no worker of a later test shall take them up
        assert api.client.delete(f"{api.url}/flow_runs/{row['id']}").is_success


@pytest.mark.parametrize("name", ALL)
def test_form_shows_every_knob_with_title_description_and_order(deployments, name):
    schema = deployments[name]["parameter_openapi_schema"]
    form = next(d for d in schema["definitions"].values() if "properties" in d)
    knobs = form["properties"]
    positions = [knob["position"] for knob in knobs.values()]
    assert positions == sorted(positions)
    for knob in knobs.values():
        assert knob["title"] and knob["description"] and "default" not in knob
        assert knob["type"] in ("string", "integer", "number", "array", "boolean")  # no switches
        if knob["type"] in ("integer", "number"):
            assert {"minimum", "exclusiveMinimum"} & set(knob), knob
    assert all(schema["properties"][key]["description"] for key in schema["properties"])
    if "preset" in schema["properties"]:
        assert schema["properties"]["preset"]["enum"] == ["pydocs", "tiny", "zh", "nightly"]


def test_form_of_the_whole_graph_has_all_of_its_knobs(deployments):
    schema = deployments["language-model"]["parameter_openapi_schema"]
    knobs = schema["definitions"]["Settings"]["properties"]
    assert list(knobs) == list(Settings.model_fields)
    assert knobs["width"]["minimum"] == 16


@pytest.mark.parametrize(
    ("name", "parameters", "told"),
    [
        ("language-model", {"settings": {"width": 3}}, "3 is less than the minimum of 16"),
        ("continue-training", {"settings": {"replay": 1.5}}, "1.5 is greater than"),
        ("fine-tune", {"settings": {"finetune_epochs": 0}}, "0 is less than"),
        ("corpus-refresh", {"preset": "nope"}, "'nope' is not one of"),
        ("corpus-refresh", {"settings": {"learning_rate": 0.1}}, "learning_rate"),
        ("housekeeping", {"settings": {"keep_days": 0}}, "0 is less than the minimum of 1"),
        ("watch-corpus", {"settings": {"rest_seconds": -1}}, "-1 is less than the minimum of 0"),
    ],
)
def test_value_out_of_bounds_is_refused_before_a_run_exists(
    api, deployments, name, parameters, told
):
    answer = api.client.post(
        f"{api.url}/deployments/{deployments[name]['id']}/create_flow_run",
        json={"parameters": parameters},
    )
    assert not answer.is_success
    assert told in answer.text


CANARY = "c4n4ry"
SECRETS = [
    {"settings": {"text_files": [f"https://me:{CANARY}@host.example/x.jsonl"]}},
    {"settings": {"model_name": f"hf_{CANARY}{'a' * 30}"}},
    {"config": {"tracking": {"uri": f"http://me:{CANARY}@mlflow.example"}}},
    {"config": {"clean": {"sources": [{"paths": [f"https://h.example/x?sig={CANARY}"]}]}}},
]


@pytest.mark.parametrize("parameters", SECRETS, ids=["text", "name", "config", "deep"])
def test_secret_in_the_form_is_refused_before_the_server_stores_it(
    server, api, deployments, parameters
):
    answer = api.client.post(
        f"{api.url}/deployments/{deployments['language-model']['id']}/create_flow_run",
        json={"parameters": parameters},
    )
    assert answer.status_code == 409
    assert "a password, key or signed address would be stored and shown here" in answer.text
    stored = b"".join(path.read_bytes() for path in Path(server.home).glob("prefect.db*"))
    assert stored and CANARY.encode() not in stored


def test_secret_that_got_past_the_form_is_taken_out_of_the_record(in_process, api):
    with pytest.raises(ConfigError, match="settings.model_name hold credentials, which were rem"):
        language_model(
            preset="tiny", settings=Settings(model_name=SECRETS[1]["settings"]["model_name"])
        )
    rows = api.post("/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 5})
    run = next(row for row in rows if row["state_type"] == "FAILED")
    assert run["parameters"]["settings"] == {"model_name": REMOVED}
    assert CANARY not in json.dumps(rows)


@pytest.mark.slow
def test_worker_in_a_directory_of_namesakes_completes_a_run(
    small_run, tmp_path, server, api, deployments
):
    theirs = tmp_path / "theirs"
    (theirs / "flows").mkdir(parents=True)
    for name in ("model.py", "pipeline.py", "flows/__init__.py"):
        (theirs / name).write_text("raise RuntimeError('this is not for you')\n")
    root = tmp_path / "root"
    shutil.copytree(small_run, root)
    parameters = {"config": small_settings(root)}
    run = api.post(
        f"/deployments/{deployments['language-model']['id']}/create_flow_run",
        {"parameters": parameters},
    )
    worker = subprocess.Popen(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", "gpu"], cwd=theirs,
        env=environment(
            PREFECT_API_URL=server.api_url, PREFECT_HOME=str(tmp_path / "home"),
            GRISTMILL_MLFLOW_UI="http://pages.test:5000",
        ),
    )  # fmt: skip

    def state() -> str:
        return api.client.get(f"{api.url}/flow_runs/{run['id']}").json()["state"]["type"]

    try:
        until(lambda: state() in ("COMPLETED", "FAILED", "CRASHED"), 240, "the end of the run")
    finally:
        worker.terminate()
        worker.wait(30)
    assert state() == "COMPLETED"
    tasks = api.post("/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    names = {row["name"] for row in tasks}
    assert {"eval_set", "clean", "pretrain", "evaluate-base", "evaluate-tuned"} <= names
    assert any(row["task_inputs"].get("wait_for") for row in tasks)  # the arrows of the graph
    shown = api.artifacts(run["id"])
    assert {
        "funnel", "loss-pretrain", "loss-finetune", "evaluation-base", "evaluation-tuned",
        "registry-small", "registry-small-base", "report", "mlflow-run",
    } <= set(shown)  # fmt: skip
    *_, kept = json.loads(shown["funnel"]["data"])
    assert shown["funnel"]["description"].startswith(f"{kept['documents']} documents kept")
    assert "data:image/png;base64," in shown["loss-pretrain"]["data"]
    assert "http://pages.test:5000/#/experiments/" in shown["mlflow-run"]["data"]
    lines = api.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}})
    assert any("pretrain@" in row["message"] for row in lines)


def attempts(stage: Stage, tmp_path: Path) -> None:
    """Call a stage through Prefect, in a run without tracking."""
    settings = small_settings(tmp_path / "root")
    settings["tracking"] = {"enabled": False, "system_metrics_seconds": None}
    config = validate(settings, where="test")
    stage.task.retry_delay_seconds = 0

    @flow(name="one-stage", persist_result=False)
    def one_stage() -> None:
        with open_run(
            config, root=tmp_path / "root", display=Display(quiet=True), name="one-stage",
            orchestrated=True,
        ) as run:  # fmt: skip
            stage(run, None)

    one_stage()


@pytest.mark.parametrize(
    ("error", "times"),
    [
        (OSError("the disk was away for a moment"), 3),
        (BrokenExecutor("a worker was killed"), 3),
        (DataError("this will be as wrong the next time"), 1),
        (ValueError("a bug"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_only_passing_faults_are_tried_again(in_process, tmp_path, error, times):
    calls = []

    def fail(_config, *, root, runtime):
        calls.append(root)
        raise error

    with pytest.raises(type(error), match=str(error)):
        attempts(Stage("clean", fail, retries=2), tmp_path)
    assert len(calls) == times


def test_progress_is_told_by_a_thread_of_its_own(in_process, api, monkeypatch):
    monkeypatch.setattr(show, "START_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(show, "PROGRESS_SECONDS", 0.05)
    ids = []

    @task(name="long", persist_result=False)
    def long() -> None:
        ids.append(show.flow_run.id)
        progress = show.PrefectProgress("eval_set")
        progress.advance(1, 4, "steps")
        until(lambda: "progress-eval-set" in api.artifacts(ids[0]), 20, "the first report")
        assert api.artifacts(ids[0])["progress-eval-set"]["data"] == 25.0
        progress.advance(4, 4, "steps")
        progress.event("built", {})
        progress.event("ended", {})
        progress._thread.join(20)
        assert not progress._thread.is_alive()

    flow(name="with-progress", persist_result=False)(long)()
    shown = api.artifacts(str(ids[0]))["progress-eval-set"]
    assert (shown["data"], shown["description"]) == (100.0, "eval_set: 4 of 4 steps")


@pytest.mark.filterwarnings("ignore:Artifact creation outside")
def test_progress_with_a_dead_server_costs_the_stage_nothing(monkeypatch):
    monkeypatch.setattr(show, "START_AFTER_SECONDS", 0.0)
    dead = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: dead, PREFECT_CLIENT_MAX_RETRIES: 0}):
        progress = show.PrefectProgress("pretrain")
        started = time.monotonic()
        for step in range(10_000):
            progress.advance(step, 10_000, "steps")
        assert time.monotonic() - started < 1.0
        progress.event("ended", {})
        progress._thread.join(60)
        assert not progress._thread.is_alive()


def test_failed_deployment_run_names_the_stage_and_the_command_that_goes_on(in_process):
    error = DataError("no text")
    error.add_note("in stage clean; go on with: this")
    run = FlowRun(id=uuid4(), name="brave-otter", flow_id=uuid4(), deployment_id=uuid4())
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("prefect.flow_runs")
    logger.addHandler(handler)
    try:
        show.failed(flow(attempts), run, Failed(data=error))
        show.failed(flow(attempts), run, Failed(data=DataError("no preset")))
    finally:
        logger.removeHandler(handler)
    assert lines == [
        "brave-otter ended Failed in stage clean; go on with: this",
        "brave-otter ended Failed outside a stage; finished stages are kept, go on with: "
        f"prefect flow-run retry {run.id}",
    ]


def test_mistake_inside_prefect_is_one_line_and_the_errors_own_exit_code(tmp_path, server):
    text = tmp_path / "text.txt"
    text.write_text("too short\n")
    settings = small_settings(tmp_path / "root")
    settings["clean"] = {"sources": [{"kind": "text", "name": "short", "paths": [str(text)]}]}
    config = write_settings(tmp_path / "short.yaml", settings)
    result = mill("run", str(config), check=False, PREFECT_API_URL=server.api_url)
    assert result.returncode == DataError.exit_code, result.stdout + result.stderr
    assert result.stderr.startswith("error: ") and result.stderr.count("error: ") == 1
    assert "Traceback" not in result.stdout + result.stderr
    assert "stopped; finished stages are kept" in result.stdout


def test_sigterm_in_pretraining_saves_and_ends_with_143_and_no_orphan(small_run, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(small_run, root)
    settings = small_settings(root)
    settings["pretrain"]["horizon"] = {"steps": 1_000_000}
    config = write_settings(tmp_path / "long.yaml", settings)
    before = set((root / "pretrain").iterdir())
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", "from flows.cli import main; main()", "run", str(config)],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip

    def checkpoints() -> list[Path]:
        assert process.poll() is None, process.communicate()[0]
        return [
            path for new in set((root / "pretrain").iterdir()) - before
            for path in new.glob("checkpoints/step-*")
        ]  # fmt: skip

    until(checkpoints, 120, "the first checkpoint")
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 143, output
    assert "Traceback" not in output
    saved = [
        path for new in set((root / "pretrain").iterdir()) - before
        for path in new.glob("checkpoints/step-*")
    ]  # fmt: skip
    assert saved
    psutil.wait_procs(family, timeout=10)
    assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
