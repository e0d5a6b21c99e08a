"""Texts on which tokenizers are known, or likely, to differ: what a faster engine is tried on.

Case pairs that fold strangely, digits that are not ASCII, every kind of space, marks, joiners,
scripts without spaces, special tokens as text, long runs; then pairs and a walk through Unicode.
"""

import functools
from itertools import product

_SINGLE = (
    "", " ", "\n", "\r\n", "\x00", "\ufeff", "\u3000", "\xa0", "\u200b", "\u2028\u2029",
    "<|endoftext|>", "x<|endoftext|>y <|bos|><|user|>hi<|end|><|eos|>", "<|fim_prefix|>",
    "I'LL don't we'Ve 'S 's 'ſ 'ı they'rE it’s '\u0131\u0307", "\t'more \x0b'll \x0c'd\x1c're",
    "  \n\n \r\n x\t \n", "a  b   c    d\n  e", "end  ", "\n\n\n", " \n \n ", "\r\r\n\n\r",
    "0 12 123 1234 12345 1234567890", "٠١٢٣ १२३४ Ⅷ ½ ² ³¹ 〇一二 ①②", "1a2b3c 1.5e-10 0xFF",
    "我们去公园散步，天气很好。Python语言的list很方便", "「引号」、《书名》——破折号…",
    "ひらがなカタカナ漢字ー",
    "한국어 텍스트입니다 ㄱㄴㄷ", "ภาษาไทยไม่มีช่องว่าง", "देवनागरी क्षत्रिय", "العربيّة مرحبًا", "שָׁלוֹם",
    "é e\u0301 ñ n\u0303 Å A\u030a \u0301 \u0301x", "ǅ ǈ ʰ ª º ﬁ ﬀ ß ẞ İstanbul ısı",
    "👩🏽‍🚀👨‍👩‍👧‍👦🏳️‍🌈🇩🇪☝️", "😀😀😀 a😀b 1😀2", "\U0010ffff\ue000\ufffd\ud7ff\ufdd0",
    "\u202eright to left\u202c \u00adsoft\u2060", "Ã¤Ã¶Ã¼ â€œmojibakeâ€\x9d",
    "\x7f\x1b[31mred\x1b[0m",
    "snake_case camelCase HTTPServer XMLHttp2 ABCdef", "a/b//c///d https://x.y/z?q=1&r=%20#f",
    "if (x==0){\n\treturn -1;\n}\n\n", "!!!???...---___***###", "$1,234.56 50% #tag @user",
    "\\n\\t\\u0041 \"quoted\" 'single' `tick`", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛 ℵ ℝ ℃", "\u0600\u06dd\u070f",
)  # fmt: skip
_PAIRED = " \n\r\t\x0b\x1c\x85\xa0\u2028\u3000'’aZſİß1٣½Ⅷ_-/.,!^我ひ한ไ\u0301\u200d\u093fأ😀"
_RUNS = ("a", "A", " ", "\n", "^", "1", "-", "我", "é", "\t", "\u3000", "ab", "a ", "' ", "\r\n")
_RUN = 1500
_STRIDE = 41  # of the walk through all code points: 27,000 of them


@functools.cache
def nasty_strings() -> tuple[bytes, ...]:
    """About 200 kB of texts as UTF-8, always the same."""
    pairs = "".join(f"{a}{b}x{b}{a}9{a}{a}{b}" for a, b in product(_PAIRED, _PAIRED))
    points = [p for p in range(1, 0x110000, _STRIDE) if not 0xD800 <= p < 0xE000]
    low = [chr(p) for p in range(1, 0x3100)]
    walk = "".join(f"a{chr(p)}B1{chr(p)} " for p in points[::4]) + "".join(low)
    runs = [piece * _RUN for piece in _RUNS]
    return tuple(text.encode() for text in (*_SINGLE, pairs, walk, *runs))
