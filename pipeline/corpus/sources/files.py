"""From what a person writes (files, directories, globs) to named input files.

A file's name is its path below the place where the search began: the directory, or the part of the
glob before its first wildcard. So a corpus that moves as a whole keeps its names.
"""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.corpus.sources.unit import InputFile
from pipeline.store.errors import DataError

COMPRESSIONS = (".gz", ".zst")


def find_files(
    paths: Sequence[str], *, suffixes: Sequence[str], source: str, compressed: bool = True
) -> list[InputFile]:
    """Every file that `paths` name, each once, in the order given and sorted below directories.

    Directories are searched recursively for `suffixes` (hidden names are skipped); a file named
    in full, or matched by a glob, is taken whatever its suffix. DataError if anything is missing.
    """
    wanted = (
        (*suffixes, *(s + c for s in suffixes for c in COMPRESSIONS))
        if compressed
        else tuple(suffixes)
    )
    if not paths:
        raise DataError(
            f"source {source!r} has no paths; give at least one file, directory or glob"
        )
    found: dict[str, InputFile] = {}
    for text in paths:
        for base, path in _expand(text, wanted, source=source):
            key = str(path.resolve())
            name = os.fsencode(path.relative_to(base).as_posix()).decode("utf-8", "replace")
            found.setdefault(key, InputFile(str(path), name))
    return _distinct(list(found.values()))


def stem(name: str) -> str:
    """`a/b.jsonl.gz` -> `a/b`: the name without its suffix and compression."""
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    head, slash, tail = name.rpartition("/")
    base, dot, _ = tail.rpartition(".")
    return head + slash + (base if dot and base else tail)


def _expand(text: str, wanted: tuple[str, ...], *, source: str) -> list[tuple[Path, Path]]:
    """(base, file) pairs for one entry of `paths`."""
    path = Path(text).expanduser()
    if path.is_file():
        return [(path.parent, path)]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.name.endswith(wanted) and p.is_file())
        files = [p for p in files if not _hidden(p.relative_to(path))]
        if not files:
            raise DataError(
                f"source {source!r}: {text} holds no file ending in {', '.join(wanted)}; "
                "name the files or use another kind of source"
            )
        return [(path, p) for p in files]
    if glob.has_magic(text):
        matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
        base = _base_of_glob(path)
        files = [p for p in matches if p.is_file() and not _hidden(p.relative_to(base))]
        if not files:
            raise DataError(f"source {source!r}: no file matches {text!r} (seen from {Path.cwd()})")
        return [(base, p) for p in files]
    raise DataError(
        f"source {source!r}: {text} does not exist (seen from {Path.cwd()}); check the path"
    )


def _base_of_glob(path: Path) -> Path:
    fixed: list[str] = []
    for part in path.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _distinct(files: list[InputFile]) -> list[InputFile]:
    """Names with distinct stems, which ids are made of: the second `x` becomes `2~x.txt`."""
    seen: dict[str, int] = {}
    distinct: list[InputFile] = []
    for file in files:
        key = stem(file.name)
        seen[key] = seen.get(key, 0) + 1
        head, slash, tail = file.name.rpartition("/")
        name = file.name if seen[key] == 1 else f"{head}{slash}{seen[key]}~{tail}"
        distinct.append(InputFile(file.path, name))
    return distinct
