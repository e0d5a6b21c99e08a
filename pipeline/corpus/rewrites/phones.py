r"""Phone numbers in stretches of digits: E.164 with its country code, and national ways of writing.

Conservative, because most digits are not phone numbers: without a plus sign a number needs a shape
that is hardly anything else (`(415) 555-2671`, `13912345678`, `010-6552 9988`), or a word such as
"Tel." or "电话" in front of it.

Sources: ITU-T E.164 (codes, 15 digits at most), the numbering plans named beside each rule.
"""

import re
from collections.abc import Iterator

from pipeline.corpus.rewrites.digit_rows import CONTEXT_MARKS

MAX_DIGITS = 15  # ITU-T E.164, section 6
MIN_DIGITS = 8  # guess: shorter ones exist on small islands; so do many other short numbers

# Country codes of ITU-T E.164 (list of 2016, amended): all of one and two digits, zones of three.
_ONE_DIGIT = {1, 7}
_TWO_DIGITS = {
    20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56,
    57, 58, 60, 61, 62, 63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98,
}  # fmt: skip
_THREE_DIGITS = {
    211, 212, 213, 216, 218, *range(220, 259), *range(260, 270), 290, 291, 297, 298, 299,
    *range(350, 360), *range(370, 379), 380, 381, 382, 383, 385, 386, 387, 389, 420, 421, 423,
    *range(500, 510), *range(590, 600), *range(670, 693), 800, 808, 850, 852, 853, 855, 856, 870,
    878, 880, 881, 882, 883, 886, 888, *range(960, 969), *range(970, 980), *range(992, 997), 998,
}  # fmt: skip
# Digits after the country code; from the national numbering plans published by the ITU.
_NATIONAL_DIGITS = {
    1: (10, 10), 7: (10, 10), 20: (8, 10), 27: (9, 9), 30: (10, 10), 31: (9, 9), 32: (8, 9),
    33: (9, 9), 34: (9, 9), 39: (6, 11), 41: (9, 9), 43: (7, 13), 44: (9, 10), 45: (8, 8),
    46: (7, 10), 47: (8, 8), 48: (9, 9), 49: (7, 11), 52: (10, 10), 54: (10, 11), 55: (10, 11),
    61: (9, 9), 62: (8, 12), 63: (8, 10), 64: (8, 10), 65: (8, 8), 66: (8, 9), 81: (9, 10),
    82: (8, 10), 84: (9, 10), 86: (10, 11), 90: (10, 10), 91: (10, 10), 92: (9, 10), 98: (10, 10),
    852: (8, 8), 853: (8, 8), 886: (8, 9), 971: (8, 9), 972: (8, 9), 353: (7, 9), 351: (9, 9),
    247: (5, 6), 298: (6, 6), 299: (6, 6), 376: (6, 9), 500: (5, 5), 508: (6, 9), 597: (6, 7),
    672: (6, 6), 676: (5, 7), 677: (5, 7), 678: (5, 7), 681: (6, 6), 682: (5, 5), 683: (5, 7),
    685: (5, 7), 686: (5, 8), 687: (6, 6), 688: (5, 7), 689: (6, 8), 690: (5, 7),
}  # fmt: skip
_OTHER_DIGITS = (7, 12)

_GROUPS = re.compile(rb"\d+")
_GAP = re.compile(rb"\)(?: ?- ?| )?\(?|[ .-]?\(| - |[ .\-/]")
_GOES_ON = re.compile(rb"\w|[.,]\d")
_SAME = re.compile(rb"(\d)\1{6}")
_NOT_BEFORE, _NOT_AFTER = rb"(?<![\w.+/-])", rb"(?!(?!x\d)\w|[.-]\d)"  # x12: an extension
_NATIONAL = re.compile(
    _NOT_BEFORE + rb"(?:"
    # North America (NANPA): area and exchange begin with 2 to 9, no area is N11
    rb"(?:1[-. ])?(?:\([2-9](?!11)\d\d\)[ -]?[2-9]\d\d[-. ]|[2-9](?!11)\d\d([-.])[2-9]\d\d\1)\d{4}"
    # China, mobile (MIIT's plan: 13x to 19x) and its groups 3-4-4
    rb"|(?:86[- ]?)?1(?:3\d|4[5-9]|5[0-35-9]|6[2567]|7[0-8]|8\d|9[0-35-9])"
    rb"(?:\d{8}|([- ])\d{4}\2\d{4})"
    # China, landline: area 010, 02x or 03xx to 09xx, subscriber of 7 or 8; service numbers 400, 800
    rb"|(?:\(0(?:10|2\d|[3-9]\d\d)\) ?|0(?:10|2\d|[3-9]\d\d)-)[2-8]\d{2,3}[ -]?\d{4}(?:-\d{1,6})?"
    rb"|[48]00-(?:\d{3}-\d{4}|\d{4}-\d{3})"
    # Japan, Korea, Taiwan: 0x-xxxx-xxxx and its like; 03-10-2022 is too short
    rb"|0[1-9]\d?-\d{3,4}-\d{4}|0[1-9]\d\d-\d{2,3}-\d{4}|0[1-9]\d{3}-\d-\d{4}"
    rb"|09\d\d([ -])\d{3}\3\d{3}"
    # France: five pairs, no more of them (a dump of bytes) on either side
    rb"|(?<!\d[ .])0[1-9](?:([ .])\d\d)(?:\4\d\d){3}(?![ .][0-9a-fA-F]{2}(?!\w))"
    # United Kingdom: the usual groupings (Ofcom)
    rb"|0(?:2\d \d{4} \d{4}|1\d1 \d{3} \d{4}|11\d \d{3} \d{4}|1\d{3} \d{6}|7\d{3} (?:\d{6}|"
    rb"\d{3} \d{3})|800 \d{3} \d{4})"
    # Germany: (030) 1234567, 0171/1234567
    rb"|\(0[1-9]\d{1,3}\) ?\d{5,8}|0[1-9]\d{1,3}/\d{5,8}"
    rb")" + _NOT_AFTER
)
_WORDS = (
    b"tel", b"phone", b"t\xc3\xa9l", b"telefon", b"telefone", b"telefono", b"phone", b"mobile",
    b"cell", b"fax", b"call", b"whatsapp", b"hotline",
    *(word.encode() for word in ("téléphone", "电话", "電話", "手机", "手機", "传真", "傳真",
                                 "热线", "熱線", "联系方式", "携帯", "전화")),
)  # fmt: skip
_BETWEEN = tuple(
    word.encode()
    for word in (
        "号",
        "码",
        "號",
        "碼",
        "：",
        "为",
        "是",
        "number",
        " no",
        " nr",
        " at",
        " us",
        " is",
    )
)

_WORDS_OR_BETWEEN = _WORDS + _BETWEEN
_CONTEXT = re.compile(rb"(?<![a-z])(?:" + rb"|".join(map(re.escape, _WORDS)) + rb")$")


def phone_spans(window: bytes, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Phone numbers in `window[start:end]`, `size` digits and separators; around it is context."""
    plus = _plus_before(window, start)
    international = _international_end(window, start, end) if plus is not None else None
    if plus is not None and international is not None:
        yield plus, international
        start = international
    elif _has_context(window, start if plus is None else plus):
        stop = _end_of_number(window, start, end, fewest=7, most=MAX_DIGITS)
        if stop is not None and _is_plausible(window[start:stop]):
            is_open = window[start - 1 : start] == b"(" and b")" in window[start:stop]
            yield start - is_open if plus is None else plus, stop
            start = stop
    if size < MIN_DIGITS:
        return
    first = start - 1 if window[start - 1 : start] == b"(" else start
    for match in _NATIONAL.finditer(window, first):
        if _is_plausible(match.group()):
            yield match.span()


def _has_context(window: bytes, start: int) -> bool:
    """Whether a word like "Tel." or "phone number:" stands right in front."""
    before = window[:start].rstrip(CONTEXT_MARKS).lower()
    if not before.endswith(_WORDS_OR_BETWEEN):
        return False
    for _ in range(4):
        shorter = before
        for word in _BETWEEN:
            shorter = shorter.removesuffix(word)
        shorter = shorter.rstrip(CONTEXT_MARKS)
        if shorter == before:
            break
        before = shorter
    return before.endswith(_WORDS) and _CONTEXT.search(before) is not None


def _plus_before(window: bytes, start: int) -> int | None:
    """Where the plus sign of `+1...` or `+(1...` stands."""
    position = start - 2 if window[start - 1 : start] == b"(" else start - 1
    if position < 0 or window[position] != ord("+"):
        return None
    before = window[max(position - 1, 0) : position]
    return None if before.isalnum() or before in (b"+", b"_") else position


def _international_end(window: bytes, start: int, end: int) -> int | None:
    digits = b"".join(_GROUPS.findall(window, start, min(end, start + 3 * MAX_DIGITS)))
    code = _country_code(digits)
    # The code is not cut by a separator: +3.14159265 is no number in Albania.
    if code is None or not window[start:end].startswith(str(code).encode()):
        return None
    fewest, most = _NATIONAL_DIGITS.get(code, _OTHER_DIGITS)
    size = len(str(code))
    fewest, most = max(fewest + size, MIN_DIGITS), min(most + size, MAX_DIGITS)
    # "+44 (0)20 ..." spells the national zero, which is not dialled.
    if re.match(rb"\d{1,3} ?\(0\)", window[start : start + 8]):
        fewest, most = fewest + 1, most + 1
    stop = _end_of_number(window, start, end, fewest=fewest, most=most)
    if stop is None or not _is_plausible(window[start:stop]):
        return None
    national = digits[size:]
    if code == 1 and not re.match(rb"[2-9](?!11)\d\d[2-9]", national):
        return None
    return stop


def _country_code(digits: bytes) -> int | None:
    for size, codes in ((1, _ONE_DIGIT), (2, _TWO_DIGITS), (3, _THREE_DIGITS)):
        if len(digits) > size and int(digits[:size]) in codes:
            return int(digits[:size])
    return None


def _end_of_number(window: bytes, start: int, end: int, *, fewest: int, most: int) -> int | None:
    """The end of the longest row of groups with `fewest` to `most` digits, or None."""
    total, position, best = 0, start, None
    while True:
        group = _GROUPS.match(window, position, end)
        if group is None:
            break
        total += len(group.group())
        if total > most:
            break
        position = group.end()
        if total >= fewest:
            best = position
        gap = _GAP.match(window, position, end)
        if gap is None:
            break
        position = gap.end()
    return None if best is None or _GOES_ON.match(window, best) else best


def _is_plausible(number: bytes) -> bool:
    """No run of seven equal digits, no row of consecutive pairs (01 02 03 04 05), no megabytes."""
    groups = [int(group) for group in _GROUPS.findall(number)]
    steps = {after - before for before, after in zip(groups, groups[1:], strict=False)}
    counting = len(groups) >= 4 and len(steps) == 1
    if len(groups) == 1 and groups[0] % (1 << 20) == 0:  # 17179869184 bytes of memory
        return False
    return not counting and not _SAME.search(b"".join(_GROUPS.findall(number)))
