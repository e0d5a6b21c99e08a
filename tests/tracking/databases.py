"""A migrated MLflow database, made once per test process and copied: creating one takes seconds."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from pipeline.tracking.config import default_uri
from pipeline.tracking.store import open_client


@functools.cache
def migrated_database() -> Path:
    """An empty, migrated mlflow.db."""
    root = Path(tempfile.mkdtemp(prefix="gristmill-migrated-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    open_client(default_uri(root), root)
    return root / "mlflow.db"


def fresh_root(home: Path) -> Path:
    """`home` made a root whose tracking store is ready."""
    home.mkdir(parents=True)
    shutil.copyfile(migrated_database(), home / "mlflow.db")
    return home
