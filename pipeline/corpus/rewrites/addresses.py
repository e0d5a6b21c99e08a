r"""E-mail and IPv4 addresses, found in linear time by walking out from each `@` and each dot.

The language is the one of datatrove 0.10.1's PIIFormatter, match for match (leftmost, then as its
alternatives prefer), so the same text loses the same bytes:

    e-mail  a dot-atom that begins at a word boundary, `@`, two or more labels or a bracketed
            address. Unicode decides what a word is, so a Han letter in front is no boundary.
    IPv4    four octets of one to three digits, wherever they stand: `1234.5.6.7` holds 234.5.6.7

A backtracking expression needs quadratic time for `a!a!a!...`; here every byte is looked at a
bounded number of times.
"""

import functools
import ipaddress

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.compiled import leaf
from pipeline.corpus.rewrites.spans import I64, Text

_LOCAL, _ALNUM, _DIGIT, _WORD = 1, 2, 4, 8
_DOT, _HYPHEN, _AT, _COLON, _OPEN, _CLOSE = (ord(char) for char in ".-@:[]")
_BLOCK = 256  # bytes looked at together
_ATOM_SIGNS = b"!#$%&'*+/=?^_`{|}~-"  # RFC 5322's atext


def email_spans(text: Text) -> tuple[I64, I64]:
    """((K,) starts, (K,) ends) of all e-mail addresses, ascending."""
    ats = _positions(text, only_between_digits=False)
    if not len(ats):
        return ats, ats
    documents = text.documents_of(ats)
    starts, ends = np.empty_like(ats), np.empty_like(ats)
    count = _emails(
        text.data, ats, text.offsets[documents], text.offsets[documents + 1],
        _byte_classes(), word_characters(), starts, ends,
    )  # fmt: skip
    return starts[:count], ends[:count]


def ip_spans(text: Text, *, public_only: bool) -> tuple[I64, I64]:
    """((K,) starts, (K,) ends) of all IPv4 addresses, ascending; leading zeros disqualify one."""
    # Most dots end sentences: a digit must stand on both sides.
    dots = _positions(text, only_between_digits=True)
    if not len(dots):
        return dots, dots
    documents = text.documents_of(dots)
    starts, ends = np.empty_like(dots), np.empty_like(dots)
    count = _ips(
        text.data, dots, text.offsets[documents], text.offsets[documents + 1], _byte_classes(),
        starts, ends,
    )  # fmt: skip
    starts, ends = starts[:count], ends[:count]
    data = text.view
    taken = np.fromiter(
        (
            is_address(bytes(data[start:end]), public_only)
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ),
        np.bool_,
        count=len(starts),
    )
    return starts[taken], ends[taken]


@functools.lru_cache(maxsize=65536)
def is_address(text: bytes, public_only: bool) -> bool:
    """Whether `text` is an IPv4 address, and one of the public internet if asked for."""
    try:
        address = ipaddress.IPv4Address(text.decode("ascii"))
    except ValueError:
        return False
    return not public_only or address.is_global


@functools.cache
def word_characters() -> npt.NDArray[np.bool_]:
    r"""(0x110000,) whether `re` counts a code point as `\w`; built once per process in 5 ms."""
    chars = np.arange(0x110000, dtype=np.uint32).view("U1")
    table: npt.NDArray[np.bool_] = np.strings.isalnum(chars)
    table[ord("_")] = True
    return table


@functools.cache
def _byte_classes() -> npt.NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    for byte in range(128):
        char = chr(byte)
        table[byte] |= (_ALNUM | _LOCAL | _WORD) * char.isalnum() | _DIGIT * char.isdigit()
    table[ord("_")] |= _WORD
    table[list(_ATOM_SIGNS)] |= _LOCAL
    return table


def _positions(text: Text, *, only_between_digits: bool) -> I64:
    """(K,) where `@` stands; or where a dot does, with a digit on either side of it."""
    byte = _DOT if only_between_digits else _AT
    first, last = int(text.offsets[0]), int(text.offsets[-1])
    room = 1 << 12
    while True:
        found = np.empty(room, np.int64)
        count = _find(text.data, first, last, byte, only_between_digits, found)
        if count <= room:
            return found[:count]
        room = count


@leaf
def _find(
    data: npt.NDArray[np.uint8], first: int, last: int, byte: int, is_number: bool, found: I64
) -> int:
    """Fill `found` as far as it reaches; how many there are."""
    count, at, end = 0, np.uint64(first), np.uint64(last)
    one = np.uint64(1)
    while at < end:
        # Blocks without the byte are passed over by vector instructions.
        stop = min(at + np.uint64(_BLOCK), end)
        hits = 0
        if is_number:
            for k in range(max(at, np.uint64(first) + one), min(stop, end - one)):
                before, after = data[k - one], data[k + one]
                # As bytes: what is less than 0 becomes more than 9.
                is_digit = (np.uint8(before - 48) < 10) & (np.uint8(after - 48) < 10)
                hits += (data[k] == byte) & is_digit
        else:
            for k in range(at, stop):
                hits += data[k] == byte
        if hits:
            for k in range(at, stop):
                if data[k] != byte:
                    continue
                if is_number:
                    if k == np.uint64(first) or k + one >= end:
                        continue
                    if not (48 <= data[k - one] <= 57 and 48 <= data[k + one] <= 57):
                        continue
                if count < len(found):
                    found[count] = k
                count += 1
        at = stop
    return count


@leaf
def _code_point_before(data: npt.NDArray[np.uint8], end: int) -> int:
    """The code point whose last byte is `data[end - 1]`; the bytes are valid UTF-8."""
    start = end - 1
    while data[start] & 0xC0 == 0x80:
        start -= 1
    lead = np.int64(data[start])
    size = end - start
    code = lead if size == 1 else lead & (0x7F >> size)  # the lead byte's payload
    for k in range(start + 1, end):
        code = (code << 6) | (np.int64(data[k]) & 0x3F)
    return int(code)


@leaf
def _octet_ok(data: npt.NDArray[np.uint8], start: int, size: int) -> bool:
    """Whether `size` digits (1 to 3) from `start` stay below 256."""
    if size < 3:
        return True
    value = (
        (np.int64(data[start]) - 48) * 100
        + (np.int64(data[start + 1]) - 48) * 10
        + np.int64(data[start + 2])
        - 48
    )
    return bool(value < 256)


@leaf
def _digits_from(
    data: npt.NDArray[np.uint8], start: int, stop: int, classes: npt.NDArray[np.uint8]
) -> int:
    """How many digits, four at most, stand at `start`."""
    size = 0
    while size < 4 and start + size < stop and classes[data[start + size]] & _DIGIT:
        size += 1
    return size


@leaf
def _octets_from(
    data: npt.NDArray[np.uint8],
    start: int,
    stop: int,
    count: int,
    classes: npt.NDArray[np.uint8],
) -> int:
    """The position after `count` octets with a dot behind each, or -1."""
    position = start
    for _ in range(count):
        size = _digits_from(data, position, stop, classes)
        after = position + size
        if size == 0 or size > 3 or after >= stop or data[after] != _DOT:
            return -1
        if not _octet_ok(data, position, size):
            return -1
        position = after + 1
    return position


@leaf
def _host_end(
    data: npt.NDArray[np.uint8], start: int, stop: int, classes: npt.NDArray[np.uint8]
) -> int:
    """The end of the longest host name of two labels or more at `start`, or -1."""
    position, labels, end = start, 0, -1
    while position < stop and classes[data[position]] & _ALNUM:
        after = position
        while after < stop and (classes[data[after]] & _ALNUM or data[after] == _HYPHEN):
            after += 1
        last = after
        while data[last - 1] == _HYPHEN:
            last -= 1
        if labels:
            end = last
        if last != after or after >= stop or data[after] != _DOT:
            break
        labels += 1
        position = after + 1
    return end


@leaf
def _literal_end(
    data: npt.NDArray[np.uint8], start: int, stop: int, classes: npt.NDArray[np.uint8]
) -> int:
    """The end of `[1.2.3.4]` or `[1.2.3.tag:]` at `start`, or -1."""
    if start >= stop or data[start] != _OPEN:
        return -1
    position = _octets_from(data, start + 1, stop, 3, classes)
    if position < 0:
        return -1
    size = _digits_from(data, position, stop, classes)
    after = position + size
    if 0 < size <= 3 and after < stop and data[after] == _CLOSE and _octet_ok(data, position, size):
        return after + 1
    after = position
    while after < stop and (classes[data[after]] & _ALNUM or data[after] == _HYPHEN):
        after += 1
    if after == position or data[after - 1] == _HYPHEN or after + 1 >= stop:
        return -1
    return after + 2 if data[after] == _COLON and data[after + 1] == _CLOSE else -1


@leaf
def _local_start(
    data: npt.NDArray[np.uint8],
    at: int,
    document: int,
    floor: int,
    classes: npt.NDArray[np.uint8],
    is_word: npt.NDArray[np.bool_],
) -> int:
    """Where the longest dot-atom before `at` begins at a word boundary, or -1."""
    best, position = -1, at - 1
    while position >= floor:
        byte = data[position]
        if classes[byte] & _LOCAL:
            before = False
            if position > document:
                previous = data[position - 1]
                if previous < 0x80:
                    before = classes[previous] & _WORD > 0
                else:
                    before = is_word[_code_point_before(data, position)]
            if before != (classes[byte] & _WORD > 0):
                best = position
        elif byte != _DOT or position == at - 1 or data[position + 1] == _DOT:
            break
        position -= 1
    return best


@leaf
def _emails(
    data: npt.NDArray[np.uint8],
    ats: I64,
    floors: I64,
    stops: I64,
    classes: npt.NDArray[np.uint8],
    is_word: npt.NDArray[np.bool_],
    starts: I64,
    ends: I64,
) -> int:
    """Fill `starts` and `ends`; how many addresses there are."""
    count, done = 0, np.int64(-1)
    for i in range(len(ats)):
        at = ats[i]
        start = _local_start(data, at, floors[i], max(done, floors[i]), classes, is_word)
        if start < 0:
            continue
        end = _host_end(data, at + 1, stops[i], classes)
        if end < 0:
            end = _literal_end(data, at + 1, stops[i], classes)
        if end < 0:
            continue
        starts[count], ends[count] = start, end
        count += 1
        done = np.int64(end)
    return count


@leaf
def _ips(
    data: npt.NDArray[np.uint8],
    dots: I64,
    floors: I64,
    stops: I64,
    classes: npt.NDArray[np.uint8],
    starts: I64,
    ends: I64,
) -> int:
    """Fill `starts` and `ends`; how many rows of four octets there are."""
    count, done = 0, np.int64(-1)
    for i in range(len(dots)):
        dot = dots[i]
        floor = max(done, floors[i])
        start = np.int64(-1)
        for size in range(3, 0, -1):  # the leftmost start wins
            if dot - size < floor:
                continue
            are_digits = True
            for k in range(dot - size, dot):
                are_digits &= classes[data[k]] & _DIGIT > 0
            if are_digits and _octet_ok(data, dot - size, size):
                start = dot - size
                break
        if start < 0:
            continue
        last = _octets_from(data, dot + 1, stops[i], 2, classes)
        if last < 0:
            continue
        size = min(_digits_from(data, last, stops[i], classes), 3)
        if size == 0:
            continue
        # Three digits above 255 count as two: the third one stays behind.
        if size == 3 and not _octet_ok(data, last, 3):
            size = 2
        starts[count], ends[count] = start, last + size
        count += 1
        done = np.int64(last + size)
    return count
