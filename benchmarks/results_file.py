"""The file a benchmark leaves: what was measured, on which code and machine, and what was claimed.

    benchmarks/results/NAME.json   {"benchmark", "date", "commit", "hardware", "versions",
                                    "rows": [...], "claims": [...]}

A file is written on a clean tree only, so that its commit is the code that was measured. A missed
claim stays in the file with `"met": false`.
"""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import psutil

from pipeline.store.errors import ConfigError, DataError
from pipeline.store.files import check_name, read_json, write_json

CHECKOUT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Row:
    """One measured quantity; lists hold one figure per round."""

    case: str
    unit: str
    ours: tuple[float, ...]
    better: Literal["higher", "lower"]
    peer: str | None = None
    theirs: tuple[float, ...] = ()
    interval: tuple[float, float] | None = None
    """95 % interval of ours."""
    detail: bool = False
    """Left out of the short table."""

    @property
    def ratio(self) -> float | None:
        """How many times better ours is, median against median; below 1 it loses."""
        if not self.ours or not self.theirs:
            return None
        ours, theirs = median(self.ours), median(self.theirs)
        above, below = (ours, theirs) if self.better == "higher" else (theirs, ours)
        return above / below if below else None

    @property
    def loses(self) -> bool:
        """Whether the peer's figure is the better one."""
        if not self.ours or not self.theirs:
            return False
        ours, theirs = median(self.ours), median(self.theirs)
        return ours < theirs if self.better == "higher" else ours > theirs


@dataclass(frozen=True)
class Claim:
    """A promise with its number; `met` is decided by whoever made the comparison."""

    claim: str
    target: float
    value: float
    met: bool


@dataclass(frozen=True)
class Measured:
    """Which code on which machine: what a figure means nothing without."""

    commit: str
    hardware: str
    versions: Mapping[str, str]
    clean: bool = field(default=True)
    """False where the code was changed since the commit: such a result is never written."""


@dataclass(frozen=True)
class Result:
    """One benchmark's outcome."""

    benchmark: str
    date: str
    measured: Measured
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...]


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle ones."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def today() -> str:
    """The date in UTC."""
    return datetime.now(UTC).date().isoformat()


def here(packages: Sequence[str] = ("torch",)) -> Measured:
    """This checkout on this machine."""
    versions = {"gristmill": metadata.version("gristmill"), "python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in packages}
    commit, changed = _git("rev-parse", "HEAD"), _git(
        "status", "--porcelain", "--", ".", ":!benchmarks/results"
    )  # fmt: skip
    return Measured(commit or "unknown", hardware(), versions, bool(commit) and changed == "")


def hardware() -> str:
    """Processor, the cores this process may use, memory: `Intel Xeon, 2 cores, 8 GB`."""
    names = [
        line.split(":", 1)[1].strip()
        for line in _read(Path("/proc/cpuinfo")).splitlines()
        if line.startswith("model name")
    ]
    cores = len(os.sched_getaffinity(0))
    memory = psutil.virtual_memory().total / 1e9
    name = names[0] if names else platform.machine()
    return f"{name}, {cores} core{'s' if cores > 1 else ''}, {memory:.0f} GB"


def require_clean(measured: Measured) -> None:
    """ConfigError unless the code that is measured is the code of its commit."""
    if not measured.clean:
        raise ConfigError(
            f"the tree differs from commit {measured.commit[:12]}, so a result could not say which "
            "code it measured; commit first, or print without writing (--quick, --no-write)"
        )


def write_result(result: Result, directory: Path = RESULTS) -> Path:
    """Write `directory/NAME.json`; refuses figures of an unclean tree."""
    require_clean(result.measured)
    path = directory / f"{check_name(result.benchmark, what='benchmark')}.json"
    write_json(path, to_json(result))
    return path


def to_json(result: Result) -> dict[str, Any]:
    """The content of the file."""
    measured = result.measured
    return {
        "benchmark": result.benchmark, "date": result.date, "commit": measured.commit,
        "hardware": measured.hardware, "versions": dict(measured.versions),
        "rows": [{**asdict(row), "ratio": row.ratio} for row in result.rows],
        "claims": [asdict(claim) for claim in result.claims],
    }  # fmt: skip


def read_result(path: Path) -> Result:
    """The result in a file; DataError names what is missing, unknown or of the wrong shape."""
    content = read_json(path)
    try:
        if set(content) != {item.name for item in fields(Result)} - {"measured"} | {
            "commit", "hardware", "versions",
        }:  # fmt: skip
            raise ValueError(f"its keys are {sorted(content)}")
        rows = tuple(_row(values) for values in content["rows"])
        claims = tuple(Claim(**values) for values in content["claims"])
        measured = Measured(content["commit"], content["hardware"], content["versions"])
        return Result(content["benchmark"], content["date"], measured, rows, claims)
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(f"{path} is no result file: {error}; run its benchmark again") from error


def _row(values: Mapping[str, Any]) -> Row:
    known: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k != "ratio"
    }
    row = Row(**known)
    if row.ratio != values["ratio"]:
        raise ValueError(
            f"ratio {values['ratio']} of {row.case!r} does not follow from its figures"
        )
    if row.better not in ("higher", "lower") or not row.ours:
        raise ValueError(f"row {row.case!r} has no figure, or says not which way is better")
    return row


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _git(*arguments: str) -> str | None:
    done = subprocess.run(
        ["git", "-C", str(CHECKOUT), *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None
