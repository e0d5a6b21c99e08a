"""sha256 of input files, remembered by (path, size, mtime, inode) so that a rerun only stats.

A file touched within the last two seconds is not remembered: a second write in the same clock tick
would go unnoticed (git's "racy" index rule).
"""

import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from pipeline.store.errors import DataError
from pipeline.store.files import sha256_file, write_bytes

RACY_NANOSECONDS = 2_000_000_000


class StatCache:
    """One JSON file, `{path: [size, mtime_ns, inode, sha256]}`; a broken one counts as empty."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = self._load()
        self._changed = False

    def sha256(self, paths: Sequence[str]) -> list[str]:
        """The content hash of each file; DataError for one that cannot be read."""
        return [self._one(path) for path in paths]

    def save(self) -> None:
        """Write what was learned, if anything."""
        if self._changed:
            write_bytes(self.path, orjson.dumps(self._known, option=orjson.OPT_SORT_KEYS))
            self._changed = False

    def _one(self, path: str) -> str:
        absolute = str(Path(path).absolute())
        try:
            status = Path(absolute).stat()
            facts = [status.st_size, status.st_mtime_ns, status.st_ino]
            known = self._known.get(absolute)
            if known is not None and known[:3] == facts:
                return str(known[3])
            found = sha256_file(Path(absolute))
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}); check the path") from error
        rests = status.st_mtime_ns < time.time_ns() - RACY_NANOSECONDS
        if rests and absolute.isprintable():  # a name that is not UTF-8 cannot be a key of JSON
            self._known[absolute] = [*facts, found]
            self._changed = True
        return found

    def _load(self) -> dict[str, list]:
        try:
            known = orjson.loads(self.path.read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return {}
        well_formed = isinstance(known, dict) and all(
            isinstance(entry, list) and len(entry) == 4 for entry in known.values()
        )
        return known if well_formed else {}
