"""HTML to text in a child process that is killed when a page takes too long or too much.

    Extractor.text_of(html) -> text | Refusal(reason, detail)

An extractor is large code over hostile input: it can hang inside C, crash, or eat all memory. None
of that may stop a corpus, and no thread or signal handler can interrupt it.
"""

import os
import selectors
import signal
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pipeline.store.errors import ConfigError

WORKER = Path(__file__).with_name("extraction_worker.py")
MEMORY_BYTES = 2 << 30  # of address space: a page of 4 MB needs a tenth of it
START_SECONDS = 120.0
WALL_FACTOR = 10.0  # a page that sleeps uses no CPU: after this many times the limit it is ended
PAGES_PER_PROCESS = 5_000  # the extractors' caches grow; a new process starts in half a second
LENGTH = struct.Struct("<I")
REPLY = struct.Struct("<BI")
# jusText asks for `lxml[html_clean]`, an extra that older versions of pip do not find.
PACKAGES = {"trafilatura": "trafilatura lxml_html_clean", "resiliparse": "resiliparse"}
ExtractorName = Literal["trafilatura", "resiliparse"]
Favor = Literal["balanced", "precision", "recall"]


@dataclass(frozen=True)
class Refusal:
    """Why a page has no text for us: a reason code and a detail."""

    reason: str
    detail: str


def extractor_version(name: ExtractorName) -> str:
    """The installed version; ConfigError with the remedy if there is none."""
    try:
        return version(name)
    except PackageNotFoundError as error:
        raise ConfigError(
            f"reading HTML with extractor={name} needs a package that is not installed; "
            f"pip install {PACKAGES[name]}"
        ) from error


class Extractor:
    """One child process at a time; a context manager."""

    def __init__(self, name: ExtractorName, favor: Favor, *, seconds: float) -> None:
        extractor_version(name)
        self._seconds = seconds
        self._command = [
            sys.executable, "-P", str(WORKER), name, favor, str(seconds), str(MEMORY_BYTES)
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self._pages = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def text_of(self, html: str) -> str | Refusal:
        """The text of a page, "" where it has none; a Refusal when the extractor failed on it."""
        process = self._started()
        self._pages += 1
        data = html.encode("utf-8", "replace")
        try:
            assert process.stdin is not None
            process.stdin.write(LENGTH.pack(len(data)) + data)
            process.stdin.flush()
            status, text = _answer(process, time.monotonic() + self._seconds * WALL_FACTOR)
        except TimeoutError:
            self._end()
            return self._over_time()
        except (BrokenPipeError, EOFError):
            code = self._end()
            if code == -signal.SIGPROF:
                return self._over_time()
            return Refusal("extraction_crashed", f"the extractor ended with exit code {code}")
        if self._pages >= PAGES_PER_PROCESS:
            self._end()
        if status == 0:
            return text
        reason = "extraction_memory" if text.startswith("MemoryError") else "extraction_failed"
        return Refusal(reason, text)

    def _over_time(self) -> Refusal:
        return Refusal("extraction_timeout", f"more than {self._seconds:g} s")

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None:
            return self._process
        self._pages = 0
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            bufsize=0,
        )  # fmt: skip
        self._process = process
        try:
            _answer(process, time.monotonic() + START_SECONDS)
        except (TimeoutError, EOFError) as error:
            assert process.stderr is not None
            process.kill()
            told = process.stderr.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            self._end()
            raise ConfigError(
                f"the extractor {self._command[3]} does not start ({' '.join(told)}); "
                f"pip install --force-reinstall {PACKAGES[self._command[3]]}"
            ) from error
        return process

    def _end(self) -> int | None:
        """Kill the child; its exit code, negative for the signal that ended it."""
        process, self._process = self._process, None
        if process is None:
            return None
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                pass  # it died with a page half read
        try:
            code = process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        assert process.stderr is not None
        process.stderr.close()
        return code


def _answer(process: subprocess.Popen[bytes], deadline: float) -> tuple[int, str]:
    header = _read(process, REPLY.size, deadline)
    status, length = REPLY.unpack(header)
    return status, _read(process, length, deadline).decode("utf-8", "replace")


def _read(process: subprocess.Popen[bytes], count: int, deadline: float) -> bytes:
    """Exactly `count` bytes; EOFError when the child ended, TimeoutError at the deadline."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    pieces: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while count > 0:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            piece = os.read(descriptor, min(count, 1 << 20))
            if not piece:
                raise EOFError
            pieces.append(piece)
            count -= len(piece)
    return b"".join(pieces)
