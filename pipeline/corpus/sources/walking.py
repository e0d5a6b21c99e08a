"""Local files below a directory or matching a glob: each real directory once, whatever links say.

A link that leads nowhere is listed like a file, so that reading it fails where it is counted.
"""

import glob
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path


def walk(directory: Path) -> Iterator[Path]:
    """Regular files and broken links below `directory`, sorted by path; hidden names are skipped.

    Links to directories are followed, but no directory is entered twice: loops end.
    """
    yield from sorted(_walk(directory, set()), key=lambda path: path.parts)


def matching(pattern: Path) -> Iterator[Path]:
    """Files that a glob matches, sorted; `**` stands for any number of directories."""
    base = fixed_part(pattern)
    relative = pattern.relative_to(base)
    if "**" not in relative.parts:
        found = (Path(match) for match in glob.glob(str(pattern)))
        yield from sorted(path for path in found if _is_file(path) and not _hidden(path, base))
        return
    parts = (*relative.parts, "*") if relative.parts[-1] == "**" else relative.parts
    wanted = re.compile("".join(map(_translated, parts)).removesuffix("/"), re.DOTALL)
    for path in walk(base):
        if wanted.fullmatch(path.relative_to(base).as_posix()):
            yield path


def fixed_part(pattern: Path) -> Path:
    """The directories of a glob before its first wildcard."""
    fixed: list[str] = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _walk(directory: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        status = os.stat(directory)
        entries = list(os.scandir(directory))
    except OSError:
        yield directory  # cannot be entered: reading it will say why
        return
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    # Real directories first: a link to one below must not take its name away.
    entries.sort(key=lambda entry: (entry.is_symlink(), entry.name))
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = directory / entry.name
        if _is_directory(path):
            yield from _walk(path, seen)
        elif _is_file(path):
            yield path


def _is_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except OSError:
        return False


def _is_file(path: Path) -> bool:
    """A regular file, or a link that leads nowhere; no pipes, sockets or devices."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return os.path.islink(path)


def _hidden(path: Path, base: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(base).parts)


def _translated(part: str) -> str:
    """One component of a glob as a regular expression, with the slash that follows it."""
    if part == "**":
        return "(?:[^/]+/)*"
    out = []
    for piece in re.findall(r"\*|\?|\[!?\]?[^\]]*\]|.", part, re.DOTALL):
        if piece == "*":
            out.append("[^/]*")
        elif piece == "?":
            out.append("[^/]")
        elif len(piece) > 1:
            body = piece[1:-1].replace("\\", r"\\")
            out.append(f"[^{body[1:]}]" if body.startswith("!") else f"[{body}]")
        else:
            out.append(re.escape(piece))
    return "".join(out) + "/"
