"""`curve.jsonl` and `samples.jsonl`: lines that survive a kill and never repeat after a resume."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.store.errors import ArtifactError
from pipeline.store.files import write_text


def read_records(path: Path) -> list[dict[str, Any]]:
    """All whole lines; a torn last line (killed writer) is dropped, a torn middle is an error."""
    if not path.is_file():
        return []
    *lines, torn = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise ArtifactError(
                f"{path} line {number} is damaged ({error}); delete {path.parent} and rerun"
            ) from error
    return records


def rewind(path: Path, *, step: int) -> list[dict[str, Any]]:
    """Keep only records up to `step`, the checkpoint a run goes on from; return them."""
    kept = [record for record in read_records(path) if record["step"] <= step]
    write_text(path, "".join(_line(record) for record in kept))
    return kept


def append(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Append lines with one write: a kill leaves all of them or none."""
    data = "".join(_line(record) for record in records).encode("utf-8")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
