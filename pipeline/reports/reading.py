"""Reading what artifacts hold beside their manifests: JSON lines and Arrow columns."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.store.errors import ArtifactError


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file; none if it is absent, ArtifactError if it is damaged."""
    if not path.is_file():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise ArtifactError(f"{path} line {number} is damaged ({error}); rebuild it") from error
    return records


def read_columns(path: Path) -> dict[str, list[Any]]:
    """The columns of an Arrow IPC file; none if there is no such file."""
    if not path.is_file():
        return {}
    with pa.memory_map(str(path)) as file:
        columns: dict[str, list[Any]] = pa.ipc.open_file(file).read_all().to_pydict()
    return columns
