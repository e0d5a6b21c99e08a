"""Alerts: automations of the Prefect server that call one webhook.

    late, failed, crashed, silent     runs of our deployments (tag `gristmill`)
    gate, corpus, disk                events of `signals.py`

The address comes from GRISTMILL_ALERT_WEBHOOK when `mill deploy` runs; it is a secret, kept in a
Webhook block of the Prefect server and nowhere else. Without it there are no alerts. The message is
JSON with a `text`, which Slack, Mattermost and Teams show as it is. `docs/runbook.md` says what to
do about each.
"""

import json
import os
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import UUID

from prefect.automations import AutomationCore
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import PrefectClient
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from pydantic import SecretStr

from flows.signals import CORPUS_UNUSUAL, DISK_LOW, GATE_STUCK
from flows.zombies import OURS, RUNS, SILENT, replace
from pipeline.store.errors import ConfigError

WEBHOOK_VARIABLE = "GRISTMILL_ALERT_WEBHOOK"
BLOCK = "gristmill-alerts"
PREFIX = "gristmill alert: "
RUNBOOK = "docs/runbook.md"
# What the server fills in; `tojson` quotes whatever the message holds.
_RUN_TEXT = (
    "{{ ('gristmill: run ' ~ flow_run.name ~ ' is %s. '"
    " ~ (flow_run.state.message or '')) | tojson }}"
)
_EVENT_TEXT = "{{ ('gristmill: ' ~ event.payload['message']) | tojson }}"
_EVENTS = {"gate": GATE_STUCK, "corpus": CORPUS_UNUSUAL, "disk": DISK_LOW}
_FAILED = {"prefect.flow-run.Failed", "prefect.flow-run.TimedOut"}
_CRASHED, _LATE = "prefect.flow-run.Crashed", "prefect.flow-run.Late"
_TAKEN = {f"prefect.flow-run.{name}" for name in ("Pending", "Running", "Cancelled", "Completed")}
LATE = timedelta(minutes=5)
"""On a pool that takes one run at a time the next one waits, which wakes nobody at once."""
GRACE = timedelta(seconds=20)
"""A cancelled run is Crashed first, until its worker says that it was cancelled."""


def webhook_url() -> str | None:
    """The configured address; ConfigError if it is none. The error does not repeat the secret."""
    value = os.environ.get(WEBHOOK_VARIABLE, "").strip()
    if not value:
        return None
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{WEBHOOK_VARIABLE} is not an http:// or https:// address")
    return value


def alerts(
    block: UUID, *, late: timedelta = LATE, grace: timedelta = GRACE
) -> list[AutomationCore]:
    """One automation per alert, each calling the webhook block."""
    waited = f"late: no worker took it for {late.total_seconds() / 60:.0f} minutes"
    not_silent = {**RUNS, "prefect.state-message": f"!{SILENT}*"}
    silent = {**RUNS, "prefect.state-message": f"{SILENT}*"}
    runs = [
        ("late", "A run is late.", _unless(_LATE, _TAKEN, late, RUNS), waited),
        ("failed", "A run is failed.", _at_once(_FAILED, RUNS), "failed"),
        (
            "crashed", "A run is crashed.",
            _unless(_CRASHED, {"prefect.flow-run.Cancelled"}, grace, not_silent), "crashed",
        ),
        (
            "silent", "A run gives no sign of life.",
            _at_once({_CRASHED}, silent), "silent (no heartbeat)",
        ),
    ]  # fmt: skip
    made = [_automation(name, about, on, _RUN_TEXT % text, block) for name, about, on, text in runs]
    return made + [_of_event(name, event, block) for name, event in _EVENTS.items()]


async def install_alerts(client: PrefectClient, url: str | None) -> list[str]:
    """Bring the server's alerts up to date; the names of those it has now.

    Without `url` those of an earlier deployment are removed: an alert that reaches nobody is worse
    than none.
    """
    wanted = alerts(await _saved_block(url)) if url is not None else []
    names = {automation.name for automation in wanted}
    for existing in await client.read_automations():
        if existing.name.startswith(PREFIX) and existing.name not in names:
            await client.delete_automation(existing.id)
    for automation in wanted:
        await replace(client, automation)
    return sorted(names)


async def _saved_block(url: str) -> UUID:
    webhook = Webhook(
        method="POST",
        url=SecretStr(url),
        headers={"Content-Type": "application/json"},
        allow_private_urls=True,  # a receiver inside one's own network is the usual case
    )
    saved = await webhook.save(BLOCK, overwrite=True)  # type: ignore[misc]
    assert isinstance(saved, UUID)
    return saved


def _at_once(events: set[str], match: dict[str, str]) -> EventTrigger:
    return EventTrigger(
        match=ResourceSpecification(match),
        match_related=ResourceSpecification(OURS),
        expect=events,
        for_each={"prefect.resource.id"},
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )


def _unless(event: str, others: set[str], within: timedelta, match: dict[str, str]) -> EventTrigger:
    """`event`, and none of `others` follows within this time."""
    return EventTrigger(
        match=ResourceSpecification(match),
        match_related=ResourceSpecification(OURS),
        after={event},
        expect=others,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )


def _of_event(name: str, event: str, block: UUID) -> AutomationCore:
    trigger = EventTrigger(
        match=ResourceSpecification({"prefect.resource.id": f"{event}.*"}),
        expect={event},
        for_each={"prefect.resource.id"},
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )
    return _automation(name, f"The event {event}.", trigger, _EVENT_TEXT, block)


def _automation(
    name: str, about: str, trigger: EventTrigger, text: str, block: UUID
) -> AutomationCore:
    place = json.dumps(f"{RUNBOOK}#{name}")
    payload = f'{{"alert": {json.dumps(name)}, "text": {text}, "runbook": {place}}}'
    return AutomationCore(
        name=f"{PREFIX}{name}",
        description=f"{about} See {RUNBOOK}#{name}.",
        trigger=trigger,
        actions=[CallWebhook(block_document_id=block, payload=payload)],
    )
