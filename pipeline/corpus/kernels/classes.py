"""What kind of character a code point is: one table of bits for all kernels.

The sets are those of the tools whose decisions we follow: spaCy 3.8's English tokenizer (which
characters split off where) and datatrove 0.10 (what is a symbol, what ends a line). Facts only;
letters, symbols and numbers come from Unicode's own database.
"""

import functools
import re
import unicodedata

import numpy as np
import numpy.typing as npt

TABLE_SIZE = 0x33480  # past the last assigned letter, Unicode 15; beyond it no class holds

SPACE = 1 << 0  # str.isspace
ALPHA = 1 << 1  # a letter to the tokenizer's rules between letters
LOWER = 1 << 2  # lower case or without case
UPPER = 1 << 3  # upper case or without case
PREFIX = 1 << 4  # splits off at the front of a chunk
SUFFIX = 1 << 5  # splits off at its end
QUOTE = 1 << 6
PUNCT = 1 << 7  # a full stop after one of these splits off
ICON = 1 << 8  # splits off anywhere
LETTER = 1 << 9  # str.isalpha
SYMBOL = 1 << 10  # in datatrove's PUNCTUATION_SET: no word consists of these alone
PUNCTUATION = 1 << 11  # Unicode category P
SPACELESS = 1 << 12  # a character of a script without spaces: a token of its own
ENDS_SENTENCE = 1 << 13  # spaCy's sentencizer
TERMINAL = 1 << 14  # FineWeb: a line may end in it
CURRENCY = 1 << 15
DIGIT = 1 << 16  # ASCII
MARK = 1 << 17  # combines with the character before
HAN = 1 << 18
KANA = 1 << 19
INFIX = 1 << 20  # may split a chunk in its middle
DECIMAL = 1 << 21  # a decimal digit of any script
SIMPLIFIED = 1 << 22  # a Han character that only simplified Chinese uses
TRADITIONAL = 1 << 23  # one that only traditional Chinese uses

_PUNCT = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_QUOTES = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉\u2329\u232a⟦⟧"
_CURRENCY = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
_SYMBOLS = (
    "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
)
_SYMBOL_CONTROLS = ((0, 9), (11, 13), (13, 32), (127, 160))
# Marks that end a sentence in any script (spaCy's sentencizer has the first line's and these).
_ENDS_SENTENCE = (
    "!.?։؟۔܀܁܂߹।॥၊။።፧፨᙮᜵᜶᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᰻᰼᱾᱿‼‽⁇⁈⁉⸮⸼꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫"
    "﹒﹖﹗！．？𐩖𐩗𑁇𑁈𑂾𑂿𑃀𑃁𑅁𑅂𑅃𑇅𑇆𑇍𑇞𑇟𑈸𑈹𑈻𑈼𑊩𑑋𑑌𑗂𑗃𑗉𑗊𑗋𑗌𑗍𑗎𑗏𑗐𑗑𑗒𑗓𑗔𑗕𑗖𑗗𑙁𑙂𑜼𑜽𑜾𑩂𑩃𑪛𑪜𑱁𑱂𖩮𖩯𖫵𖬷𖬸𖭄𛲟𝪈｡。"
)
# FineWeb ends lines in these too.
_MORE_TERMINAL = (
    "\u061d\u061e\u0837\u0839\u083d\u083e\u17d4\u17d5\u17d6\u17d9\u17da\u1b7d\u1b7e\u2e53\u2e54"
    "\U00010f55\U00010f56\U00010f57\U00010f58\U00010f59\U00010f86\U00010f87\U00010f88\U00010f89"
    "\U00011944\U00011946\U00011ef7\U00011ef8\U00011f43\U00011f44\U00016e98"
)
_CASED_RANGES = (
    (0x41, 0x24F),  # Latin
    (0x250, 0x2AF),
    (0x370, 0x3FF),  # Greek
    (0x400, 0x4FF),  # Cyrillic
    (0x1D00, 0x1D9A),
    (0x1E00, 0x1EFF),
    (0x2C60, 0x2C7F),
    (0xA722, 0xA7FA),
    (0xAB30, 0xAB64),
    (0xFF21, 0xFF5A),
)
_UNCASED_RANGES = (
    (0x0591, 0x05F4),  # Hebrew
    (0x0620, 0x064A),  # Arabic and Persian
    (0x066E, 0x06D5),
    (0x06E5, 0x06FF),
    (0x0750, 0x077F),
    (0x08A0, 0x08BD),
    (0x0900, 0x09FF),  # Devanagari, Bengali
    (0x0B80, 0x0CFF),  # Tamil, Telugu, Kannada
    (0x0D80, 0x0DFF),  # Sinhala
    (0x1100, 0x11FF),  # Hangul
    (0x1200, 0x137F),  # Ethiopic
    (0x2E80, 0x2FFF),  # radicals
    (0x3000, 0x30FF),  # CJK marks, Kana
    (0x31C0, 0x31EF),
    (0x3200, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7AF),
    (0xF900, 0xFAFF),
    (0xFB1D, 0xFBB1),
    (0xFBD3, 0xFD3D),
    (0xFD50, 0xFDC7),
    (0xFDF0, 0xFDFB),
    (0xFE30, 0xFE4F),
    (0xFE70, 0xFEFC),
    (0x1F200, 0x1F2FF),
    (0x20000, 0x2FA1F),
)
SPACELESS_RANGES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # ideographic iteration mark, closing mark, zero
    (0x3041, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # Katakana extensions
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # half-width Katakana
    (0x1B000, 0x1B16F),  # Kana supplement
    (0x20000, 0x3347F),  # Han extensions
)
_HAN_RANGES = ((0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF))
_KANA_RANGES = ((0x3041, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F), (0x1B000, 0x1B16F))


@functools.cache
def char_classes() -> npt.NDArray[np.uint32]:
    """(TABLE_SIZE,) bits of every code point; built once per process in 0.04 s, read-only."""
    chars = "".join(map(chr, range(TABLE_SIZE)))
    names = "".join(map(unicodedata.category, chars)).encode()  # two letters each
    categories = np.frombuffer(names, np.uint8).reshape(TABLE_SIZE, 2)
    major = categories[:, 0]
    table = np.zeros(TABLE_SIZE, np.uint32)
    table[major == ord("L")] |= LETTER
    table[major == ord("M")] |= MARK
    table[major == ord("P")] |= PUNCTUATION
    table[[match.start() for match in re.finditer(r"\s", chars)]] |= SPACE  # as str.isspace does
    table[_is(categories, "Nd")] |= DECIMAL
    table[_is(categories, "So")] |= ICON | PREFIX | SUFFIX
    _add_letters(table, categories)
    _add(table, _PUNCT, PUNCT | PREFIX | SUFFIX)
    _add(table, _QUOTES, QUOTE | PREFIX | SUFFIX)
    _add(table, _CURRENCY, CURRENCY | PREFIX)
    _add(table, "§%=", PREFIX)
    _add(table, "—–", PREFIX | SUFFIX)
    _add(table, "|", PUNCT)
    _add(table, _SYMBOLS, SYMBOL)
    for first, last in _SYMBOL_CONTROLS:
        table[first:last] |= SYMBOL
    _add(table, _ENDS_SENTENCE, ENDS_SENTENCE | TERMINAL | SYMBOL)
    _add(table, _MORE_TERMINAL, TERMINAL | SYMBOL)
    table[(table & ICON) != 0] |= INFIX
    _add(table, "….,+-*^–—~:<>=/", INFIX)
    table[ord("0") : ord("9") + 1] |= DIGIT
    _add_ways_of_writing(table)
    table.flags.writeable = False
    return table


def _add_ways_of_writing(table: npt.NDArray[np.uint32]) -> None:
    """GB 2312 was made for simplified Chinese, Big5 for traditional: what only one of them has."""
    han = "".join(map(chr, range(0x4E00, 0xA000)))
    simplified, traditional = (
        set(han.encode(standard, "ignore").decode(standard)) for standard in ("gb2312", "big5")
    )
    _add(table, "".join(simplified - traditional), SIMPLIFIED)
    _add(table, "".join(traditional - simplified), TRADITIONAL)


def _add(table: npt.NDArray[np.uint32], chars: str, bits: int) -> None:
    table[[ord(char) for char in chars]] |= bits


def _is(categories: npt.NDArray[np.uint8], name: str) -> npt.NDArray[np.bool_]:
    return (categories == np.frombuffer(name.encode(), np.uint8)).all(axis=1)


def _add_letters(table: npt.NDArray[np.uint32], categories: npt.NDArray[np.uint8]) -> None:
    cased = np.zeros(TABLE_SIZE, np.bool_)
    for first, last in _CASED_RANGES:
        cased[first : last + 1] = True
    table[cased & _is(categories, "Ll")] |= ALPHA | LOWER
    table[cased & _is(categories, "Lu")] |= ALPHA | UPPER
    for first, last in _UNCASED_RANGES:
        table[first : last + 1] |= ALPHA | LOWER | UPPER
    for ranges, bits in (
        (SPACELESS_RANGES, SPACELESS),
        (_HAN_RANGES + ((0x20000, 0x3347F),), SPACELESS | HAN),
        (_KANA_RANGES, SPACELESS | KANA),
    ):
        for first, last in ranges:
            block = table[first : last + 1]
            block[(block & LETTER) != 0] |= bits
