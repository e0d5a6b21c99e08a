"""Which script the letters of a text belong to, counted in bytes by one compiled pass.

    UTF-8 bytes, offsets -> scan_scripts -> (N, S) bytes per script, (N,) ends of the heads

Bytes rather than letters, because a letter of Han says about as much as three of Latin and takes
three bytes: a Chinese manual full of English commands is still Chinese.

Legend: N documents, S scripts.
"""

import functools

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.compiled import kernel

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

# Unicode 15 blocks, first and last code point; a block's punctuation counts with its letters.
_BLOCKS: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = (
    ("none", ()),
    ("Latn", ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0xD6), (0xD8, 0xF6), (0xF8, 0x24F),
              (0x1E00, 0x1EFF), (0xFF21, 0xFF3A), (0xFF41, 0xFF5A))),
    ("Han", ((0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF),
             (0x20000, 0x323AF))),
    ("Kana", ((0x3041, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F),
              (0x1B000, 0x1B16F))),
    ("Hang", ((0x1100, 0x11FF), (0x3131, 0x318E), (0xA960, 0xA97F), (0xAC00, 0xD7FF))),
    ("Grek", ((0x370, 0x3FF), (0x1F00, 0x1FFF))),
    ("Cyrl", ((0x400, 0x52F), (0x1C80, 0x1C8F), (0x2DE0, 0x2DFF), (0xA640, 0xA69F))),
    ("Armn", ((0x531, 0x58F),)),
    ("Hebr", ((0x591, 0x5F4), (0xFB1D, 0xFB4F))),
    ("Arab", ((0x600, 0x6FF), (0x750, 0x77F), (0x8A0, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC))),
    ("Syrc", ((0x700, 0x74F),)),
    ("Thaa", ((0x780, 0x7BF),)),
    ("Deva", ((0x900, 0x97F), (0xA8E0, 0xA8FF))),
    ("Beng", ((0x980, 0x9FF),)),
    ("Guru", ((0xA00, 0xA7F),)),
    ("Gujr", ((0xA80, 0xAFF),)),
    ("Orya", ((0xB00, 0xB7F),)),
    ("Taml", ((0xB80, 0xBFF),)),
    ("Telu", ((0xC00, 0xC7F),)),
    ("Knda", ((0xC80, 0xCFF),)),
    ("Mlym", ((0xD00, 0xD7F),)),
    ("Sinh", ((0xD80, 0xDFF),)),
    ("Thai", ((0xE00, 0xE7F),)),
    ("Laoo", ((0xE80, 0xEFF),)),
    ("Tibt", ((0xF00, 0xFFF),)),
    ("Mymr", ((0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F))),
    ("Geor", ((0x10A0, 0x10FF), (0x1C90, 0x1CBF), (0x2D00, 0x2D2F))),
    ("Ethi", ((0x1200, 0x139F), (0x2D80, 0x2DDF))),
    ("Cher", ((0x13A0, 0x13FF), (0xAB70, 0xABBF))),
    ("Cans", ((0x1400, 0x167F),)),
    ("Khmr", ((0x1780, 0x17FF), (0x19E0, 0x19FF))),
    ("Mong", ((0x1800, 0x18AF),)),
)  # fmt: skip
SCRIPTS = tuple(name for name, _ in _BLOCKS)
"""(S,) names of the columns of a scan, after ISO 15924; "none" counts everything else."""

# Scripts that one language, or nearly one, is written in: the script decides.
LANGUAGE_OF_SCRIPT = {
    "Hang": "ko", "Grek": "el", "Armn": "hy", "Guru": "pa", "Gujr": "gu", "Orya": "or",
    "Taml": "ta", "Telu": "te", "Knda": "kn", "Mlym": "ml", "Sinh": "si", "Thai": "th",
    "Laoo": "lo", "Tibt": "bo", "Mymr": "my", "Geor": "ka", "Khmr": "km", "Thaa": "dv",
    "Cans": "iu", "Cher": "chr", "Syrc": "syr", "Mong": "mn", "Ethi": "am",
}  # fmt: skip

# Labels of lid.176 by script; what stands nowhere here is written in Latin letters.
LABELS_OF_SCRIPT = {
    "Cyrl": frozenset(
        "ru uk bg sr sh mk be kk tt ky ba mn ce tg cv mhr sah os lez myv mrj bxr kv krc av rue xal "
        "tyv".split()
    ),
    "Arab": frozenset("ar fa ur ug ckb arz azb pnb ps sd mzn lrc".split()),
    "Deva": frozenset("hi mr ne sa new gom bh mai dty".split()),
    "Beng": frozenset("bn as bpy".split()),
    "Hebr": frozenset("he yi".split()),
}
LABELS_OF_OTHER_SCRIPTS = frozenset(
    "ja zh wuu yue el ko th hy ta ka xmf te kn ml my si gu km bo pa or dv lo am".split()
)
ALSO_LATIN = frozenset({"sr", "sh"})

SIMPLIFIED, TRADITIONAL = np.uint8(1), np.uint8(2)
RUNS_UP_TO = 4
_TABLE_SIZE = 0x323B0  # one past the last assigned Han character, CJK extension H


@functools.cache
def script_table() -> U8:
    """(0x323B0,) the row in SCRIPTS of each code point."""
    table = np.zeros(_TABLE_SIZE, np.uint8)
    for row, (_, ranges) in enumerate(_BLOCKS):
        for first, last in ranges:
            table[first : last + 1] = row
    return table


@functools.cache
def variant_table() -> U8:
    """(0x323B0,) SIMPLIFIED, TRADITIONAL, or 0 for characters that both ways of writing use.

    The standards say which: GB 2312 (mainland, 1980) lists simplified characters, Big5 (Taiwan,
    1984) traditional ones. A character of one and not of the other belongs to that one.
    """
    table = np.zeros(_TABLE_SIZE, np.uint8)
    for code in range(0x4E00, 0xA000):
        simplified, traditional = _in(code, "gb2312"), _in(code, "big5")
        if simplified != traditional:
            table[code] = SIMPLIFIED if simplified else TRADITIONAL
    return table


def _in(code: int, encoding: str) -> bool:
    return bool(chr(code).encode(encoding, "ignore"))


def scan_scripts(data: U8, offsets: I64, head_chars: int) -> tuple[I64, I64, I64]:
    """((N, S) bytes per script, (N, 2) simplified and traditional characters, (N,) head ends).

    A document's head ends after `head_chars` characters, a run of equal ones counting as one: a
    line drawn with underscores says nothing about the language. It never goes beyond RUNS_UP_TO
    times as many. `data` must be UTF-8; document i is `data[offsets[i]:offsets[i + 1]]`.
    """
    return _scan(data, offsets, head_chars, script_table(), variant_table(), len(SCRIPTS))


@kernel
def _scan(
    data: U8, offsets: I64, head_chars: int, scripts: U8, variants: U8, num_scripts: int
) -> tuple[I64, I64, I64]:
    num_documents = len(offsets) - 1
    sizes = np.zeros((num_documents, num_scripts), np.int64)
    forms = np.zeros((num_documents, 2), np.int64)
    ends = np.zeros(num_documents, np.int64)
    for document in range(num_documents):
        position, end = offsets[document], offsets[document + 1]
        left, looked, previous = head_chars, RUNS_UP_TO * head_chars, np.int64(-1)
        while position < end and left > 0 and looked > 0:
            first = np.int64(data[position])
            if first < 0x80:
                code, size = first, 1
            elif first < 0xE0:
                code, size = first & 0x1F, 2
            elif first < 0xF0:
                code, size = first & 0x0F, 3
            else:
                code, size = first & 0x07, 4
            size = min(size, end - position)
            for k in range(1, size):
                code = (code << 6) | (np.int64(data[position + k]) & 0x3F)
            position += size
            looked -= 1
            if code != previous:
                left -= 1
                previous = code
            if code < len(scripts):
                sizes[document, scripts[code]] += size
                form = variants[code]
                if form:
                    forms[document, form - 1] += 1
        ends[document] = position
    return sizes, forms, ends
