"""What `mill doctor` looks at: versions, machine, stores, servers. Nothing is changed.

Each check returns findings: `ok`, `note` (works, could be better) or `problem` with its remedy.
"""

import fcntl
import importlib.metadata
import importlib.util
import os
import resource
import shutil
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

import httpx
import psutil
from packaging.requirements import Requirement

from flows.environment import prefect_api_url
from flows.server import port_is_free
from pipeline.artifacts import finished_artifacts
from pipeline.store.errors import MillError
from pipeline.store.secrets import redacted

PYTHON = ((3, 11), (3, 13))  # what CI and the lock file know
DISK_SHARE, DISK_BYTES = 0.10, 2 << 30
MEMORY_BYTES = 4 << 30  # the demo's peak is below 3 GB
OPEN_FILES = 1024
CLOCK_SECONDS = 60.0
HTTP_SECONDS = 3.0
PORTS = {4200: "Prefect", 5000: "MLflow", 8000: "mill serve"}
TRACKING_SCHEMES = ("http://", "https://", "sqlite:", "postgresql", "mysql", "mssql")
OPTIONAL = {
    "gigatoken": "a faster tokenizer engine, proven equal at start; without it tiktoken encodes",
    "distributed": "runtime.executor: dask; without it workers run on this machine",
    "s3fs": "sources at s3://",
    "gcsfs": "sources at gs://",
}
Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    level: Level
    what: str
    found: str
    remedy: str = ""


def examine(root: Path, *, tracking_uri: str | None = None) -> Iterator[Finding]:
    """All findings about this machine, this installation and `root`, cheapest first.

    A check that fails itself becomes a problem: the doctor never dies of what he came to find.
    """
    checks: list[Callable[[], Iterator[Finding]]] = [
        python_version,
        packages,
        memory,
        open_files,
        lambda: disk(root),
        lambda: writable(root),
        lambda: databases(root),
        lambda: clock(root),
        ports,
        lambda: servers(tracking_uri),
        devices,
        lambda: artifacts(root),
    ]
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs into the report
            yield Finding("problem", "check", f"{type(error).__name__}: {error}", "report this")


def python_version() -> Iterator[Finding]:
    """The interpreter's version and place."""
    found = f"{sys.version.split()[0]} at {sys.prefix}"
    first, last = (".".join(map(str, version)) for version in PYTHON)
    if sys.version_info[:2] < PYTHON[0]:
        yield Finding("problem", "Python", found, f"install Python {first} or newer")
    elif sys.version_info[:2] > PYTHON[1]:
        yield Finding("note", "Python", found, f"tested with {first} to {last}")
    else:
        yield Finding("ok", "Python", found)


def packages() -> Iterator[Finding]:
    """Every requirement of this project against what is installed."""
    wrong, shown = [], []
    for line in importlib.metadata.requires("gristmill") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version}, wanted {requirement.specifier}")
        if requirement.name in ("prefect", "torch", "mlflow", "datasets", "tiktoken", "pyarrow"):
            shown.append(f"{requirement.name} {version}")
    if wrong:
        yield Finding("problem", "packages", "; ".join(wrong), "make setup")
    else:
        yield Finding("ok", "packages", ", ".join(shown))
    for name, use in OPTIONAL.items():
        if importlib.util.find_spec(name) is None:
            yield Finding("note", name, "not installed", f"pip install {name}: {use}")


def memory() -> Iterator[Finding]:
    """Main memory that is free now."""
    state = psutil.virtual_memory()
    found = f"{state.available / 1e9:.1f} of {state.total / 1e9:.1f} GB free"
    if state.available < MEMORY_BYTES:
        yield Finding("note", "memory", found, "close programs, or lower runtime.workers")
    else:
        yield Finding("ok", "memory", found)


def open_files() -> Iterator[Finding]:
    """The limit on open files: one memory map per shard."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < OPEN_FILES:
        yield Finding("note", "open files", f"limit {limit}", f"ulimit -n {OPEN_FILES}")
    else:
        yield Finding("ok", "open files", f"limit {limit}")


def disk(root: Path) -> Iterator[Finding]:
    """Free space where the root is, or would be."""
    usage = shutil.disk_usage(_existing(root))
    share = usage.free / max(usage.total, 1)  # /proc and the like have no size at all
    found = f"{usage.free / 1e9:.1f} GB free ({share:.0%})"
    if usage.free < DISK_BYTES:
        yield Finding("problem", "disk", found, "mill store gc, or another root")
    elif share < DISK_SHARE:
        yield Finding("note", "disk", found, "mill store gc removes what no model needs")
    else:
        yield Finding("ok", "disk", found)


def writable(root: Path) -> Iterator[Finding]:
    """Whether the root can be written, and whether locks work there."""
    place = _existing(root)
    if (in_the_way := _not_a_directory(root)) is not None:
        found = f"{in_the_way} is a file, so {root} cannot be a directory"
        yield Finding("problem", "root", found, "choose another --root")
        return
    if not os.access(place, os.W_OK | os.X_OK):
        yield Finding("problem", "root", f"{place} cannot be written", "choose another --root")
        return
    probe = place / f".probe-{os.getpid()}"
    try:
        with open(probe, "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fsync(handle.fileno())
    except OSError as error:
        remedy = "choose a root on a file system with locks (local, or NFS 4)"
        yield Finding("problem", "root", f"{place}: {error}", remedy)
    else:
        state = "" if root.is_dir() else " (will be made)"
        yield Finding("ok", "root", f"{root}{state}, writable, locks work")
    finally:
        probe.unlink(missing_ok=True)


def databases(root: Path) -> Iterator[Finding]:
    """MLflow's and Prefect's SQLite files, read only."""
    remedies = {
        root / "mlflow.db": "move it away; mill store sync rebuilds it from the journals",
        root / "prefect" / "prefect.db": "move it away; run history is lost, artifacts are not",
    }
    for path, remedy in remedies.items():
        if not path.is_file():
            continue
        name = path.relative_to(root).as_posix()
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=HTTP_SECONDS) as base:
                answer = base.execute("pragma quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            answer = str(error)
        answer = " ".join(str(answer).split())
        if answer == "ok":
            yield Finding("ok", name, f"{path.stat().st_size / 1e6:.1f} MB, whole")
        else:
            yield Finding("problem", name, answer, remedy)


def clock(root: Path) -> Iterator[Finding]:
    """A clock that was set back: things under the root are from the future."""
    times = [p.stat().st_mtime for p in root.glob("*/*/manifest.json")]
    times += [p.stat().st_mtime for p in root.glob("journal/*/run.json")]
    ahead = max(times, default=0.0) - time.time()
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if ahead > CLOCK_SECONDS:
        found = f"{now}, but something under the root is {ahead / 60:.0f} minutes newer"
        yield Finding("problem", "clock", found, "set the clock (for example with chrony)")
    else:
        yield Finding("ok", "clock", now)


def ports() -> Iterator[Finding]:
    """The ports that `mill dev` and `mill serve` take unless told otherwise."""
    taken = [f"{port} ({name})" for port, name in PORTS.items() if not port_is_free(port)]
    if taken:
        remedy = "fine if that is a running mill; else give --prefect-port, --mlflow-port, --port"
        yield Finding("note", "ports", f"taken: {', '.join(taken)}", remedy)
    else:
        yield Finding("ok", "ports", f"{', '.join(map(str, PORTS))} are free")


def servers(tracking_uri: str | None) -> Iterator[Finding]:
    """The configured Prefect and MLflow servers: whether they answer, and what time they have."""
    api = prefect_api_url()
    if api is None:
        yield Finding("ok", "Prefect server", "none configured; mill run starts its own")
    else:
        yield from _answer("Prefect server", f"{api.rstrip('/')}/health", "PREFECT_API_URL")
    if tracking_uri is None:
        return
    if not tracking_uri.startswith(TRACKING_SCHEMES):
        found = f"{redacted(tracking_uri)} is no address that MLflow knows"
        remedy = f"one that starts with {', '.join(TRACKING_SCHEMES)}"
        yield Finding("problem", "MLflow server", found, remedy)
    elif tracking_uri.startswith("http"):
        yield from _answer("MLflow server", f"{tracking_uri.rstrip('/')}/health", "tracking.uri")


def devices() -> Iterator[Finding]:
    """What torch can train on."""
    import torch  # heavy, so late

    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            name = torch.cuda.get_device_name(number)
            found = f"{name}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free"
            yield Finding("ok", f"GPU {number}", found)
    elif shutil.which("nvidia-smi") is not None:
        found = f"a driver is here, but torch {torch.__version__} sees no GPU"
        yield Finding("problem", "GPU", found, "install a torch build with CUDA for this driver")
    else:
        yield Finding("ok", "GPU", "none; training runs on the CPU")
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    dtype = "bfloat16" if native else "float32 (no native bfloat16)"
    yield Finding(
        "ok", "CPU", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {dtype}"
    )


def artifacts(root: Path) -> Iterator[Finding]:
    """What the root holds; hashes are `mill store verify`'s work."""
    try:
        found = finished_artifacts(root) if root.is_dir() else []
    except MillError as error:
        yield Finding("problem", "artifacts", str(error), "mill store verify names all of them")
        return
    yield Finding("ok", "artifacts", f"{len(found)} finished; mill store verify checks every byte")


def _answer(what: str, address: str, setting: str) -> Iterator[Finding]:
    try:
        reply = httpx.get(address, timeout=HTTP_SECONDS, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        host = socket.gethostname()
        found = f"{address} does not answer from {host}: {error or type(error).__name__}"
        yield Finding("problem", what, found, f"start it, or correct {setting}")
        return
    if reply.status_code != httpx.codes.OK:
        yield Finding("problem", what, f"{address} answers {reply.status_code}", "look at its log")
        return
    skew = 0.0
    if "date" in reply.headers:
        skew = time.time() - parsedate_to_datetime(reply.headers["date"]).timestamp()
    if abs(skew) > CLOCK_SECONDS:
        found = f"{address} answers; its clock and ours are {abs(skew):.0f} s apart"
        yield Finding("problem", what, found, "set both clocks by NTP: schedules depend on them")
    else:
        yield Finding("ok", what, f"{address} answers")


def _not_a_directory(path: Path) -> Path | None:
    """The nearest thing on the way to `path` that exists and is no directory."""
    found = next((place for place in (path, *path.parents) if place.exists()), None)
    return found if found is not None and not found.is_dir() else None


def _existing(path: Path) -> Path:
    while not path.is_dir():
        path = path.parent
    return path
