"""The champion alias, moved by hand: `mill registry promote` and `mill registry rollback`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.store.errors import ArtifactError
from pipeline.store.files import check_name
from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.referring import tracking_of
from pipeline.tracking.registry import Registry, opened
from pipeline.tracking.store import UNAVAILABLE
from pipeline.tracking.versions import (
    CHAMPION,
    GATE_TAG,
    PREVIOUS,
    REASON_TAG,
    ROLLED_BACK,
    Version,
)


def promote(
    root: Path, name: str, number: int, *, tracking: TrackingConfig | None = None
) -> Version:
    """Make version `number` of `name` the champion by hand, whatever the gate said.

    In the store of `tracking`, else in the one where this root registered `name`. ConfigError
    without such a version.
    """
    check_name(name, what="name")
    with _reached(root, name, tracking) as registry:
        version = registry.get(name, number)
        registry.crown(version)
        return registry.tag(version, {GATE_TAG: "promoted", REASON_TAG: "promoted by hand"})


def rollback(root: Path, name: str, *, tracking: TrackingConfig | None = None) -> Version:
    """Make the previous champion of `name` the champion again; returns it.

    The one rolled back is never promoted by the gate again, only by hand. ArtifactError without a
    previous champion.
    """
    check_name(name, what="name")
    with _reached(root, name, tracking) as registry:
        current, previous = registry.at(name, CHAMPION), registry.at(name, PREVIOUS)
        if current is None or previous is None or previous.number == current.number:
            raise ArtifactError(
                f"{name} has no {'champion' if current is None else 'previous champion'} at "
                f"{registry.uri}; choose a version with `mill registry promote {name} VERSION`"
            )
        registry.point(CHAMPION, previous)
        registry.clear(name, PREVIOUS)
        reason = f"rolled back to version {previous.number} by hand"
        registry.tag(current, {GATE_TAG: ROLLED_BACK, REASON_TAG: reason})
        return registry.get(name, previous.number)


@contextmanager
def _reached(root: Path, name: str, tracking: TrackingConfig | None) -> Iterator[Registry]:
    """The open registry; ArtifactError where it does not answer."""
    try:
        with opened(root, tracking_of(root, name, tracking)) as registry:
            yield registry
    except UNAVAILABLE as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise ArtifactError(
            f"the registry cannot be reached ({cause}); nothing was changed, start its server and "
            "try again"
        ) from error
