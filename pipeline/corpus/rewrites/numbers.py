r"""Numbers that name a person: payment cards, identity numbers of China and the US, phone numbers.

    every byte -> stretches of digits (compiled) -> shapes (expressions) -> check digits and dates

Most text has no stretch of seven digits, so nothing but the first step costs time.
"""

import re
from collections.abc import Iterator

import numpy as np

from pipeline.corpus.rewrites.digit_rows import WIDE_SEPARATORS, digit_rows
from pipeline.corpus.rewrites.phones import phone_spans
from pipeline.corpus.rewrites.spans import Text

Found = tuple[str, int, int]
"""(kind, start, end) in bytes."""

_PLAIN = str.maketrans(WIDE_SEPARATORS, " ----()")
_WIDE_OPEN = "（".encode()
_NOT_BEFORE, _NOT_AFTER = rb"(?<![\w.+-])", rb"(?![\w]|[.-]\d)"
_CARD = re.compile(
    _NOT_BEFORE
    + rb"(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{4,5})"
    + _NOT_AFTER
)
_CN_ID = re.compile(
    _NOT_BEFORE + rb"(?:\d{17}[\dXx]|\d{6} \d{8} \d{3}[\dXx]|\d{6}-\d{8}-\d{3}[\dXx])" + _NOT_AFTER
)
# Social Security Administration: area not 000, 666 or 9xx, group not 00, serial not 0000.
_SSN = re.compile(_NOT_BEFORE + rb"(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}" + _NOT_AFTER)
_SSN_LOOSE = re.compile(rb"(?!000|666|9)\d{3}([ -]?)(?!00)\d{2}\1(?!0000)\d{4}" + _NOT_AFTER)
_SSN_CONTEXT = re.compile(
    rb"(?<![a-z])(?:ssn|social[ -]security(?:[ -](?:number|no|num))?)[^\w\n]{0,5}(?:is )?$",
    re.IGNORECASE,
)
CONTEXT_BYTES = 40  # how far in front of a number a word like "Tel." is looked for

# GB/T 2260: the first two digits of a region.
_PROVINCES = {
    *range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55),
    *range(61, 66), 71, 81, 82, 83, 91,
}  # fmt: skip
_CN_WEIGHTS = tuple(pow(2, 17 - i, 11) for i in range(17))  # ISO 7064, MOD 11-2
_CN_CHECKS = "10X98765432"
_LONG_MONTHS = {
    1: 31,
    2: 29,
    3: 31,
    4: 30,
    5: 31,
    6: 30,
    7: 31,
    8: 31,
    9: 30,
    10: 31,
    11: 30,
    12: 31,
}


def number_spans(text: Text, kinds: frozenset[str]) -> Iterator[Found]:
    """Every personal number of the wanted kinds; spans of different kinds may overlap."""
    data = text.view
    wants_phones = "phones" in kinds
    for start, end, size, lower, upper in digit_rows(text).tolist():
        # What stands around a number decides too, but never the text of another document.
        begin = max(lower, start - CONTEXT_BYTES)
        before, digits, after = data[begin:start], data[start:end], data[end : min(end + 4, upper)]
        window = _Window(bytes(before), bytes(digits), bytes(after))
        found = _of_stretch(window.text, window.start, size, kinds) if size > 8 else ()
        for kind, first, last in found:
            yield kind, begin + window.at(first), begin + window.at(last)
        if wants_phones:
            for first, last in phone_spans(window.text, window.start, window.end, size):
                yield "phones", begin + window.at(first), begin + window.at(last)


class _Window:
    """A stretch of digits with what stands around it; its separators are plain ASCII.

    In （010）65529988 they are not: such bytes are read as what they look like, and `at` leads back
    to the places in the text.
    """

    __slots__ = ("_places", "end", "start", "text")

    def __init__(self, before: bytes, digits: bytes, after: bytes) -> None:
        self._places: list[int] | None = None
        if not digits.isascii() or before.endswith(_WIDE_OPEN):
            first = len(before)
            head = list(range(first))
            if before.endswith(_WIDE_OPEN):
                before = before.removesuffix(_WIDE_OPEN) + b"("
                head = head[: len(before)]
            chars = digits.decode()
            widths = [0, *(len(char.encode()) for char in chars)]
            self._places = [*head, *(first + np.cumsum(widths)).tolist()]
            digits = chars.translate(_PLAIN).encode("ascii", "replace")
        self.start = len(before)
        self.end = self.start + len(digits)
        self.text = before + digits + after

    def at(self, position: int) -> int:
        """Where byte `position` of the window stands in the text, from the window's beginning."""
        if self._places is None:
            return position
        beyond = position - len(self._places) + 1
        return self._places[position] if beyond <= 0 else self._places[-1] + beyond


def _of_stretch(window: bytes, start: int, size: int, kinds: frozenset[str]) -> Iterator[Found]:
    """Numbers with check digits or fixed shapes in a stretch of `size` digits."""
    if size >= 13 and "credit_cards" in kinds:
        for match in _CARD.finditer(window, start):
            if is_card(match.group().translate(None, b" -").decode()):
                yield "credit_cards", *match.span()
    if size >= 17 and "cn_ids" in kinds:
        for match in _CN_ID.finditer(window, start):
            if is_cn_id(match.group().decode()):
                yield "cn_ids", *match.span()
    if size >= 9 and "us_ssns" in kinds:
        for match in _SSN.finditer(window, start):
            yield "us_ssns", *match.span()
        loose = _SSN_LOOSE.match(window, start)
        if loose and _SSN_CONTEXT.search(window, 0, start):
            yield "us_ssns", *loose.span()


def is_card(digits: str) -> bool:
    """Whether a card issuer uses numbers that begin so and are so long, and Luhn's sum is right."""
    return _issuer_fits(digits) and len(set(digits)) > 1 and luhn(digits)


def luhn(digits: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1, annex B)."""
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    total = sum(map(int, digits[-1::-2])) + sum(value - 9 * (value > 9) for value in doubled)
    return total % 10 == 0


def is_cn_id(text: str) -> bool:
    """Whether `text` is an 18-character resident identity number (GB 11643-1999)."""
    number = "".join(char for char in text.upper() if char.isalnum())
    if len(number) != 18 or not number[:17].isdigit() or int(number[:2]) not in _PROVINCES:
        return False
    year, month, day = int(number[6:10]), int(number[10:12]), int(number[12:14])
    if not (1850 <= year <= 2099 and 1 <= month <= 12 and 1 <= day <= _LONG_MONTHS[month]):
        return False
    if (month, day) == (2, 29) and (year % 4 or (year % 100 == 0 and year % 400)):
        return False
    total = sum(int(digit) * weight for digit, weight in zip(number, _CN_WEIGHTS, strict=False))
    return _CN_CHECKS[total % 11] == number[17]


def _issuer_fits(digits: str) -> bool:
    """Issuer ranges and lengths of ISO/IEC 7812 as the networks publish them."""
    size, two, four = len(digits), int(digits[:2]), int(digits[:4])
    if digits[0] == "4":  # Visa
        return size in (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720:  # Mastercard
        return size == 16
    if two in (34, 37):  # American Express
        return size == 15
    if four == 6011 or two == 65 or 644 <= int(digits[:3]) <= 649 or 3528 <= four <= 3589:
        return 16 <= size <= 19  # Discover, JCB
    if two in (36, 38, 39) or 300 <= int(digits[:3]) <= 305:  # Diners Club
        return size in (14, 16)
    if two == 62:  # UnionPay
        return 16 <= size <= 19
    return 2200 <= four <= 2204 and size == 16  # Mir
