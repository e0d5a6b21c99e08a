"""Published encodings (gpt2, r50k, cl100k, o200k) from files the user already has; none is shipped.

A file is taken only if its content is the published one, by sha256; it is copied, never changed or
deleted, and the network is never used (tiktoken's own loader deletes a file it does not know and
downloads). r50k is also recovered from p50k (its first 50,256 lines) and from GPT-2's `vocab.bpe`.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.store.errors import ConfigError, DataError
from pipeline.store.files import sha256_bytes, sha256_file, write_bytes
from pipeline.tokens.merges import NUM_BYTES, Ranks, format_ranks
from pipeline.tokens.patterns import PatternName

PublishedName = Literal["gpt2", "r50k_base", "cl100k_base", "o200k_base"]
END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Publication:
    """A published encoding: the sha256 of its ranks as a `.tiktoken` file, pattern and specials."""

    ranks_name: str
    sha256: str
    pattern: PatternName
    specials: dict[str, int]


_R50K_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
_R50K = Publication("r50k_base", _R50K_SHA256, "gpt2", {END_OF_TEXT: 50256})
# Hashes and ids from tiktoken_ext/openai_public.py of tiktoken 0.14.
PUBLICATIONS: dict[PublishedName, Publication] = {
    "gpt2": _R50K,  # the same ranks and pattern under two names
    "r50k_base": _R50K,
    "cl100k_base": Publication(
        "cl100k_base",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        "cl100k",
        {
            END_OF_TEXT: 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": Publication(
        "o200k_base",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        "o200k",
        {END_OF_TEXT: 199999, "<|endofprompt|>": 200018},
    ),
}
# Names in tiktoken's cache: the sha1 of the address a file was downloaded from.
CACHE_NAMES = {
    "r50k_base": "0ea1e91bbb3a60f729a8dc8f777fd2fc07cd8df4",
    "p50k_base": "ec7223a39ce59f226a68acc30dc1af2788490e15",
    "vocab.bpe": "6d1cbeee0f20b3d9449abfede4726ed8212e3aee",
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
}
_P50K_SHA256 = "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"
_VOCAB_BPE_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
_R50K_LINES = 50_256
MAX_RANKS_BYTES = 64 << 20  # the largest published one has 3.6 MB; a larger file is not even read


@dataclass(frozen=True)
class ImportedRanks:
    """Ranks that were recognised in a file and copied."""

    name: str
    sha256: str
    path: Path

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.name} (sha256 {self.sha256[:12]}...) to {self.path}"


def tiktoken_cache() -> Path:
    """Where tiktoken keeps downloads unless told otherwise."""
    return Path(tempfile.gettempdir()) / "data-gym-cache"


def find_ranks(name: PublishedName, places: Sequence[Path]) -> bytes:
    """The `.tiktoken` bytes of a published encoding from the first of `places` that holds them.

    A place is a file or a folder with files under tiktoken's cache names or as NAME.tiktoken.
    ConfigError names the file, its sha256 and the setting when none does.
    """
    publication = PUBLICATIONS[name]
    wrong: list[str] = []
    for path in _candidates(publication.ranks_name, places):
        recognised = recognise(path)
        if recognised is not None and recognised[0] == publication.ranks_name:
            return recognised[1]
        wrong.append(f"{path} has sha256 {sha256_file(path)}")
    seen = f" ({'; '.join(wrong)})" if wrong else ""
    raise ConfigError(
        f"tokenizer.name={name} needs {publication.ranks_name}.tiktoken with sha256 "
        f"{publication.sha256}; looked in {', '.join(map(str, places))}{seen}; nothing is "
        f"downloaded: set tokenizer.file to it, or to a tiktoken cache folder holding it as "
        f"{CACHE_NAMES[publication.ranks_name]}, or run `mill tokenizer import FILE ROOT/ranks`"
    )


def import_ranks(file: Path, into: Path) -> list[ImportedRanks]:
    """Copy every published ranks file found in `file` (a file or a folder) to `into`/NAME.tiktoken.

    The original is left alone. DataError when nothing in it is recognised by its sha256.
    """
    if not file.exists():
        raise DataError(f"{file} does not exist; give a .tiktoken file or tiktoken's cache folder")
    paths = sorted(p for p in file.iterdir() if p.is_file()) if file.is_dir() else [file]
    imported: dict[str, ImportedRanks] = {}
    for path in paths:
        recognised = recognise(path)
        if recognised is not None and recognised[0] not in imported:
            name, data = recognised
            target = into / f"{name}.tiktoken"
            write_bytes(target, data)
            imported[name] = ImportedRanks(name, sha256_bytes(data), target)
    if not imported:
        known = ", ".join(sorted({f"{p.ranks_name} {p.sha256}" for p in PUBLICATIONS.values()}))
        raise DataError(f"{file} holds no published ranks; known sha256: {known}")
    return list(imported.values())


def recognise(path: Path) -> tuple[str, bytes] | None:
    """Name and `.tiktoken` bytes of the published ranks in a file, or None if it holds none."""
    if path.stat().st_size > MAX_RANKS_BYTES:
        return None
    data = path.read_bytes()
    digest = sha256_bytes(data)
    for publication in PUBLICATIONS.values():
        if digest == publication.sha256:
            return publication.ranks_name, data
    recover = _RECOVERIES.get(digest)
    if recover is None:
        return None
    recovered = recover(data)
    return ("r50k_base", recovered) if sha256_bytes(recovered) == _R50K_SHA256 else None


def _candidates(ranks_name: str, places: Sequence[Path]) -> Iterator[Path]:
    names = [ranks_name, "p50k_base", "vocab.bpe"] if ranks_name == "r50k_base" else [ranks_name]
    for place in places:
        if place.is_file():
            yield place
        for name in names:
            for file_name in (CACHE_NAMES[name], name, f"{name}.tiktoken"):
                if (place / file_name).is_file():
                    yield place / file_name


def _first_lines(data: bytes) -> bytes:
    return b"".join(data.splitlines(keepends=True)[:_R50K_LINES])


def _from_merges(data: bytes) -> bytes:
    """GPT-2's list of merges, spelt in its printable alphabet, as ranks."""
    alphabet = byte_alphabet()
    byte_of = {character: byte for byte, character in alphabet.items()}
    printable = sorted(
        alphabet, key=lambda byte: (ord(alphabet[byte]) >= NUM_BYTES, ord(alphabet[byte]))
    )
    ranks: Ranks = {bytes([byte]): i for i, byte in enumerate(printable)}
    for line in data.decode().split("\n")[1:-1]:
        token = bytes(byte_of[character] for character in line if character != " ")
        ranks[token] = len(ranks)
    return format_ranks(ranks)


_RECOVERIES: dict[str, Callable[[bytes], bytes]] = {
    _P50K_SHA256: _first_lines,
    _VOCAB_BPE_SHA256: _from_merges,
}


def byte_alphabet() -> dict[int, str]:
    """GPT-2's printable character for each byte (`bytes_to_unicode` of its encoder.py)."""
    shown = [b for b in range(NUM_BYTES) if chr(b).isprintable() and chr(b) != " "]
    hidden = [b for b in range(NUM_BYTES) if b not in shown]
    return {b: chr(b) for b in shown} | {b: chr(NUM_BYTES + i) for i, b in enumerate(hidden)}
