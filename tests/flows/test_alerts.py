"""Alerts reach the webhook: a real Prefect server, a local receiver, and what flows emit."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Crashed, Failed, Scheduled

from flows import alerts, signals
from flows.alerts import install_alerts, webhook_url
from flows.logs import tell_prefect_the_rest
from flows.server import PrefectServer
from flows.zombies import crash_on_silence, install
from pipeline.store.errors import ConfigError
from pipeline.tracking.config import default_uri
from pipeline.tracking.history import Volume, refusals_in_a_row, unusual, volumes
from pipeline.tracking.journal import FileJournal
from pipeline.tracking.ledger import Entry, Ledger
from pipeline.tracking.lineage import WHOLE_RUN
from pipeline.tracking.versions import GATE_TAG

USUAL = Volume(documents_kept=100.0, bytes_kept=1e6, drop_rate=0.2)


class Receiver:
    """A webhook on loopback that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/s3cret"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait_for(self, *names: str, seconds: float = 60.0) -> dict[str, str]:
        """The texts of the alerts `names`, each at least once."""
        deadline = time.monotonic() + seconds
        while True:
            found = {one["alert"]: one["text"] for one in self.told}
            if set(names) <= set(found):
                return found
            assert time.monotonic() < deadline, f"only {sorted(found)} came"
            time.sleep(0.1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


def drive(work: Callable[[PrefectClient], Any]) -> Any:
    async def inside() -> Any:
        async with get_client() as client:
            return await work(client)

    return asyncio.run(inside())


@pytest.mark.slow
def test_every_alert_reaches_the_webhook_and_says_what_happened(tmp_path, receiver, monkeypatch):
    for service in ("TRIGGERS_PROACTIVE_GRANULARITY", "LATE_RUNS_AFTER_SECONDS"):
        monkeypatch.setenv(f"PREFECT_SERVER_SERVICES_{service}", "1")
    monkeypatch.setenv("PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS", "1")
    soon = partial(alerts.alerts, late=timedelta(seconds=10), grace=timedelta(seconds=10))
    monkeypatch.setattr(alerts, "alerts", soon)
    server = PrefectServer(tmp_path / "prefect")
    try:
        server.wait_until_healthy()
        with temporary_settings({PREFECT_API_URL: server.api_url}):
            names = drive(lambda client: install_alerts(client, receiver.url))
            install([crash_on_silence(timedelta(seconds=10))])
            assert [name.removeprefix(alerts.PREFIX) for name in names] == [
                "corpus", "crashed", "disk", "failed", "gate", "late", "silent"
            ]  # fmt: skip

            async def begin_all(client: PrefectClient) -> None:
                flow_id = await client.create_flow_from_name("nightly")

                async def begin(name: str, state: Any) -> Any:
                    reply = await client._client.post("/flow_runs/", json={
                        "flow_id": str(flow_id), "name": name, "tags": ["gristmill"],
                        "state": state.model_dump(mode="json", include={"type", "name", "message",
                                                                         "state_details"}),
                    })  # fmt: skip
                    return reply.json()["id"]

                past = datetime.now(UTC) - timedelta(minutes=5)
                await begin("owl", Scheduled(scheduled_time=past))
                await begin("emu", Failed(message='stage "clean" met a \\ and a "quote"'))
                await begin("auk", Crashed(message="the machine is gone"))
                silent = await begin("kea", Scheduled(scheduled_time=past + timedelta(days=1)))
                ended = await begin("gnu", Failed(message="a setting is wrong"))
                cancelled = await begin("yak", Crashed(message="a termination signal"))
                await asyncio.sleep(1)
                await client.set_flow_run_state(cancelled, Cancelled(), force=True)
                # The first sign of life of a run that fails at once comes after its end.
                for identifier in (silent, ended):
                    emit_event(
                        "prefect.flow-run.heartbeat",
                        resource={"prefect.resource.id": f"prefect.flow-run.{identifier}"},
                        related=[{"prefect.resource.id": "prefect.tag.gristmill",
                                  "prefect.resource.role": "tag"}],
                    )  # fmt: skip

            drive(begin_all)
            for event in (signals.CORPUS_UNUSUAL, signals.GATE_STUCK, signals.DISK_LOW):
                signals._emit(event, "pydocs", f"{event} 中文 'quoted' \"twice\"", look="here")
            tell_prefect_the_rest()  # or the next test's events would go to this server
            told = receiver.wait_for(
                "late", "failed", "crashed", "silent", "gate", "corpus", "disk", seconds=90
            )
            emu = next(one["text"] for one in receiver.told if " emu " in one["text"])
            assert emu.startswith("gristmill: run emu is failed.")
            assert emu.endswith('stage "clean" met a \\ and a "quote"')
            runs = ("late", "failed", "crashed", "silent")
            texts = [(one["alert"], one["text"].split()[2]) for one in receiver.told]
            assert {pair for pair in texts if pair[0] in runs} == {
                ("late", "owl"), ("failed", "emu"), ("failed", "gnu"), ("crashed", "auk"),
                ("silent", "kea"),
            }  # fmt: skip
            assert "the machine is gone" in told["crashed"]
            assert "owl is late" in told["late"]
            assert "kea is silent" in told["silent"]
            assert told["disk"] == "gristmill: gristmill.disk.low 中文 'quoted' \"twice\""
            assert {one["runbook"] for one in receiver.told} <= {
                f"docs/runbook.md#{name}" for name in told
            }
            # The address is a secret: the server's own log and the automations do not show it.
            assert "s3cret" not in server.log.read_text(errors="replace")
            listed = drive(lambda client: client.read_automations())
            assert "s3cret" not in "".join(one.model_dump_json() for one in listed)
            assert drive(lambda client: install_alerts(client, None)) == []
            left = [a.name for a in drive(lambda client: client.read_automations())]
            assert left == [crash_on_silence().name]
    finally:
        server.stop()


def test_the_address_is_checked_and_never_repeated(monkeypatch):
    monkeypatch.setenv("GRISTMILL_ALERT_WEBHOOK", "ftp://token-of-mine/hook")
    with pytest.raises(ConfigError) as told:
        webhook_url()
    assert "token-of-mine" not in str(told.value)
    monkeypatch.delenv("GRISTMILL_ALERT_WEBHOOK")
    assert webhook_url() is None


def test_the_runbook_has_a_section_for_every_alert():
    text = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text(encoding="utf-8")
    for alert in alerts.alerts(uuid4()):
        assert f"\n## {alert.name.removeprefix(alerts.PREFIX)}\n" in text, alert.name


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (USUAL, None),
        (Volume(149.0, 1e6, 0.2), None),
        (Volume(49.0, 1e6, 0.2), "documents kept 49 against a median of 100"),
        (Volume(100.0, 1e6, 0.31), "share dropped 0.31 against a median of 0.2"),
        (Volume(100.0, 1.6e6, 0.2), "bytes kept 1.6e+06 against a median of 1e+06"),
    ],
)
def test_more_than_half_off_the_median_is_unusual(now, told):
    assert unusual(now, [USUAL] * 7) == told


def test_two_runs_are_no_history_and_only_the_last_seven_count():
    odd = Volume(1.0, 1.0, 0.2)
    assert unusual(odd, [USUAL] * 2) is None
    assert unusual(odd, [USUAL] * 50 + [odd] * 7) is None


def test_history_is_that_of_the_same_model_and_without_the_run_itself(tmp_path):
    for place, (run, name) in enumerate([("a", "one"), ("b", "two"), ("c", "one"), ("d", "one")]):
        directory = tmp_path / "journal" / run
        directory.mkdir(parents=True)
        (directory / "run.json").write_text(json.dumps({"started": 1000 - place}))
        (directory / "config.json").write_text(json.dumps({"registry": {"name": name}}))
        journal = FileJournal(directory / "clean.jsonl")
        figures = {"documents_read": 10.0, "documents_kept": place, "bytes_kept": 5.0}
        journal.metrics({f"{WHOLE_RUN}/{key}": value for key, value in figures.items()}, step=0)
        journal.close()
    found = volumes(tmp_path, "one", before="d")
    assert found == [Volume(2.0, 5.0, 0.8), Volume(0.0, 5.0, 1.0)]  # oldest first


def test_a_promotion_ends_the_count_of_refusals(tmp_path):
    uri = default_uri(tmp_path)
    ledger = Ledger(tmp_path, uri)
    for number, verdict in enumerate(["refused", "promoted", "refused", "refused"]):
        ledger.version(Entry("shop", f"{number}" * 64, {GATE_TAG: verdict}))
        ledger.version(Entry("other", f"{number + 4}" * 64, {GATE_TAG: "promoted"}))
    assert refusals_in_a_row(tmp_path, uri, "shop") == 2
    assert refusals_in_a_row(tmp_path, uri, "other") == 0
