"""Peers that are source, not packages: read from a folder outside the repository, hash checked.

PEERS/sources/nanoGPT          karpathy/nanoGPT
PEERS/sources/modded-nanogpt   KellerJordan/modded-nanogpt
PEERS/sources/char-rnn         karpathy/char-rnn, for its data/tinyshakespeare/input.txt
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.store.errors import ConfigError


@dataclass(frozen=True)
class Source:
    """One file that a benchmark depends on, and the commit it was read at."""

    repository: str
    commit: str
    file: str
    sha256: str


NANOGPT = Source(
    "karpathy/nanoGPT",
    "3adf61e154c3fe3fca428ad6bc3818b27a3b8291",
    "model.py",
    "7c01703240dbec5d554527dc666e35b3df8391d0b117fddc07afcf325a21d11c",
)
TRAIN_GPT_SIMPLE = Source(
    "KellerJordan/modded-nanogpt",
    "f411b3d346aa52d3504324ca93c230fd84c6c07f",
    "records/track_3_optimization/train_gpt_simple.py",
    "d39470e5b0535baf9c6caf7dbcd15efa79d8eacc9badf6e7c45b536e8537deec",
)
SHAKESPEARE = Source(
    "karpathy/char-rnn",
    "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e",
    "data/tinyshakespeare/input.txt",
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)


def source_folder(peers: Path, source: Source) -> Path:
    """The folder of a peer's source; ConfigError says how to get it, or that it differs."""
    name = source.repository.partition("/")[2]
    folder = peers.expanduser() / "sources" / name
    checked(folder / source.file, source, folder)
    return folder


def checked(file: Path, source: Source, folder: Path | None = None) -> Path:
    """`file`, if its content is the source's; ConfigError otherwise."""
    where = folder or file.parent
    if not file.is_file():
        raise ConfigError(
            f"{file} is missing; git clone https://github.com/{source.repository} {where} && git "
            f"-C {where} checkout {source.commit}, or name another folder"
        )
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != source.sha256:
        raise ConfigError(
            f"{file} has the sha256 {found[:12]}, {source.repository} at {source.commit[:12]} has "
            f"{source.sha256[:12]}; check that commit out"
        )
    return file
