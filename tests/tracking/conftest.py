"""Roots with a tracking store, and an address without one."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.tracking.config import default_uri
from tests.tracking.databases import fresh_root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root whose tracking store is ready."""
    return fresh_root(tmp_path / "root")


@pytest.fixture
def client() -> Callable[[Path], MlflowClient]:
    """Opens the default store of a root for looking at it."""
    return lambda root: MlflowClient(tracking_uri=default_uri(root))


@pytest.fixture
def dead_uri() -> str:
    """A loopback address where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"
