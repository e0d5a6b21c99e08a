"""Bytes of a web page as text, by what it says about itself and what its bytes say.

Labels mean what browsers take them to mean (WHATWG Encoding Standard): `iso-8859-1` is
windows-1252, `gb2312` is gb18030.
"""

import codecs
import re
from dataclasses import dataclass

MAX_REPLACED = 0.01  # of the characters; guess: more is another encoding or no text at all
META_BYTES = 4096  # browsers look at 1,024; pages put long scripts before it
# WHATWG labels whose meaning differs from Python's codec of the name.
LABELS = {
    "iso-8859-1": "cp1252", "latin1": "cp1252", "latin-1": "cp1252", "l1": "cp1252",
    "us-ascii": "cp1252", "ascii": "cp1252", "windows-1252": "cp1252", "x-cp1252": "cp1252",
    "iso-8859-9": "cp1254", "iso-8859-11": "cp874", "tis-620": "cp874", "gb2312": "gb18030",
    "gb_2312-80": "gb18030", "gbk": "gb18030", "x-gbk": "gb18030", "chinese": "gb18030",
    "hz-gb-2312": "hz", "big5": "big5hkscs", "big5-hkscs": "big5hkscs", "x-x-big5": "big5hkscs",
    "shift_jis": "cp932", "shift-jis": "cp932", "sjis": "cp932", "x-sjis": "cp932",
    "windows-31j": "cp932", "euc-kr": "cp949", "ks_c_5601-1987": "cp949", "ksc5601": "cp949",
    "x-mac-roman": "mac_roman", "macintosh": "mac_roman", "utf-16": "utf-16-le",
    "unicode": "utf-16-le", "utf8": "utf-8", "x-unicode20utf8": "utf-8",
}  # fmt: skip
SEVEN_BIT = frozenset({"iso2022_jp", "iso2022_kr", "hz"})  # valid UTF-8, and yet something else
MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"),
         (codecs.BOM_UTF16_BE, "utf-16-be"))  # fmt: skip
_META = re.compile(
    rb"""<(?:meta\s[^>]{0,500}?charset|\?xml\s[^>]{0,200}?encoding)\s*=\s*["']?\s*([\w.:-]{1,40})""",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Decoded:
    """A page as text."""

    text: str
    encoding: str
    replaced: int
    """Characters that could not be decoded and are U+FFFD now."""

    @property
    def is_text(self) -> bool:
        """Whether nearly all of it could be decoded."""
        return self.replaced <= MAX_REPLACED * len(self.text)


def decode_page(data: bytes, declared: str | None = None) -> Decoded:
    """A page as text; `declared` is the charset of its HTTP header.

    A byte order mark wins, then valid UTF-8, then the header, then the page's own meta element,
    then windows-1252. What is valid in none of them is decoded with replacements.
    """
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return _replacing(data[len(mark) :], encoding)
    found = _META.search(data, 0, META_BYTES)
    labels = (declared, found[1].decode("ascii", "replace") if found else None)
    named = [codec for codec in map(codec_of, labels) if codec is not None]
    wide = [codec for codec in named if codec.startswith("utf-16") and b"\0" in data[:200]]
    escaped = [
        codec for codec in named if codec in SEVEN_BIT and (b"\x1b" in data or b"~{" in data)
    ]
    for codec in (*wide, *escaped, "utf-8", *named):
        try:
            return Decoded(data.decode(codec), codec, 0)
        except UnicodeError:
            continue
    return _replacing(data, named[0] if named else "cp1252")


def codec_of(label: str | None) -> str | None:
    """Python's codec for a charset label, None if nobody knows it."""
    if not label:
        return None
    plain = label.strip().strip("\"'").lower()
    try:
        codec = codecs.lookup(LABELS.get(plain, plain))
        "".encode(codec.name)  # refuses codecs that are not of text, `rot13` and `zlib`
    except (LookupError, ValueError):
        return None
    return codec.name


def _replacing(data: bytes, codec: str) -> Decoded:
    text = data.decode(codec, "replace")
    return Decoded(text, codec, text.count("\ufffd"))
