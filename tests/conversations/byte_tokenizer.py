"""A tokenizer simple enough to check by hand: an id is a byte, special tokens follow."""

from collections.abc import Iterable


class ByteTokenizer:
    """bos 256, eos 257, pad 258, user 259, assistant 260, end 261, system 262."""

    bos, eos, pad, user, assistant, end, system = range(256, 263)
    vocab_size = 263
    sha256 = "bytes"

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Iterable[int]) -> str:
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        return bytes([token]) if token < 256 else b"<special>"


class OneSeparatorTokenizer(ByteTokenizer):
    """As published GPT-2: one id opens and ends."""

    bos = eos = pad = 256


class WordTokenizer(ByteTokenizer):
    """The worked example of the source texts: a word is its number."""

    bos, eos = 1, 6

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(map(str, ids))
