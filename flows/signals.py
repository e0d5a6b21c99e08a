"""Events that flows emit when something wants a person: what `alerts.py` listens to.

gristmill.corpus.unusual   volume or drop rate more than half off the median of seven runs
gristmill.gate.refused     the gate refused a version; `in_a_row` counts
gristmill.disk.low         less than a tenth of the root's disk is free
"""

import shutil
from pathlib import Path

from prefect.events import emit_event

from flows.run import Run
from pipeline.artifacts import CleanedCorpus
from pipeline.stages.register import Registration
from pipeline.tracking.config import tracking_uri
from pipeline.tracking.history import Volume, refusals_in_a_row, unusual, volumes

CORPUS_UNUSUAL = "gristmill.corpus.unusual"
GATE_REFUSED = "gristmill.gate.refused"
GATE_STUCK = "gristmill.gate.stuck"
DISK_LOW = "gristmill.disk.low"
STUCK_AFTER = 3
"""Refusals in a row."""
LOW_SHARE = 0.10
"""Of the disk."""


def corpus(run: Run, cleaned: CleanedCorpus) -> str | None:
    """Compare with the last seven runs; the message that was emitted, if any."""
    facts = cleaned.facts
    read = float(facts.get("documents_read", 0))
    if not read:
        return None
    kept = float(facts["documents_kept"])
    now = Volume(kept, float(facts["bytes_kept"]), 1.0 - kept / read)
    name = run.config.registry.name
    message = unusual(now, volumes(run.root, name, before=run.run_id))
    if message is not None:
        _emit(CORPUS_UNUSUAL, name, f"{cleaned.ref}: {message}", look=f"mill show {cleaned.ref}")
    return message


def gate(run: Run, version: Registration) -> str | None:
    """Tell that a version was refused, and when that is the third in a row; the last message."""
    if version.promoted or version.version is None:
        return None
    uri = tracking_uri(run.config.tracking, run.root)
    count = refusals_in_a_row(run.root, uri, version.name)
    message = f"{version.name} version {version.version} was refused: {version.reason}"
    _emit(GATE_REFUSED, version.name, message, in_a_row=str(count))
    if count >= STUCK_AFTER:
        message = f"{version.name}: the gate refused {count} versions in a row; {version.reason}"
        _emit(GATE_STUCK, version.name, message, look=f"mill show models:/{version.name}@champion")
    return message


def disk(root: Path) -> str | None:
    """Tell that the root's disk is nearly full; the message, if any."""
    usage = shutil.disk_usage(root)
    share = usage.free / usage.total
    if share >= LOW_SHARE:
        return None
    message = f"{usage.free / 1e9:.1f} GB ({share:.1%}) of the disk of {root.name} are free"
    _emit(DISK_LOW, root.name, message, look="mill store gc")
    return message


def _emit(event: str, name: str, message: str, **more: str) -> None:
    resource = {"prefect.resource.id": f"{event}.{name}", "prefect.resource.name": name}
    emit_event(event, resource=resource, payload={"message": message, **more})
