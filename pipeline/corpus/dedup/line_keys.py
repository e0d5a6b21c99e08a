"""The lines or paragraphs of a batch as hashes and byte spans, for finding repeats elsewhere."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus.arrow_arrays import number_array
from pipeline.corpus.dedup.settings import RepeatedLines
from pipeline.corpus.kernels.compiled import kernel
from pipeline.corpus.word_kernel import mixed

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

_STEP = 0x9FB21C651E98DF25  # odd


def lines_of(data: U8, offsets: I64, config: RepeatedLines) -> dict[str, pa.Array]:
    """Columns `lines`, `line_spans` and `visible_lines` of N documents.

    A span runs from the first byte of the line to past its line break (a paragraph's: past the
    blank lines that follow), counted from the start of its document.
    """
    num_breaks = int(np.count_nonzero(data[offsets[0] : offsets[-1]] == 0x0A))
    most = num_breaks + len(offsets)
    keys, spans = np.empty(most, np.uint64), np.empty((most, 2), np.int64)
    bounds, visible = np.empty(len(offsets), np.int64), np.empty(len(offsets) - 1, np.int64)
    by_paragraph = config.unit == "paragraph"
    found = hash_lines(data, offsets, by_paragraph, config.min_chars, keys, spans, bounds, visible)
    return {
        "lines": pa.LargeListArray.from_arrays(number_array(bounds), number_array(keys[:found])),
        "line_spans": pa.LargeListArray.from_arrays(
            number_array(2 * bounds), number_array(spans[:found].ravel())
        ),
        "visible_lines": number_array(visible),
    }


@kernel
def hash_lines(
    data: U8,
    offsets: I64,
    by_paragraph: bool,
    min_chars: int,
    keys: U64,
    spans: I64,
    bounds: I64,
    visible: I64,
) -> int:
    """Fill keys (L,), spans (L, 2), bounds (N + 1,), visible (N,); gives L.

    ASCII white space counts as one space inside and as nothing at the ends.
    """
    step = np.uint64(_STEP)
    found = 0
    for document in range(len(offsets) - 1):
        bounds[document] = found
        visible[document] = 0
        at, end = offsets[document], offsets[document + 1]
        while at < end:
            begin = at
            value = np.uint64(0)
            chars = 0
            pending = False
            blank_seen = False
            while at < end:
                look = at
                while look < end and data[look] <= 0x20 and data[look] != 0x0A:
                    look += 1
                is_blank = look == end or data[look] == 0x0A
                if by_paragraph and blank_seen and not is_blank:
                    break
                blank_seen = blank_seen or (is_blank and chars > 0)
                while at < end and data[at] != 0x0A:
                    byte = data[at]
                    at += 1
                    if byte <= 0x20:
                        pending = True
                        continue
                    if pending and chars:
                        value = mixed((value + np.uint64(0x20)) * step)
                        chars += 1
                    pending = False
                    value = mixed((value + np.uint64(byte)) * step)
                    chars += byte & 0xC0 != 0x80
                pending = True
                at += at < end  # the line break
                if not by_paragraph:
                    break
            visible[document] += chars > 0
            if chars >= min_chars:
                keys[found] = mixed(value + np.uint64(chars))
                spans[found, 0] = begin - offsets[document]
                spans[found, 1] = at - offsets[document]
                found += 1
    bounds[len(offsets) - 1] = found
    return found
