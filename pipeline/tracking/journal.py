"""The append-only local record of a run: the truth from which MLflow is fed.

    root/journal/<run>/run.json          who started it, and when
    root/journal/<run>/flow.jsonl        the run's own record
    root/journal/<run>/<stage>.jsonl     one file per stage

One JSON object per line, each written by one append, so several processes may hold the same file.
Imports nothing outside the standard library: it works where mlflow is absent.
"""

import json
import logging
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """One line: numbers at a step (`event` is None) or a named fact sheet."""

    milliseconds: int
    """Wall-clock time in milliseconds since 1970, UTC."""
    event: str | None = None
    facts: Mapping[str, Any] | None = None
    metrics: Mapping[str, float] | None = None
    step: int = 0


class FileJournal:
    """Appends records to `path`; a full disk or odd values are counted and never raise."""

    def __init__(self, path: Path, stage: str | None = None) -> None:
        self.path = path
        self.stage = stage if stage is not None else path.stem
        self.lost = 0
        """Records that could not be written, and single values that are not numbers."""
        self._descriptor: int | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o644)
            self._drop_torn_end()
        except OSError as error:
            self._lose(error)

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Record named numbers at a training step; NaN and infinities are kept."""
        numbers: dict[str, float | str] = {}
        for name, value in values.items():
            try:
                number = float(value)
            except (TypeError, ValueError) as error:
                self._lose(error)
                continue
            numbers[str(name)] = number if math.isfinite(number) else str(number)
        self._append({"step": int(step), "metrics": numbers})

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Record a named fact sheet; values JSON does not know are written as text."""
        self._append({"event": name, "facts": dict(facts)})

    def close(self) -> None:
        """Release the file; later records are counted as lost."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, record: dict[str, Any]) -> None:
        record = {"t": time.time_ns() // 1_000_000, **record}
        try:
            line = json.dumps(record, default=str, allow_nan=True).encode("utf-8") + b"\n"
            if self._descriptor is None:
                raise OSError(f"{self.path} is not open")
            written = os.write(self._descriptor, line)
            if written < len(line):
                self._drop_torn_end()
                raise OSError(f"only {written} of {len(line)} bytes fitted")
        except (OSError, TypeError, ValueError, RecursionError) as error:
            self._lose(error)

    def _drop_torn_end(self) -> None:
        """Cut the file after its last newline: what a killed writer or a full disk left."""
        if self._descriptor is None:
            return
        end = size = os.fstat(self._descriptor).st_size
        while end > 0:
            start = max(0, end - 65536)
            newline = os.pread(self._descriptor, end - start, start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            os.ftruncate(self._descriptor, end)

    def _lose(self, error: Exception) -> None:
        self.lost += 1
        if self.lost == 1:
            logger.warning(
                "the journal %s could not record everything (%s); "
                "the run goes on, further losses are only counted",
                self.path,
                error,
            )


@dataclass(frozen=True)
class Reading:
    """Whole records found after an offset, where to read on, and how many lines were broken."""

    records: tuple[Record, ...]
    offset: int
    broken: int


def read_journal(path: Path, *, offset: int = 0, max_bytes: int = 4 << 20) -> Reading:
    """Read the whole lines from byte `offset` on, about `max_bytes` of them.

    A line without its newline is being written or was torn by a kill: it is left for later. A
    broken line in the middle (damage) is counted and skipped.
    """
    try:
        with open(path, "rb") as handle:
            handle.seek(offset)
            data = handle.read(max_bytes)
            if b"\n" not in data and len(data) == max_bytes:
                data += handle.readline()  # one line longer than max_bytes
    except FileNotFoundError:
        return Reading((), offset, 0)
    whole = data[: data.rfind(b"\n") + 1]
    records: list[Record] = []
    broken = 0
    for line in whole.splitlines():
        try:
            records.append(_record(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError):
            broken += 1
    return Reading(tuple(records), offset + len(whole), broken)


def read_all(path: Path) -> Reading:
    """Every whole record of a journal file."""
    records: list[Record] = []
    offset = broken = 0
    while True:
        reading = read_journal(path, offset=offset)
        records += reading.records
        broken += reading.broken
        if reading.offset == offset:
            return Reading(tuple(records), offset, broken)
        offset = reading.offset


def _record(value: dict[str, Any]) -> Record:
    milliseconds = int(value["t"])
    if "metrics" in value:
        metrics = {name: float(number) for name, number in value["metrics"].items()}
        return Record(milliseconds, metrics=metrics, step=int(value["step"]))
    return Record(milliseconds, event=str(value["event"]), facts=dict(value["facts"]))
