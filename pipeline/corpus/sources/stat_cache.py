"""What was computed from input files, remembered by (path, size, mtime, inode): a rerun only stats.

A file touched within the last two seconds is not remembered: a second write in the same clock tick
would go unnoticed (git's "racy" index rule).
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from pipeline.store.errors import DataError
from pipeline.store.files import sha256_file, write_bytes

RACY_NANOSECONDS = 2_000_000_000


class StatCache:
    """One JSON file, `{path: [size, mtime_ns, inode, value]}`; a broken one counts as empty.

    Beside the sha256 of a file, `path|rule` holds what else was computed from its content.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = self._load()
        self._changed = False

    def sha256(self, paths: Sequence[str]) -> list[str]:
        """The content hash of each file; DataError for one that cannot be read."""
        hashes = []
        for path in paths:
            try:
                hashes.append(self.hash_of(path))
            except OSError as error:
                told = f"{path} cannot be read ({error.strerror}); check the path"
                raise DataError(told) from error
        return hashes

    def hash_of(self, path: str) -> str:
        """The content hash of one file; OSError if it cannot be read."""
        return str(self.remembered(path, "", sha256_file))

    def remembered(self, path: str, rule: str, compute: Callable[[Path], Any]) -> Any:
        """`compute(path)`, plain JSON data; not called again while the file rests."""
        absolute = Path(path).absolute()
        key = f"{absolute}|{rule}" if rule else str(absolute)
        status = absolute.stat()
        facts = [status.st_size, status.st_mtime_ns, status.st_ino]
        known = self._known.get(key)
        if known is not None and known[:3] == facts:
            return known[3]
        found = compute(absolute)
        rests = status.st_mtime_ns < time.time_ns() - RACY_NANOSECONDS
        if rests and key.isprintable():  # a name that is not UTF-8 cannot be a key of JSON
            self._known[key] = [*facts, found]
            self._changed = True
        return found

    def save(self) -> None:
        """Write what was learned, if anything."""
        if self._changed:
            write_bytes(self.path, orjson.dumps(self._known, option=orjson.OPT_SORT_KEYS))
            self._changed = False

    def _load(self) -> dict[str, list]:
        try:
            known = orjson.loads(self.path.read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return {}
        well_formed = isinstance(known, dict) and all(
            isinstance(entry, list) and len(entry) == 4 for entry in known.values()
        )
        return known if well_formed else {}
