"""When two texts count as the same: equal but for white space."""

import hashlib
from collections.abc import Iterable

CONTENT_KEY_BYTES = 16


def content_key(text: str) -> bytes:
    """128-bit hash of the text with every run of white space as one space."""
    normal = " ".join(text.split())
    return hashlib.blake2b(normal.encode("utf-8"), digest_size=CONTENT_KEY_BYTES).digest()


def content_keys(texts: Iterable[str]) -> list[bytes]:
    """The content key of each text."""
    return [content_key(text) for text in texts]
