"""Codes of languages: ISO 639-1 inside, whatever a source or a model calls them."""

import re

UNDETERMINED = "und"
# ISO 639-1; anything else of two letters ("go", "js") is no language of people.
TWO_LETTERS = frozenset(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy "
    "da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu "
    "hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb "
    "lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om "
    "or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw "
    "ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu".split()
)
_ALSO_FOUND = frozenset({"sh"})
"""A label of lid.176 that ISO 639-1 has withdrawn; as a tag in data it means a shell script."""

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


def checked_code(language: str) -> str:
    """The code of a language that a user names; ValueError for what is none ("English", "jp")."""
    code = normal_code(language)
    known = code in TWO_LETTERS | _ALSO_FOUND or len(code) == 3
    if not known or (code == UNDETERMINED and language != UNDETERMINED):
        raise ValueError(
            f"{language!r} is no ISO 639 language code such as en, zh, ja; und is what could not "
            "be told"
        )
    return code


def code_of_label(label: str) -> str:
    """The code of a label of lid.176."""
    return _WIKIPEDIA.get(label, label)
