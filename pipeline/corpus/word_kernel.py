"""The words of UTF-8 text in one compiled pass over its bytes: about 400 MB/s a core.

`words.py` says what a word is; this is how they are found. All numbers a WordTable holds are
collected on the way, so the text is read once and no array per character is made.
"""

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.compiled import kernel

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

LETTERS, SPACELESS_LETTERS, VISIBLE, REPLACEMENTS, CODE_POINTS = range(5)
NUM_COUNTS = 5


@kernel
def mixed(value: np.uint64) -> np.uint64:
    """splitmix64's finaliser (Steele et al. 2014): every input bit reaches every output bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel
def scan_words(  # noqa: C901 - one pass with everything in registers is the point
    data: U8,
    offsets: I64,
    classes: U8,
    lower: U32,
    powers: U64,
    hashes: U64,
    chars: npt.NDArray[np.int32],
    begins: I64,
    bounds: I64,
    counts: I64,
) -> int:
    """Fill `hashes`, `chars`, `begins` (W,), `bounds` (N + 1,), `counts` (N, NUM_COUNTS); gives W.

    `data` is valid UTF-8, `offsets` (N + 1,) its documents. A hash is sum(letter_k * M^(K - k)) +
    length * M^K over the first K letters, K = min(length, len(powers) - 1), mixed;
    `powers` holds M^0, M^1, ... Classes: 0 other, 1 space, 2 digit, 3 letter, 4 letter of a script
    without spaces, 5 mark.
    """
    longest = len(powers) - 1
    multiplier = powers[1]
    last = np.int64(len(classes) - 1)
    found = -1
    for document in range(len(offsets) - 1):
        bounds[document] = found + 1
        previous = 0
        length = 0
        value = np.uint64(0)
        letters = spaceless = visible = replacements = num_chars = 0
        at = offsets[document]
        end = offsets[document + 1]
        while at < end:
            start = at
            first = data[at]
            if first < 0x80:
                code = np.int64(first)
                at += 1
            elif first < 0xE0:
                code = (np.int64(first & 0x1F) << 6) | (data[at + 1] & 0x3F)
                at += 2
            elif first < 0xF0:
                code = (
                    (np.int64(first & 0x0F) << 12)
                    | (np.int64(data[at + 1] & 0x3F) << 6)
                    | (data[at + 2] & 0x3F)
                )
                at += 3
            else:
                code = (
                    (np.int64(first & 0x07) << 18)
                    | (np.int64(data[at + 1] & 0x3F) << 12)
                    | (np.int64(data[at + 2] & 0x3F) << 6)
                    | (data[at + 3] & 0x3F)
                )
                at += 4
            num_chars += 1
            if code == 0xFFFD:
                replacements += 1
            if code > last:
                code = last
            kind = classes[code]
            if kind != 1:
                visible += 1
            if kind >= 2:
                if kind == 3:
                    letters += 1
                elif kind == 4:
                    letters += 1
                    spaceless += 1
                if previous < 2 or kind == 4 or (previous == 4 and kind != 5):
                    if length:
                        tail = np.uint64(length) * powers[min(length, longest)]
                        hashes[found] = mixed(value + tail)
                        chars[found] = length
                    found += 1
                    begins[found] = start
                    length = 0
                    value = np.uint64(0)
                if length < longest:
                    value = (value + np.uint64(lower[code])) * multiplier
                length += 1
            previous = kind
        if length:
            tail = np.uint64(length) * powers[min(length, longest)]
            hashes[found] = mixed(value + tail)
            chars[found] = length
        counts[document, LETTERS] = letters
        counts[document, SPACELESS_LETTERS] = spaceless
        counts[document, VISIBLE] = visible
        counts[document, REPLACEMENTS] = replacements
        counts[document, CODE_POINTS] = num_chars
    bounds[len(offsets) - 1] = found + 1
    return found + 1
