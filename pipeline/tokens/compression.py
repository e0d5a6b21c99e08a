"""How well a tokenizer compresses text: bytes per token, tokens per Han character."""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.tokens.tokenizer import Tokenizer

# Blocks of Han in Unicode 16: the ideographs, their extensions and the compatibility forms.
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
HAN_CHARACTERS = 1_000_000  # so many are enough to say what one costs


@dataclass
class Measured:
    """How texts are compressed. A run of Han characters is encoded by itself to be counted."""

    bytes: int = 0
    tokens: int = 0
    han_characters: int = 0
    han_tokens: int = 0

    def add(self, tokenizer: Tokenizer, text: str) -> npt.NDArray[np.uint32]:
        """Count one text and return its ids."""
        ids = tokenizer.encode_array(text)
        self.bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        self.tokens += len(ids)
        if not text.isascii() and self.han_characters < HAN_CHARACTERS:
            for run in _HAN.findall(text):
                self.han_characters += len(run)
                self.han_tokens += len(tokenizer.encode_array(run))
        return ids

    def facts(self) -> dict[str, float | int]:
        """Bytes per token, and tokens per Han character where there is one."""
        facts: dict[str, float | int] = {
            "bytes_per_token": round(self.bytes / self.tokens, 4) if self.tokens else 0.0
        }
        if self.han_characters:
            facts["han_characters"] = self.han_characters
            facts["tokens_per_han_character"] = round(self.han_tokens / self.han_characters, 4)
        return facts
