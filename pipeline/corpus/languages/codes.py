"""Codes of languages: ISO 639-1 inside, whatever a source or a model calls them."""

import re

UNDETERMINED = "und"

# Codes from before ISO 639 changed them, and the two ways of writing Norwegian as one.
_RENAMED = {"iw": "he", "in": "id", "jw": "jv", "ji": "yi", "mo": "ro", "nb": "no", "nn": "no"}
# Wikipedia's codes, which lid.176 answers, where they differ from ISO's or are one of its dialects.
_WIKIPEDIA = {"als": "gsw", "bh": "bho", "eml": "egl", "arz": "ar", "azb": "az", "nn": "no",
              "wuu": "zh", "yue": "zh"}  # fmt: skip
# ISO 639-2 and 639-3 codes of languages that have two letters in 639-1, and codes of members of a
# macrolanguage that corpora use (cmn_Hani, arb_Arab).
_TWO_LETTERS = {
    "afr": "af", "alb": "sq", "amh": "am", "ara": "ar", "arb": "ar", "arm": "hy", "aze": "az",
    "azj": "az", "baq": "eu", "bel": "be", "ben": "bn", "bos": "bs", "bul": "bg", "bur": "my",
    "cat": "ca", "ces": "cs", "chi": "zh", "cmn": "zh", "cym": "cy", "cze": "cs", "dan": "da",
    "deu": "de", "dut": "nl", "ekk": "et", "ell": "el", "eng": "en", "epo": "eo", "est": "et",
    "eus": "eu", "fas": "fa", "fin": "fi", "fra": "fr", "fre": "fr", "geo": "ka", "ger": "de",
    "gle": "ga", "glg": "gl", "gre": "el", "guj": "gu", "hat": "ht", "hau": "ha", "heb": "he",
    "hin": "hi", "hrv": "hr", "hun": "hu", "hye": "hy", "ice": "is", "ind": "id", "isl": "is",
    "ita": "it", "jav": "jv", "jpn": "ja", "kan": "kn", "kat": "ka", "kaz": "kk", "khk": "mn",
    "khm": "km", "kir": "ky", "kor": "ko", "kur": "ku", "lao": "lo", "lat": "la", "lav": "lv",
    "lit": "lt", "lvs": "lv", "mac": "mk", "mal": "ml", "mar": "mr", "may": "ms", "mkd": "mk",
    "mlt": "mt", "mon": "mn", "msa": "ms", "mya": "my", "nep": "ne", "nld": "nl", "nno": "no",
    "nob": "no", "nor": "no", "npi": "ne", "ori": "or", "ory": "or", "pan": "pa", "pbt": "ps",
    "per": "fa", "pes": "fa", "plt": "mg", "pol": "pl", "por": "pt", "pus": "ps", "ron": "ro",
    "rum": "ro", "rus": "ru", "sin": "si", "slk": "sk", "slo": "sk", "slv": "sl", "snd": "sd",
    "som": "so", "spa": "es", "sqi": "sq", "srp": "sr", "swa": "sw", "swe": "sv", "swh": "sw",
    "tam": "ta", "tel": "te", "tgk": "tg", "tgl": "tl", "tha": "th", "tur": "tr", "uig": "ug",
    "ukr": "uk", "urd": "ur", "uzb": "uz", "uzn": "uz", "vie": "vi", "wel": "cy", "xho": "xh",
    "ydd": "yi", "yid": "yi", "yor": "yo", "zho": "zh", "zsm": "ms", "zul": "zu",
}  # fmt: skip


def normal_code(language: str) -> str:
    """The code of a tag as sources write it: "zh-Hans_CN", "EN", "cmn_Hani" -> "zh", "en", "zh".

    "und" where the tag does not begin with a code of two or three letters ("Chinese", "?").
    """
    code = re.split(r"[-_.@]", language.strip().lower(), maxsplit=1)[0]
    if not (code.isascii() and code.isalpha() and 2 <= len(code) <= 3):
        return UNDETERMINED
    code = _TWO_LETTERS.get(code, code)
    return _RENAMED.get(code, code)


def code_of_label(label: str) -> str:
    """The code of a label of lid.176."""
    return _WIKIPEDIA.get(label, label)
