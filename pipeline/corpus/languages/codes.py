"""Codes of languages: ISO 639-1 inside, whatever tag a source or the identifier uses outside."""

import re

UNDETERMINED = "und"

# CLD2 keeps some codes from before ISO 639 changed them, and merges none of Norwegian's.
_RENAMED = {"iw": "he", "in": "id", "jw": "jv", "ji": "yi", "mo": "ro", "nb": "no", "nn": "no",
            "sh": "sr", "un": UNDETERMINED}  # fmt: skip
_JOKES = frozenset({"tlh", "zzp", "zzb", "zze", "zzh"})  # CLD2: Klingon, pig Latin, Bork, ...
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


def own_code(cld2: str) -> str:
    """The code of what CLD2 answers: its invented languages and script names are "und"."""
    if cld2 in _JOKES or cld2.startswith("xx"):
        return UNDETERMINED
    return normal_code(cld2)
