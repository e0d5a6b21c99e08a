"""Which checkpoint answers now: the champion of a registered model, as it lies under the root.

The registry is asked; where it cannot be reached, our own ledger of it knows.
"""

import logging
from pathlib import Path

from pipeline.artifacts import Artifact, Checkpoint, seek_artifact
from pipeline.store.errors import ArtifactError
from pipeline.tracking.config import TrackingConfig, tracking_uri
from pipeline.tracking.ledger import Ledger
from pipeline.tracking.registry import opened
from pipeline.tracking.store import UNAVAILABLE
from pipeline.tracking.versions import CHAMPION

logger = logging.getLogger(__name__)
CHECKPOINT_TAG = "gristmill.checkpoint"


def champion_checkpoint(
    root: Path, name: str, *, tracking: TrackingConfig | None = None
) -> Checkpoint | None:
    """The checkpoint of `name`'s champion; None where there is no champion.

    ArtifactError when it is no longer under the root: nothing can be trained further then.
    """
    root = root.resolve()
    tags = _champion_tags(root, name, tracking or TrackingConfig())
    if tags is None:
        return None
    reference = tags.get(CHECKPOINT_TAG, "")
    found = seek_artifact(root, reference) if "@" in reference else None
    if not isinstance(found, Checkpoint):
        raise ArtifactError(
            f"the champion of {name} was made from {reference or 'no checkpoint of ours'}, which "
            f"is not under {root}; bring it back, or make another version the champion "
            f"(mill registry promote {name} VERSION)"
        )
    return found


def _champion_tags(root: Path, name: str, tracking: TrackingConfig) -> dict[str, str] | None:
    try:
        with opened(root, tracking) as registry:
            version = registry.at(name, CHAMPION)
            return None if version is None else dict(version.tags)
    except UNAVAILABLE as error:
        logger.warning("the registry cannot be reached (%s); its ledger says who answers", error)
    state = Ledger(root, tracking_uri(tracking, root)).state()
    fingerprint = state.aliases.get((name, CHAMPION))
    for entry in state.versions:
        if (entry.name, entry.fingerprint) == (name, fingerprint):
            return dict(entry.tags)
    return None


def shards_seen(checkpoint: Checkpoint) -> frozenset[str]:
    """The token shards (`tokenize@<12 digits>`) that a checkpoint and its ancestors were fed.

    ArtifactError when an ancestor is gone: what it was fed is not known then.
    """
    seen: set[str] = set()
    waiting: list[Artifact] = [checkpoint]
    known: set[str] = set()
    while waiting:
        artifact = waiting.pop()
        for reference in artifact.manifest.inputs:
            stage = reference.partition("@")[0]
            if stage == "tokenize":
                seen.add(reference)
            elif stage in ("blend", "pretrain", "finetune") and reference not in known:
                known.add(reference)
                parent = seek_artifact(checkpoint.root, reference)
                if parent is None:
                    raise ArtifactError(
                        f"{reference}, from which {artifact.ref} was made, is not under "
                        f"{checkpoint.root}; bring it back, or start anew under another root"
                    )
                waiting.append(parent)
    return frozenset(seen)
