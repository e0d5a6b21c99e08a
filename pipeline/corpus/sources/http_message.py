"""An HTTP response as it was stored: status, headers, and the body with its codings undone."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import zstandard

from pipeline.corpus.sources.warc_records import header_fields

MAX_CODINGS = 3  # guess: more codings on top of each other are an attack


MAX_HEAD_BYTES = 1 << 16  # servers refuse half of that; what is longer is no head


class BadMessage(ValueError):
    """A body that cannot be read: a reason code and a detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class HttpResponse:
    """A stored response; `body` is still coded."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """`text/html`, lower-case, without parameters; "" when none is given."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        """The charset parameter of the content type."""
        for parameter in self.headers.get("content-type", "").split(";")[1:]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "charset":
                return value.strip().strip("\"'") or None
        return None


def parse_response(data: bytes) -> HttpResponse:
    """Split a response; BadMessage if it does not begin with a status line."""
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator or b"\n\n" in head:
        head, _, body = data.partition(b"\n\n")
    if len(head) > MAX_HEAD_BYTES:
        raise BadMessage("bad_http", f"{len(head)} bytes before the first blank line")
    line, _, fields = head.partition(b"\n")
    words = line.split(None, 2)
    if not line.startswith(b"HTTP/") or len(words) < 2 or not words[1].isdigit():
        raise BadMessage("bad_http", f"no status line but {line[:40]!r}")
    return HttpResponse(int(words[1][:6]), header_fields(fields), body)


def decoded_body(response: HttpResponse, max_bytes: int) -> bytes:
    """The body without its transfer and content codings, at most `max_bytes`.

    Crawlers often undo a coding and leave its header: what is not so coded is taken as it is.
    """
    body = response.body
    if "chunked" in response.headers.get("transfer-encoding", "").lower():
        body = _unchunked(body)
    names = response.headers.get("content-encoding", "").lower().split(",")
    codings = [name.strip() for name in names if name.strip() not in ("", "identity", "none")]
    if len(codings) > MAX_CODINGS:
        raise BadMessage("bad_http", f"{len(codings)} content codings")
    for coding in reversed(codings):
        body = _uncoded(body, coding, max_bytes)
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


def _unchunked(body: bytes) -> bytes:
    """Without chunk sizes; as it is where the first line is none, short where it ends early."""
    pieces: list[bytes] = []
    at = 0
    while True:
        end = body.find(b"\n", at, at + 1024)
        size = body[at : max(end, at)].partition(b";")[0].strip()
        try:
            if end < 0 or not size or len(size) > 15:
                raise ValueError
            count = int(size, 16)
        except ValueError:
            return b"".join(pieces) if pieces else body
        if count <= 0:
            return b"".join(pieces)
        pieces.append(body[end + 1 : end + 1 + count])
        at = end + 1 + count
        at += 2 if body[at : at + 2] == b"\r\n" else 1


def _uncoded(body: bytes, coding: str, max_bytes: int) -> bytes:
    if coding in ("gzip", "x-gzip"):
        return _inflated(body, 31, max_bytes) if body.startswith(b"\x1f\x8b") else body
    if coding == "deflate":
        # RFC 9110 means zlib; some servers send raw deflate. What inflates neither way is plain.
        is_zlib = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2]) % 31 == 0
        try:
            return _inflated(body, 15 if is_zlib else -15, max_bytes)
        except BadMessage as error:
            if error.reason == "page_too_large":
                raise
            return body
    if coding == "zstd":
        return _unzstd(body, max_bytes) if body.startswith(b"\x28\xb5\x2f\xfd") else body
    if coding == "br":
        return _unbrotli(body, max_bytes)
    raise BadMessage("bad_http", f"content coding {coding[:40]!r} is not known")


def _inflated(body: bytes, window: int, max_bytes: int) -> bytes:
    """Decompressed; what comes before a break in the data is kept."""
    decoder = zlib.decompressobj(wbits=window)
    try:
        found = decoder.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise BadMessage("bad_http", f"content coding: {error}") from error
    if len(found) > max_bytes:
        raise _too_large(max_bytes)
    return found


def _unzstd(body: bytes, max_bytes: int) -> bytes:
    try:
        with zstandard.ZstdDecompressor().stream_reader(body) as reader:
            found = reader.read(max_bytes + 1)
    except zstandard.ZstdError as error:
        raise BadMessage("bad_http", f"content coding: {error}") from error
    if len(found) > max_bytes:
        raise _too_large(max_bytes)
    return found


def _unbrotli(body: bytes, max_bytes: int) -> bytes:
    try:
        import brotli  # optional, and used by few stored responses: crawlers undo it
    except ImportError as error:
        raise BadMessage("bad_http", "content coding br: pip install brotli") from error
    decoder = brotli.Decompressor()
    found: list[bytes] = []
    size = 0
    try:
        # One KiB of brotli expands to megabytes at most: the limit is checked in between.
        for at in range(0, len(body), 1024):
            found.append(decoder.process(body[at : at + 1024]))
            size += len(found[-1])
            if size > max_bytes:
                raise _too_large(max_bytes)
    except brotli.error:
        if not found:
            return body  # the crawler undid it and left the header
        raise BadMessage("bad_http", "content coding br: damaged") from None
    return b"".join(found)


def _too_large(max_bytes: int) -> BadMessage:
    return BadMessage("page_too_large", f"more than max_page_bytes={max_bytes}")
