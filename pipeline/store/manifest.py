"""The manifest: what an artifact is, what it was made from, and the hash of every byte in it.

    directory/          file, file, ...
    directory/manifest.json     written last with os.replace: a directory without it is unfinished

It holds no absolute path, so a tree of artifacts can be moved.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.store.errors import ArtifactError
from pipeline.store.files import (
    read_json,
    sha256_block,
    sha256_file,
    stays_below,
    write_json,
)
from pipeline.store.fingerprint import short

MANIFEST = "manifest.json"
BLOCK_BYTES = 16 << 20
FULL_VERIFY_BYTES = 2 << 30  # above this, `auto` verifies sizes and random blocks only
SAMPLED_BLOCKS = 8
DEEPEST_PARTS = 4  # artifacts have parts, parts have none
VerifyMode = Literal["auto", "full", "sampled", "sizes"]


@dataclass(frozen=True)
class FileFacts:
    """Size and hashes of one file; `blocks` are sha256 per 16 MiB, kept for larger files only."""

    bytes: int
    sha256: str
    blocks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """Everything known about a finished artifact."""

    stage: str
    stage_version: int
    fingerprint: str
    inputs: tuple[str, ...]
    config: Any
    facts: Mapping[str, Any]
    files: Mapping[str, FileFacts]
    parts: tuple[str, ...] = ()
    """Directories relative to the root, in order: `parts/tokenize/3fa9...`."""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        """`stage@fingerprint`, the short form people read."""
        return f"{self.stage}@{short(self.fingerprint)}"


def file_facts(path: Path) -> FileFacts:
    """Hash one file, with block hashes when it is larger than a block."""
    size = path.stat().st_size
    blocks: tuple[str, ...] = ()
    if size > BLOCK_BYTES:
        starts = range(0, size, BLOCK_BYTES)
        blocks = tuple(sha256_block(path, start, BLOCK_BYTES) for start in starts)
    return FileFacts(bytes=size, sha256=sha256_file(path), blocks=blocks)


def artifact_files(directory: Path) -> list[Path]:
    """Every file that belongs to the artifact, sorted; the manifest and temporaries do not."""
    return sorted(
        path
        for path in directory.rglob("*")
        if path.is_file() and path != directory / MANIFEST and ".tmp-" not in path.name
    )


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Put the manifest in place, which is what makes the artifact exist."""
    document = {
        "stage": manifest.stage,
        "stage_version": manifest.stage_version,
        "fingerprint": manifest.fingerprint,
        "inputs": list(manifest.inputs),
        "config": manifest.config,
        "facts": dict(manifest.facts),
        "files": {
            name: {
                "bytes": f.bytes,
                "sha256": f.sha256,
                **({"blocks": list(f.blocks)} if f.blocks else {}),
            }
            for name, f in manifest.files.items()
        },
        "parts": list(manifest.parts),
        "provenance": dict(manifest.provenance),
    }
    write_json(directory / MANIFEST, document)


def read_manifest(directory: Path) -> Manifest:
    """Read a finished artifact's manifest; ArtifactError if it is missing or malformed."""
    document = read_json(directory / MANIFEST)
    try:
        manifest = Manifest(
            stage=document["stage"],
            stage_version=document["stage_version"],
            fingerprint=document["fingerprint"],
            inputs=tuple(document["inputs"]),
            config=document["config"],
            facts=document["facts"],
            files={
                name: FileFacts(f["bytes"], f["sha256"], tuple(f.get("blocks", ())))
                for name, f in document["files"].items()
            },
            parts=tuple(document["parts"]),
            provenance=document["provenance"],
        )
        _refuse_ways_out(directory, manifest)
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{directory / MANIFEST} lacks {error}; delete {directory} and rerun to rebuild it"
        ) from error
    return manifest


def _refuse_ways_out(directory: Path, manifest: Manifest) -> None:
    """Whoever wrote the manifest may not lead us to files elsewhere by `../x` or `/etc/x`."""
    names = [*manifest.files, *manifest.parts]
    words = [manifest.stage, manifest.fingerprint, *manifest.inputs]
    bad = [name for name in names if not stays_below(name)]
    bad += [word for word in words if "/" in word or not stays_below(word)]
    if bad:
        raise ArtifactError(
            f"{directory / MANIFEST} names {bad[0]!r}, which is no name below it; somebody else "
            f"wrote it: delete {directory}"
        )


def is_finished(directory: Path) -> bool:
    """Whether the directory holds a finished artifact."""
    return (directory / MANIFEST).is_file()


def verify(
    directory: Path, *, mode: VerifyMode = "full", parts_root: Path | None = None, depth: int = 0
) -> Manifest:
    """Check every file, and with `parts_root` every part, against the stored hashes.

    `auto` is `full` up to 2 GiB per artifact and `sampled` above. Raises ArtifactError naming the
    file, the expected and the found hash.
    """
    manifest = read_manifest(directory)
    total = sum(facts.bytes for facts in manifest.files.values())
    sampled = mode == "sampled" or (mode == "auto" and total > FULL_VERIFY_BYTES)
    for name, facts in manifest.files.items():
        _check_size(directory, name, facts)
    if mode == "sizes":  # plans only: nothing is read
        pass
    elif sampled:
        _verify_blocks(directory, manifest.files)
    else:
        for name, facts in manifest.files.items():
            _check_hash(directory, name, facts.sha256, sha256_file(directory / name))
    if parts_root is not None:
        for part in manifest.parts:
            if not is_finished(parts_root / part):
                raise ArtifactError(
                    f"{directory} lacks its part {parts_root / part}; delete {directory} and run "
                    "again to rebuild both"
                )
            if depth > DEEPEST_PARTS:
                raise ArtifactError(f"{directory} is a part of itself; delete it and run again")
            verify(parts_root / part, mode=mode, parts_root=parts_root, depth=depth + 1)
    return manifest


def _check_size(directory: Path, name: str, facts: FileFacts) -> None:
    path = directory / name
    found = path.stat().st_size if path.is_file() else None
    if found is not None and not path.resolve().is_relative_to(directory.resolve()):
        raise ArtifactError(
            f"{path} is a link to {path.resolve()}, outside the artifact; put the file itself there"
        )
    if found != facts.bytes:
        state = "is missing" if found is None else f"has {found} bytes"
        raise ArtifactError(
            f"{path} {state}, its manifest says {facts.bytes}; "
            f"delete {directory} and rerun to rebuild it"
        )


def _check_hash(directory: Path, name: str, expected: str, found: str) -> None:
    if expected != found:
        raise ArtifactError(
            f"{directory / name} is damaged: sha256 expected {expected}, found {found}; "
            f"delete {directory} and rerun to rebuild it"
        )


def _verify_blocks(directory: Path, files: Mapping[str, FileFacts]) -> None:
    """Small files whole; of the large ones, up to SAMPLED_BLOCKS blocks drawn anew each time."""
    blocks: list[tuple[str, int, str]] = []
    for name, facts in files.items():
        if facts.blocks:
            blocks += [(name, i, block) for i, block in enumerate(facts.blocks)]
        else:
            _check_hash(directory, name, facts.sha256, sha256_file(directory / name))
    chosen: Sequence[tuple[str, int, str]] = blocks
    if len(blocks) > SAMPLED_BLOCKS:
        chosen = random.SystemRandom().sample(blocks, SAMPLED_BLOCKS)
    for name, i, expected in chosen:
        found = sha256_block(directory / name, i * BLOCK_BYTES, BLOCK_BYTES)
        _check_hash(directory, name, expected, found)
