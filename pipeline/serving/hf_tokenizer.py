"""The tokenizer of a Hugging Face directory, with the interface of our own.

Read with the `tokenizers` library from `tokenizer.json`; text never turns into a special token.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tokenizers

from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.files import read_json
from pipeline.tokens.ranks import byte_alphabet
from pipeline.tokens.tokenizer import ASSISTANT, END, SYSTEM, USER

_ROLES = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT, "end": END}


@dataclass(frozen=True)
class HuggingFaceTokenizer:
    """A byte-level BPE read from `tokenizer.json`."""

    backend: tokenizers.Tokenizer
    specials: Mapping[str, int]
    """Special token text -> id."""
    roles: Mapping[str, int]
    """bos, eos, pad, system, user, assistant, end -> id."""

    @classmethod
    def load(cls, directory: Path) -> "HuggingFaceTokenizer":
        """Read the tokenizer; ArtifactError if it is missing or has no end-of-text token."""
        path = directory / "tokenizer.json"
        if not path.is_file():
            raise ArtifactError(f"{path} does not exist; save the tokenizer beside the model")
        backend = tokenizers.Tokenizer.from_file(str(path))
        backend.encode_special_tokens = True  # text from outside yields no special token
        added = backend.get_added_tokens_decoder()
        specials = {token.content: i for i, token in added.items() if token.special}
        return cls(backend, specials, _roles(directory, specials))

    @cached_property
    def vocab_size(self) -> int:
        """One more than the highest id."""
        return 1 + max(self.backend.get_vocab(with_added_tokens=True).values())

    @property
    def bos(self) -> int:
        """Opens a document, and in fine-tuning the answer."""
        return self.roles["bos"]

    @property
    def eos(self) -> int:
        """Ends a document and an answer."""
        return self.roles["eos"]

    @property
    def pad(self) -> int:
        """Fills rows."""
        return self.roles["pad"]

    @property
    def system(self) -> int:
        """Opens a system turn."""
        return self.roles["system"]

    @property
    def user(self) -> int:
        """Opens a user turn."""
        return self.roles["user"]

    @property
    def assistant(self) -> int:
        """Opens an assistant turn."""
        return self.roles["assistant"]

    @property
    def end(self) -> int:
        """Ends a turn."""
        return self.roles["end"]

    @property
    def mask(self) -> int:
        """Stands for a hidden token; ConfigError in a tokenizer without one."""
        if "mask" not in self.roles:
            raise ConfigError("this model's tokenizer has no mask token; ask an encoder")
        return self.roles["mask"]

    def encode(self, text: str) -> list[int]:
        """Ordinary ids of `text`; a lone surrogate counts as U+FFFD."""
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return list(self.backend.encode(whole, add_special_tokens=False).ids)

    def encode_array(self, text: str) -> npt.NDArray[np.uint32]:
        """Like `encode`, as an array."""
        return np.array(self.encode(text), np.uint32)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`, special tokens included as their text; broken UTF-8 becomes U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Bytes of `ids`."""
        return b"".join(map(self.token_bytes, ids))

    def token_bytes(self, token: int) -> bytes:
        """The bytes one id stands for; U+FFFD for an id the vocabulary does not use."""
        text = self.backend.id_to_token(int(token))
        if text is None:
            return "\N{REPLACEMENT CHARACTER}".encode()
        if text in self.specials:
            return text.encode()
        return bytes(self._bytes[character] for character in text)

    @cached_property
    def _bytes(self) -> Mapping[str, int]:
        return {character: byte for byte, character in byte_alphabet().items()}


def _roles(directory: Path, specials: Mapping[str, int]) -> dict[str, int]:
    """Ids of the roles, as our export wrote them, or from the tokens' usual names."""
    description = directory / "gristmill.json"
    if description.is_file():
        return {role: int(i) for role, i in read_json(description)["ids"].items()}
    path = directory / "tokenizer_config.json"
    config = read_json(path) if path.is_file() else {}
    named = {}
    for role in ("bos", "eos", "pad", "cls", "sep", "mask"):
        token = config.get(f"{role}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str) and token in specials:
            named[role] = specials[token]
    eos = named.get("eos", named.get("sep", specials.get("<|endoftext|>")))
    if eos is None:
        raise ArtifactError(f"{directory} names no eos_token; add it to tokenizer_config.json")
    bos = named.get("bos", named.get("cls", eos))
    roles = {"bos": bos, "eos": eos, "pad": named.get("pad", eos)}
    if "mask" in named:
        roles["mask"] = named["mask"]
    return roles | {role: specials.get(text, eos) for role, text in _ROLES.items()}
