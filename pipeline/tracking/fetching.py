"""The files of a registered version: found or downloaded, and refused when they were altered.

version's tag (digest of names and hashes)  ==  files in the export, or in root/downloads
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.artifacts import ExportedModel, seek_artifact
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.files import sha256_file
from pipeline.store.fingerprint import digest
from pipeline.tracking.versions import FILES_TAG, Version


def exported_files(exported: ExportedModel) -> dict[str, str]:
    """Name below `hf/` -> sha256, as the export's manifest has them."""
    files = exported.manifest.files.items()
    return {name.removeprefix("hf/"): f.sha256 for name, f in files if name.startswith("hf/")}


def files_digest(files: Mapping[str, str]) -> str:
    """One hash over names and hashes: what a version is tagged with."""
    return digest(dict(sorted(files.items())))


def check_files(hf: Path, version: Version) -> None:
    """ArtifactError unless the files in `hf` are those that were registered.

    A version of somebody else, or from before versions were tagged, has nothing to compare with.
    """
    expected = version.tags.get(FILES_TAG)
    if expected is None:
        return
    there = {
        path.relative_to(hf).as_posix(): sha256_file(path)
        for path in sorted(hf.rglob("*"))
        if path.is_file()
    }
    found = files_digest(there)
    if found != expected:
        raise ArtifactError(
            f"the files of {version.uri} in {hf} are not those that were registered (sha256 over "
            f"names and hashes: expected {expected}, found {found}); delete {hf.parent} and bring "
            "it back with `mill store sync`, or use another version"
        )


def local_export(root: Path, version: Version) -> ExportedModel | None:
    """The export a version was made from, where it is still under the root."""
    found = seek_artifact(root, f"export@{version.fingerprint or '-'}")
    return found if isinstance(found, ExportedModel) else None


def no_alias(name: str, alias: str, uri: str, others: Mapping[str, int]) -> ConfigError:
    """What to tell about an alias that is not there: those that are."""
    there = ", ".join(f"{alias} (version {n})" for alias, n in sorted(others.items()))
    known = f"; it has {there}" if there else "; no model of that name has an alias there"
    return ConfigError(f"{name} has no alias {alias} at {uri}{known}")


@contextmanager
def scratch_directory(root: Path) -> Iterator[Path]:
    """An empty directory under the root, where there is room for a model; gone afterwards.

    What a killed process left is removed first: the registry's lock makes us the only user.
    """
    directory = root / "scratch"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
