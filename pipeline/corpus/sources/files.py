"""From what a person writes (files, directories, globs, URLs) to named input files.

A file's name is its path below the place where the search began: the directory, or the part of the
glob before its first wildcard. So a corpus that moves as a whole keeps its names.
"""

import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.corpus.sources.inputs import COMPRESSIONS, InputFile, has_suffix, stem
from pipeline.corpus.sources.remote import find_remote
from pipeline.corpus.sources.walking import fixed_part, matching, walk
from pipeline.store.errors import DataError

NAME_BEGINS = "/./"


def find_files(
    paths: Sequence[str],
    *,
    suffixes: Sequence[str],
    source: str,
    compressed: bool = True,
    options: Mapping[str, Any] | None = None,
) -> list[InputFile]:
    """Every file that `paths` name, each once, in the order given and sorted below directories.

    Directories are searched recursively for `suffixes` (hidden names are skipped); a file named
    in full, or matched by a glob, is taken whatever its suffix; its name is what follows `/./`, if
    that is in its path (as rsync has it). DataError if anything is missing.
    """
    wanted = tuple(suffixes)
    if compressed:
        wanted += tuple(suffix + packed for suffix in suffixes for packed in COMPRESSIONS)
    if not paths or not all(text.strip() for text in paths):
        what = "an empty path" if paths else "no paths"
        raise DataError(f"source {source!r} has {what}; give at least one file, directory or glob")
    found: dict[str, InputFile] = {}
    for text in paths:
        text = text.removeprefix("file://")
        if "://" in text:
            for remote in find_remote(text, wanted, source=source, options=options or {}):
                file = InputFile(
                    remote.url, remote.name, remote.checksum, remote.num_bytes,
                    options=options or {},
                )  # fmt: skip
                found.setdefault(remote.url, file)
            continue
        for base, path in _expand(text, wanted, source=source):
            name = os.fsencode(path.relative_to(base).as_posix()).decode("utf-8", "replace")
            found.setdefault(os.path.realpath(path), InputFile(str(path), name))
    return _distinct(list(found.values()))


def _expand(text: str, wanted: tuple[str, ...], *, source: str) -> list[tuple[Path, Path]]:
    """(base, file) pairs for one entry of `paths`."""
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise DataError(f"source {source!r}: {text}: {error}; write the whole path") from error
    if os.path.isfile(path):
        before, marker, _ = text.rpartition(NAME_BEGINS)
        return [(Path(before).expanduser() if marker else path.parent, path)]
    if os.path.isdir(path):
        # A directory that cannot be entered is listed too: that it is unreadable must be counted.
        files = [p for p in walk(path) if has_suffix(p.name, wanted) or os.path.isdir(p)]
        if not files:
            raise DataError(
                f"source {source!r}: {text} holds no file ending in {', '.join(wanted)}; "
                "name the files or use another kind of source"
            )
        return [(path if path != p else path.parent, p) for p in files]
    if glob.has_magic(text):
        files = list(matching(path))
        if not files:
            raise DataError(f"source {source!r}: no file matches {text!r} (seen from {Path.cwd()})")
        return [(fixed_part(path), p) for p in files]
    if os.path.lexists(path):
        raise DataError(
            f"source {source!r}: {text} is no regular file (a pipe, a device or a link that leads "
            "nowhere); name files that can be read twice"
        )
    raise DataError(
        f"source {source!r}: {text} does not exist (seen from {Path.cwd()}); check the path"
    )


def _distinct(files: list[InputFile]) -> list[InputFile]:
    """Names with distinct stems, which ids are made of: the second `x` becomes `2~x.txt`."""
    taken: set[str] = set()
    distinct: list[InputFile] = []
    for file in files:
        name, copies = file.name, 1
        head, slash, tail = file.name.rpartition("/")
        while stem(name) in taken:
            copies += 1
            name = f"{head}{slash}{copies}~{tail}"
        taken.add(stem(name))
        distinct.append(file if name == file.name else _renamed(file, name))
    return distinct


def _renamed(file: InputFile, name: str) -> InputFile:
    return InputFile(file.path, name, file.identity, file.num_bytes, options=file.options)
