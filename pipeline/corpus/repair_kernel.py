"""One look at the bytes tells which texts a repair could change at all; most cannot be."""

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.compiled import kernel

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

NON_ASCII, SUSPICIOUS, NEIGHBOURS = 1, 2, 4
"""Flags: something beyond ASCII; a character some repair removes or replaces; two characters side
by side that garbled UTF-8 could have left."""


@kernel
def flag_texts(data: U8, offsets: I64, flags: U8) -> None:  # noqa: C901 - a list of byte ranges
    """Fill `flags` (N,) for the documents of UTF-8 text bounded by `offsets` (N + 1,).

    Suspicious: controls but tab and newline, U+0080 to U+009F, soft hyphen, zero-width and joining
    characters, line separators, bidi marks, byte order marks, non-characters, tags, surrogates, and
    the letters that mojibake leaves alone (U+00C2, U+00C3). Neighbours: both below U+3000 or above
    U+E000; no Han, Kana or Hangul comes out of garbled Western text.
    """
    for document in range(len(offsets) - 1):
        found = 0
        at, end = offsets[document], offsets[document + 1]
        after_one = False  # the character before could be half of a garbled pair
        while at < end:
            byte = data[at]
            if byte < 0x80:
                if byte == 0x7F or (byte < 0x20 and byte != 9 and byte != 10):
                    found |= SUSPICIOUS
                after_one = False
                at += 1
                continue
            found |= NON_ASCII
            second = data[at + 1]
            could_be = byte <= 0xE2 or byte == 0xEE or byte == 0xEF
            if could_be and after_one:
                found |= NEIGHBOURS
            after_one = could_be
            if byte < 0xE0:
                if byte == 0xC2 and (second < 0xA0 or second == 0xAD):
                    found |= SUSPICIOUS
                elif byte == 0xC3 and (second == 0x82 or second == 0x83):
                    found |= SUSPICIOUS
                at += 2
                continue
            third = data[at + 2]
            if byte == 0xE2:
                if second == 0x80 and (0x8B <= third <= 0x8F or 0xA8 <= third <= 0xAE):
                    found |= SUSPICIOUS
                elif second == 0x81 and 0xA0 <= third <= 0xAF:
                    found |= SUSPICIOUS
            elif byte == 0xED:
                if second >= 0xA0:
                    found |= SUSPICIOUS
            elif byte == 0xEF:
                # U+FDD0 to FDEF, U+FEFF, U+FFF9 to FFFB, U+FFFE, U+FFFF
                if second == 0xB7 and 0x90 <= third <= 0xAF:
                    found |= SUSPICIOUS
                elif second == 0xBB and third == 0xBF:
                    found |= SUSPICIOUS
                elif second == 0xBF and third >= 0xB9 and third != 0xBC and third != 0xBD:
                    found |= SUSPICIOUS
            elif byte >= 0xF0:
                if byte == 0xF3 and second == 0xA0 and third <= 0x81:
                    found |= SUSPICIOUS
                at += 1
            at += 3
        flags[document] = found
