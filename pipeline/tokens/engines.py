"""Who turns bytes into ids: tiktoken always, gigatoken where it is installed and proves itself.

    Tokenizer -> choose_engine(first documents) -> "gigatoken" -> load_engine in each worker
              -> a difference on any text       -> "tiktoken", and why the other was refused

tiktoken is the reference: ids are its ids whichever engine ran, so an engine is a matter of speed
and enters no fingerprint. gigatoken (MIT, optional) was measured 2.3 times faster from file to
shard.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import tiktoken

from pipeline.tokens.nasty import nasty_strings
from pipeline.tokens.patterns import PATTERNS, PatternName
from pipeline.tokens.tokenizer import RANKS_FILE, Tokenizer

EngineName = Literal["tiktoken", "gigatoken"]
Ids = npt.NDArray[np.uint32]
PROOF_BYTES = 1 << 18  # text of the first documents that both engines encode, about 20 ms
# tiktoken gives up on a piece of about a million characters and is then fed shorter texts
# (tokenizer.py); a stretch this long without a word's end goes to the reference itself.
LONGEST_STRETCH = 200_000
# gigatoken remembers the pieces it has seen, without a bound: 1.9 GB after a gigabyte of text.
RECYCLE_BYTES = 256 << 20
# Its names for our patterns; it knows none with a branch for Han.
_SCHEMES: dict[PatternName, str] = {"gpt2": "gpt2", "cl100k": "cl100k", "o200k": "o200k"}
_BLANKS = np.array([chr(c) in " \t\n\r" for c in range(256)])


class Engine(Protocol):
    """Ordinary ids of UTF-8 text, equal to tiktoken's."""

    name: str
    """Package and version, for the manifest."""

    def encode(self, text: bytes) -> Ids:
        """The ids of one document, never a special token."""


class Reference:
    """tiktoken."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Nothing is prepared."""
        self.name = f"tiktoken {tiktoken.__version__}"
        self._tokenizer = tokenizer

    def encode(self, text: bytes) -> Ids:
        """See Engine."""
        return self._tokenizer.encode_array(text.decode())


class Gigatoken:
    """gigatoken over the ranks file of a tokenizer artifact; loading it proves nothing yet.

    A text it fails on goes to tiktoken, so a failure found late costs time and nothing else.
    """

    def __init__(self, tokenizer: Tokenizer, path: Path, scheme: str) -> None:
        """Raises whatever the package raises when it cannot load the ranks."""
        import gigatoken  # optional

        # `special_tokens={}`: it would otherwise turn `<|endoftext|>` in a text into the special.
        self._load = functools.partial(
            gigatoken.Tokenizer.from_tiktoken,
            path / RANKS_FILE,
            pretokenizer=scheme,
            special_tokens={},
        )
        self.name = f"gigatoken {_version()}"
        self._reference = Reference(tokenizer)
        self._fast: Any = self._load()
        self._seen_bytes = 0
        self.failed: str | None = None
        """Its last failure, None so far."""

    def encode(self, text: bytes) -> Ids:
        """See Engine; a text tiktoken would be fed in pieces goes to tiktoken."""
        if len(text) > LONGEST_STRETCH and _longest_stretch(text) > LONGEST_STRETCH:
            return self._reference.encode(text)
        self._seen_bytes += len(text)
        if self._seen_bytes > RECYCLE_BYTES:
            self._fast, self._seen_bytes = self._load(), len(text)
        try:
            ids: Ids = self._fast.encode(text)
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # noqa: BLE001 - a panic in Rust derives from BaseException
            self.failed = f"{type(error).__name__}: {error}"
            self._fast = self._load()  # it may be broken now
            return self._reference.encode(text)
        return ids


class Choice(NamedTuple):
    """Which engine to use, and why a faster one that is installed was refused."""

    engine: EngineName
    refused: str | None = None


def choose_engine(tokenizer: Tokenizer, path: Path, documents: Iterable[bytes]) -> Choice:
    """The fastest engine that encodes the nasty strings and the first `documents` as tiktoken does.

    `path` is the tokenizer's artifact; PROOF_BYTES of the documents are looked at.
    """
    proved = _proved(tokenizer, path, [*nasty_strings(), *_first(documents)])
    return Choice("tiktoken" if proved.engine is None else "gigatoken", proved.refused)


@dataclass(frozen=True)
class LoadedEngine:
    """An engine in a worker, and why it is not the one that was asked for."""

    engine: Engine
    refused: str | None = None


def load_engine(tokenizer: Tokenizer, path: Path, name: EngineName) -> LoadedEngine:
    """The engine `name`; tiktoken where it is missing or fails on the nasty strings here."""
    if name == "gigatoken":
        proved = _proved(tokenizer, path, nasty_strings())
        if proved.engine is not None:
            return LoadedEngine(proved.engine)
        return LoadedEngine(Reference(tokenizer), proved.refused)
    return LoadedEngine(Reference(tokenizer))


class _Proved(NamedTuple):
    engine: Engine | None
    refused: str | None = None


def _proved(tokenizer: Tokenizer, path: Path, texts: Sequence[bytes]) -> _Proved:
    """gigatoken if it is installed, knows pattern and Unicode form, and agrees on every text."""
    schemes = {PATTERNS[name]: scheme for name, scheme in _SCHEMES.items()}
    if tokenizer.pattern not in schemes or tokenizer.normalizer is not None:
        return _Proved(None)
    try:
        fast = Gigatoken(tokenizer, path, schemes[tokenizer.pattern])
        difference = first_difference(fast, Reference(tokenizer), texts)
    except ModuleNotFoundError as error:
        if error.name == "gigatoken":
            return _Proved(None)
        return _Proved(None, _refusal(f"needs {error.name}, which is not installed"))
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # noqa: BLE001 - also where it cannot even load the ranks
        return _Proved(None, _refusal(f"fails: {type(error).__name__}: {error}"))
    if fast.failed is not None:
        return _Proved(None, _refusal(f"fails: {fast.failed}"))
    if difference is not None:
        return _Proved(None, _refusal(f"encodes {_shown(difference)} differently"))
    return _Proved(fast)


def first_difference(engine: Engine, reference: Engine, texts: Iterable[bytes]) -> bytes | None:
    """The first text the two encode differently."""
    return next(
        (t for t in texts if not np.array_equal(engine.encode(t), reference.encode(t))), None
    )


def _refusal(reason: str) -> str:
    return f"gigatoken {_version()} {reason}; tiktoken is used, with the same result but slower"


def _version() -> str:
    try:
        return metadata.version("gigatoken")
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _shown(text: bytes) -> str:
    shown = text.decode("utf-8", "replace")
    return repr(shown if len(shown) <= 60 else shown[:60] + "...")


def _first(documents: Iterable[bytes]) -> list[bytes]:
    taken: list[bytes] = []
    size = 0
    for text in documents:
        taken.append(text[: PROOF_BYTES * 4].decode("utf-8", "ignore").encode())
        size += len(taken[-1])
        if size >= PROOF_BYTES:
            break
    return taken


def _longest_stretch(text: bytes) -> int:
    """Bytes of the longest stretch that is only blank or only not blank."""
    blank = _BLANKS[np.frombuffer(text, np.uint8)]
    changes = np.flatnonzero(blank[1:] != blank[:-1])
    edges = np.concatenate([[-1], changes, [len(text) - 1]])
    return int(np.diff(edges).max())
