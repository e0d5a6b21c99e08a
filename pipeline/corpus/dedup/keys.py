"""When two texts count as the same: equal but for white space. And two addresses."""

import hashlib
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt

from pipeline.corpus.dedup.kernels import squeeze_spaces

CONTENT_KEY_BYTES = 16
_TRACKING = ("utm_", "fbclid", "gclid", "mc_cid", "mc_eid", "ref_src", "igshid", "yclid", "msclkid")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def content_key(text: str) -> bytes:
    """128-bit hash of the text with every run of white space as one space."""
    normal = " ".join(text.split())
    return _hashed(normal.encode("utf-8", "replace"))


def content_keys(texts: Sequence[str]) -> list[bytes]:
    """The content key of each text."""
    pieces = [text.encode("utf-8", "replace") for text in texts]
    offsets = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
    return content_keys_in(np.frombuffer(b"".join(pieces), np.uint8), offsets)


def content_keys_in(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> list[bytes]:
    """The content keys of N documents of UTF-8 text bounded by `offsets` (N + 1,)."""
    normal = np.empty(int(offsets[-1] - offsets[0]), np.uint8)
    bounds = np.empty(len(offsets), np.int64)
    squeeze_spaces(data, offsets, normal, bounds)
    view = memoryview(normal.data)
    ends = bounds.tolist()
    return [_hashed(view[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)]


def url_key(url: str | None) -> int | None:
    """64-bit hash of a normalised address; None for none.

    Scheme, `www.`, default port, fragment, trailing slash, tracking parameters, the order of
    parameters, percent-encoding and the case of the host make no difference.
    """
    normal = normal_url(url) if url else None
    if not normal:
        return None
    return int.from_bytes(
        hashlib.blake2b(normal.encode("utf-8", "replace"), digest_size=8).digest()
    )


def normal_url(url: str) -> str:
    """What of an address tells pages apart; an address that cannot be parsed is left as it is."""
    text = url.strip()
    try:
        parts = urlsplit(text if "//" in text else f"//{text}")
        port = parts.port
    except ValueError:
        return text
    host = (parts.hostname or "").removeprefix("www.").rstrip(".")
    try:
        host = host.encode("ascii").decode() if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        pass  # not a name that DNS knows: as written it still tells pages apart
    if port is not None and port != _DEFAULT_PORTS.get(parts.scheme or "http"):
        host = f"{host}:{port}"
    path = unquote(parts.path).rstrip("/")
    asked = sorted(
        one for one in parts.query.split("&") if one and not one.lower().startswith(_TRACKING)
    )
    return f"{host}{path}" + (f"?{unquote('&'.join(asked))}" if asked else "")


def _hashed(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=CONTENT_KEY_BYTES).digest()
