"""The root of a run's artifacts and stores."""

import os
from pathlib import Path

from pipeline.store.errors import ConfigError


def prepare_root(root: Path) -> Path:
    """Create the root and prove it can be written before any work."""
    root = root.expanduser().absolute()
    probe = root / f".probe-{os.getpid()}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"root={root} cannot be written ({error}); choose another root="
        ) from error
    return root
