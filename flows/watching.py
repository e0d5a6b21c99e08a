"""The watcher: looks whether text arrived, and tells Prefect once, as the event `corpus.arrived`.

    every few minutes: sources of the preset -> files of unknown content that rest -> event

Which deployments the event starts is written in prefect.yaml.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from prefect import flow
from prefect.events import emit_event
from prefect.states import Completed, State

from flows import show
from flows.beginning import begin
from flows.knobs import WholeConfig
from flows.nights import Arrived, Nights, arrived
from flows.root import prepare_root
from flows.settings import Preset, WatchSettings, resolve
from pipeline.config import RunConfig
from pipeline.store.files import read_json, write_json
from pipeline.store.fingerprint import digest
from pipeline.store.runtime import Runtime

CORPUS_RESOURCE = "gristmill.corpus"
DEFAULT_REST_SECONDS = 60.0
NAMED_FILES = 100  # in the event; all are counted


def look(config: RunConfig, *, rest_seconds: float) -> tuple[Arrived, str]:
    """(what arrived, why it is not announced; empty if it is to be announced now)."""
    root = prepare_root(Path(config.root))
    nights = Nights(root, config.registry.name)
    found = arrived(config.clean.sources, nights, root=root, runtime=Runtime())
    if not found.files:
        return found, "nothing new"
    if (age := _youngest(found)) < rest_seconds:
        return found, f"the newest file was written {age:.0f} s ago; waiting until it rests"
    if _announced(root, nights.name) == _mark(found):
        return found, "these files were announced already"
    return found, ""


def remember(config: RunConfig, found: Arrived) -> None:
    """From now on these files count as announced."""
    root = prepare_root(Path(config.root))
    write_json(_memory(root, config.registry.name), {"announced": _mark(found)})


def _youngest(found: Arrived) -> float:
    """Seconds since the last of the new files was written."""
    newest = [_written(paths) for s in found.sources if (paths := getattr(s, "paths", ()))]
    return time.time() - max(newest, default=0.0)


def _written(paths: Sequence[str]) -> float:
    times = [0.0]
    for path in paths:
        try:
            times.append(Path(path).stat().st_mtime)
        except OSError:
            continue  # remote, or gone again
    return max(times)


def _mark(found: Arrived) -> str:
    return digest([sorted(found.contents), sorted(found.files)])


def _memory(root: Path, name: str) -> Path:
    return root / "resolved" / f"arrived-{name}.json"


def _announced(root: Path, name: str) -> str | None:
    path = _memory(root, name)
    return read_json(path).get("announced") if path.is_file() else None


@flow(name="watch-corpus", persist_result=False, on_failure=[show.failed])
def watch_corpus(
    preset: Preset = "nightly",
    settings: WatchSettings = WatchSettings(),  # noqa: B008 - frozen, and Prefect builds its form from it
    config: WholeConfig = None,
) -> State[None]:
    """Look for files that no night has seen; emit corpus.arrived when they rest.

    Args:
        preset: A file in flows/configs whose sources are watched.
        settings: Knobs over the preset; empty fields keep the preset's value.
        config: A full configuration as JSON, for experts; replaces both.
    """
    call = begin(show.LoggedDisplay)
    resolved = resolve(preset, settings, config)
    rest = DEFAULT_REST_SECONDS if settings.rest_seconds is None else settings.rest_seconds
    found, reason = look(resolved, rest_seconds=rest)
    for note in found.notes:
        call.display.line(note, style="dim")
    if reason:
        return Completed(message=reason)
    name = resolved.registry.name
    text = f"{len(found.files)} new files, {found.num_bytes:,} bytes"
    resource = {
        "prefect.resource.id": f"{CORPUS_RESOURCE}.{name}",
        "prefect.resource.name": name,
    }
    payload = {
        "files": list(found.files[:NAMED_FILES]),
        "count": len(found.files),
        "bytes": found.num_bytes,
    }
    emit_event("corpus.arrived", resource=resource, payload=payload)
    remember(resolved, found)
    return Completed(message=f"announced {text}")
