"""What splits off at the front, at the end and in the middle of a chunk, and what is a URL.

All functions look at codes[lo:hi], the code points of one chunk, and never beyond.
"""

from typing import Any

import numpy as np

from pipeline.corpus.kernels.classes import (
    ALPHA,
    CURRENCY,
    DIGIT,
    ICON,
    LOWER,
    PREFIX,
    PUNCT,
    QUOTE,
    SUFFIX,
    TABLE_SIZE,
    UPPER,
)
from pipeline.corpus.kernels.compiled import Array, inner

_DOT, _PLUS, _ELLIPSIS, _AT, _COLON, _SLASH = map(ord, ".+…@:/")
_UNDERSCORE, _HYPHEN, _DEGREE, _DOLLAR = map(ord, "_-°$")
_BEFORE_DOT = LOWER | DIGIT | PUNCT | QUOTE  # and % ² - +
_MAX_LABEL = 64  # characters of a domain's label
_MAX_TOP = 63
_UNITS = (
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s "
    "km/h kmh mph hPa Pa mbar mb MB kb KB gb GB tb TB T G M K % км км² км³ м м² м³ дм дм² дм³ см "
    "см² см³ мм мм² мм³ нм кг г мг м/с км/ч кПа Па мбар Кб КБ кб Мб МБ мб Гб ГБ гб Тб ТБ US$ C$ A$"
).split()
_MAX_UNIT = max(map(len, _UNITS))
_UNIT_CODES = np.array(
    [[ord(c) for c in unit.ljust(_MAX_UNIT, "\0")] for unit in sorted(_UNITS)], np.int64
)


@inner
def class_of(code: int, classes: Array) -> Any:
    """Class bits of a code point; none beyond the table."""
    return classes[code] if code < TABLE_SIZE else np.uint32(0)


@inner
def find_prefix(codes: Array, lo: int, hi: int, classes: Array) -> int:
    """How many characters split off at the front."""
    code = codes[lo]
    if class_of(code, classes) & PREFIX:
        return 1
    if code == _DOT:
        count = 1
        while lo + count < hi and codes[lo + count] == _DOT:
            count += 1
        return count if count > 1 else 0
    following = codes[lo + 1] if lo + 1 < hi else 0
    if code == _PLUS:
        return 0 if 48 <= following <= 57 else 1
    if following == _DOLLAR and (code == 65 or code == 67):  # A$, C$
        return 2
    if following == 83 and code == 85 and lo + 2 < hi and codes[lo + 2] == _DOLLAR:  # US$
        return 3
    return 0


@inner
def find_suffix(codes: Array, lo: int, hi: int, classes: Array) -> int:
    """How many characters split off at the end; the longest rule wins."""
    if lo >= hi:
        return 0
    last = codes[hi - 1]
    kind = class_of(last, classes)
    if last == _DOT:
        return _final_dots(codes, lo, hi, classes)
    before = codes[hi - 2] if hi - 2 >= lo else 0
    if (last == 115 or last == 83) and (before == 39 or before == 0x2019):  # 's
        return 2
    unit = _final_unit(codes, lo, hi)
    if unit:
        return unit
    if kind & SUFFIX:
        return 2 if last == _ELLIPSIS and before == _ELLIPSIS else 1
    if 48 <= before <= 57 and (last == _PLUS or kind & CURRENCY):
        return 1
    return 0


@inner
def _final_dots(codes: Array, lo: int, hi: int, classes: Array) -> int:
    count = 1
    while hi - 1 - count >= lo and codes[hi - 1 - count] == _DOT:
        count += 1
    if count > 1:
        return count
    if hi - 2 < lo:
        return 0
    before = codes[hi - 2]
    kind = class_of(before, classes)
    if kind & _BEFORE_DOT or before == 37 or before == 0xB2 or before == 45 or before == 43:
        return 1
    if hi - 3 < lo:
        return 0
    if kind & UPPER and class_of(codes[hi - 3], classes) & UPPER:
        return 1
    return 1 if codes[hi - 3] == _DEGREE and (before | 32) in (99, 102, 107) else 0


@inner
def _final_unit(codes: Array, lo: int, hi: int) -> int:
    """Length of a unit of measurement that follows a digit at the end."""
    size = 0
    while size <= _MAX_UNIT:
        at = hi - 1 - size
        if at < lo:
            return 0
        if 48 <= codes[at] <= 57:
            break
        size += 1
    if size == 0 or size > _MAX_UNIT:
        return 0
    for row in range(len(_UNIT_CODES)):
        same = True
        for k in range(_MAX_UNIT):
            if _UNIT_CODES[row, k] != (codes[hi - size + k] if k < size else 0):
                same = False
                break
        if same:
            return size
    return 0


@inner
def find_infix(codes: Array, lo: int, at: int, hi: int, classes: Array) -> int:
    """How many characters of an infix begin at codes[at]."""
    code = codes[at]
    if class_of(code, classes) & ICON or code == _ELLIPSIS:
        return 1
    following = codes[at + 1] if at + 1 < hi else 0
    if code == _DOT and following == _DOT:
        count = 2
        while at + count < hi and codes[at + count] == _DOT:
            count += 1
        return count
    if at == lo:
        return 0
    before = class_of(codes[at - 1], classes)
    after = class_of(following, classes)
    if code == _DOT:
        return 1 if before & (LOWER | QUOTE) and after & (UPPER | QUOTE) else 0
    if code == 44:  # a comma
        return 1 if before & ALPHA and after & ALPHA else 0
    if code in (43, 45, 42, 94):  # + - * ^ between numbers
        if before & DIGIT and (after & DIGIT or following == _HYPHEN):
            return 1
    if not before & (ALPHA | DIGIT):
        return 0
    if code in (45, 0x2013, 0x2014, 126, 58, 60, 62, 61, 47):  # - – — ~ : < > = /
        if after & ALPHA:
            return 1
        return _long_hyphen(codes, at, hi, classes)
    return 0


@inner
def _long_hyphen(codes: Array, at: int, hi: int, classes: Array) -> int:
    """Two or three hyphens, or two dashes, before a letter."""
    code = codes[at]
    if code != _HYPHEN and code != 0x2014:
        return 0
    size = 1
    while at + size < hi and codes[at + size] == code:
        size += 1
    if size > (3 if code == _HYPHEN else 2) or at + size >= hi or size == 1:
        return 0
    return size if class_of(codes[at + size], classes) & ALPHA else 0


@inner
def is_url(codes: Array, lo: int, hi: int, classes: Array) -> bool:
    """Whether the chunk is [scheme://][user@]host.name[:port][/path]."""
    dots = False
    for k in range(lo + 1, hi - 2):
        if codes[k] == _DOT:
            dots = True
            break
    if not dots:
        return False
    start = lo
    for k in range(lo, hi - 3):
        if codes[k] == _COLON:
            if k - lo >= 2 and codes[k + 1] == _SLASH and codes[k + 2] == _SLASH:
                start = k + 3
            break
        if not (_is_host(codes[k]) or codes[k] == _PLUS):
            break
    if _is_address(codes, start, hi, classes) or (
        start != lo and _is_address(codes, lo, hi, classes)
    ):
        return True
    for k in range(hi - 1, start, -1):  # user:password@ may hold anything
        if codes[k] == _AT:
            return _is_address(codes, k + 1, hi, classes)
    return False


@inner
def _is_host(code: int) -> bool:
    return _is_name(code) or code == _DOT or code == _HYPHEN or code == _UNDERSCORE


@inner
def _is_name(code: int) -> bool:
    return 48 <= code <= 57 or 65 <= code <= 90 or 97 <= code <= 122 or 0xA1 <= code <= 0xFFFF


@inner
def _is_address(codes: Array, start: int, hi: int, classes: Array) -> bool:
    """Labels with dots between, the last in lower case, then nothing, a port or a path."""
    end, label, labels = start, start, 0
    while end < hi and _is_host(codes[end]):
        if codes[end] == _DOT:
            size = end - label
            if size < 1 or size > _MAX_LABEL:
                return False
            if not (_is_name(codes[label]) and _is_name(codes[end - 1])):
                return False
            labels += 1
            label = end + 1
        end += 1
    if labels == 0 or not 2 <= end - label <= _MAX_TOP:
        return False
    for k in range(label, end):
        if not class_of(codes[k], classes) & LOWER:
            return False
    if end < hi and codes[end] == _COLON:
        digits = 0
        while end + 1 + digits < hi and 48 <= codes[end + 1 + digits] <= 57:
            digits += 1
        if not 2 <= digits <= 5:
            return False
        end += 1 + digits
    return end >= hi or codes[end] in (_SLASH, 63, 35)
