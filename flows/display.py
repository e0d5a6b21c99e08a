"""What a person sees on the terminal during a run: a line per stage, progress, elapsed time.

On a terminal the current line is redrawn; in a log file each stage writes a few plain lines.
"""

import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console, RenderableType

_BAR_CELLS = 24
_PLAIN_SECONDS = 15.0  # in a file, one progress line per stage at most this often
_REDRAW_SECONDS = 0.1


def clock(seconds: float) -> str:
    """`7.3 s` or `2:05`."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Display:
    """Writes the story of a run; safe to call from any thread."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(file=sys.stdout, highlight=False)
        self.quiet = quiet
        self.started = time.monotonic()
        self._lock = threading.RLock()
        self._redrawn = 0.0
        self._line_open = False

    @property
    def live(self) -> bool:
        """Whether the output is a terminal whose last line can be redrawn."""
        return self.console.is_terminal

    def line(self, text: str, *, style: str | None = None) -> None:
        """One whole line."""
        if self.quiet:
            return
        with self._lock:
            self._clear()
            self.console.print(text, style=style, markup=False, soft_wrap=True)

    def render(self, thing: RenderableType) -> None:
        """A table or any other rich renderable."""
        if not self.quiet:
            with self._lock:
                self._clear()
                self.console.print(thing)

    def redraw(self, text: str) -> None:
        """Replace the current line (terminals only)."""
        if self.quiet or not self.live:
            return
        with self._lock:
            now = time.monotonic()
            if now - self._redrawn < _REDRAW_SECONDS:
                return
            self._redrawn = now
            width = self.console.width - 1
            self.console.file.write("\r\x1b[2K" + text[:width])
            self.console.file.flush()
            self._line_open = True

    def _clear(self) -> None:
        if self._line_open:
            self.console.file.write("\r\x1b[2K")
            self._line_open = False


class StageDisplay:
    """The Progress of one stage on the terminal."""

    def __init__(self, display: Display, title: str, *, others: tuple[Any, ...] = ()) -> None:
        self.display = display
        self.title = title
        self.started = time.monotonic()
        self.outcome = "built"
        self.building: str | None = None
        """`stage@<12 digits>` while that artifact is made."""
        self._plain_at = self.started
        self._others = others

    def advance(self, done: float, total: float | None, unit: str) -> None:
        """Redraw the stage's line, or now and then print it."""
        text = f"  {self.title:<12} {self._bar(done, total)} {self._amount(done, total, unit)}"
        text += f"  {clock(time.monotonic() - self.started)}{self._remaining(done, total)}"
        self.display.redraw(text)
        now = time.monotonic()
        if not self.display.live and now - self._plain_at >= _PLAIN_SECONDS:
            self._plain_at = now
            self.display.line(text)
        for other in self._others:
            other.advance(done, total, unit)

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Print the events a person wants to see as they happen."""
        if name in ("built", "reused"):
            self.outcome = name
        elif name == "building":
            self.building = str(facts["artifact"])
        elif name == "generated":
            when, text = facts.get("when", ""), str(facts.get("text", "")).replace("\n", " ")
            self.display.line(f"    {when:>9} | {facts.get('prompt', '')!r} -> {text[:100]!r}")
        elif name in ("warning", "waiting"):
            message = facts.get("message") or ", ".join(f"{k} {v}" for k, v in facts.items())
            self.display.line(f"    {name}: {message}", style="yellow")
        elif name in ("size_chosen", "predicted"):
            told = ", ".join(f"{key} {_short(value)}" for key, value in facts.items())
            self.display.line(f"    {name}: {told}")
        for other in self._others:
            other.event(name, facts)

    def _bar(self, done: float, total: float | None) -> str:
        if not total:
            return "." * (int(time.monotonic() * 2) % _BAR_CELLS)
        filled = min(_BAR_CELLS, int(_BAR_CELLS * done / total))
        return "█" * filled + "░" * (_BAR_CELLS - filled)

    def _amount(self, done: float, total: float | None, unit: str) -> str:
        of = f"/{total:,.0f}" if total else ""
        return f"{done:,.0f}{of} {unit}"

    def _remaining(self, done: float, total: float | None) -> str:
        elapsed = time.monotonic() - self.started
        if not total or done <= 0 or elapsed < 3 or done >= total:
            return ""
        return f", {clock(elapsed * (total - done) / done)} left"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
