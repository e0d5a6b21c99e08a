"""Which language each document is in, offline and the same on every machine.

    batch -> first 1,000 characters -> bytes per script -> a script of one language: that language
                                                        -> Latin, Cyrillic, Arabic, ...: CLD2
Han without Kana is Chinese, with Kana Japanese. CLD2 (Apache-2.0, its tables inside its wheel)
tells apart the languages that share a script; nothing is downloaded. A document's own metadata
`language` wins over both.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pycld2

from pipeline.corpus.document import TextBatch, metadata_column
from pipeline.corpus.languages.codes import UNDETERMINED, normal_code, own_code
from pipeline.corpus.languages.scripts import LANGUAGE_OF_SCRIPT, SCRIPTS, scan_scripts

HEAD_CHARS = 1_000
MIN_LETTER_BYTES = 6
"""Two Han characters or six Latin letters; with fewer, no language is claimed. A guess."""
MIN_KANA_SHARE = 0.08
"""Of the bytes of Han and Kana together; Japanese prose has 0.4 and more, Chinese text that names
a Japanese word stays below. A guess, see benchmarks/language.py for how it does."""
UNRELIABLE = 0.5
"""Factor on the score where CLD2 doubts itself. A guess."""
_HAN, _KANA, _NONE = SCRIPTS.index("Han"), SCRIPTS.index("Kana"), SCRIPTS.index("none")

_HINTS = {"Cyrl": "ru", "Arab": "ar", "Deva": "hi", "Beng": "bn", "Hebr": "iw", "Ethi": "am"}
# What CLD2 refuses: control characters, non-characters, unassigned planes.
_REFUSED = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff\U0001fffe-\U0001ffff"
    "\U0002fffe-\U0010ffff]"
)


@dataclass(frozen=True)
class Languages:
    """The languages of N documents."""

    codes: list[str]
    """ISO 639-1 ("en", "zh"), ISO 639-3 where a language has no two letters, or "und"."""
    scores: npt.NDArray[np.float32]
    """(N,) share of the letters, in bytes, that are in this language; halved where the identifier
    does not call its answer reliable; 0 for "und", 1 where the source gave the language."""
    traditional: npt.NDArray[np.float32]
    """(N,) of the characters that only one way of writing Chinese uses, the share of traditional
    ones; NaN where there are none or the text is not Chinese."""


def languages_of(batch: TextBatch) -> Languages:
    """The languages of the batch, found once per batch and shared by whoever asks."""
    # A cached_property by hand: TextBatch lies below this module and cannot name it.
    cache = batch.__dict__
    if "_languages" not in cache:
        cache["_languages"] = _with_given(identify(batch), batch)
    found: Languages = cache["_languages"]
    return found


def identify(batch: TextBatch, head_chars: int = HEAD_CHARS) -> Languages:
    """The languages by their text alone, whatever the sources say."""
    sizes, forms, ends = scan_scripts(batch.data, batch.offsets, head_chars)
    letters = sizes.sum(axis=1) - sizes[:, _NONE]  # (N,) bytes
    cjk = sizes[:, _HAN] + sizes[:, _KANA]
    japanese = sizes[:, _KANA] > MIN_KANA_SHARE * np.maximum(cjk, 1)
    # Han and Kana count as one script from here on, in the column of Han.
    joined = sizes.copy()
    joined[:, _HAN], joined[:, _KANA], joined[:, _NONE] = cjk, 0, 0
    main = joined.argmax(axis=1)
    share = joined.max(axis=1) / np.maximum(letters, 1)
    codes = [UNDETERMINED] * len(batch)
    scores = np.zeros(len(batch), np.float32)
    for i in np.flatnonzero(letters >= MIN_LETTER_BYTES).tolist():
        if main[i] == _HAN:
            codes[i], scores[i] = "ja" if japanese[i] else "zh", share[i]
        elif (code := LANGUAGE_OF_SCRIPT.get(SCRIPTS[main[i]])) is not None:
            codes[i], scores[i] = code, share[i]
        else:
            head = batch.data[batch.offsets[i] : ends[i]].tobytes()
            codes[i], scores[i] = _by_cld2(head, SCRIPTS[main[i]])
    told = forms.sum(axis=1)
    chinese = np.array([code == "zh" for code in codes], bool)
    with np.errstate(invalid="ignore"):
        traditional = np.where(chinese & (told > 0), forms[:, 1] / told, np.nan)
    return Languages(codes, scores, traditional.astype(np.float32))


def _by_cld2(head: bytes, script: str) -> tuple[str, float]:
    found = _detect(head)
    if found[2][0][1] == "un" and script in _HINTS:
        # Between neighbours such as Russian and Bulgarian it may not decide; then the language
        # with the most speakers is the better guess than none.
        found = _detect(head, hintLanguage=_HINTS[script])
        found = (False, *found[1:])
    is_reliable, _, (best, *_) = found
    code = own_code(best[1])
    if code == UNDETERMINED:
        return UNDETERMINED, 0.0
    return code, best[2] / 100 * (1.0 if is_reliable else UNRELIABLE)


def _detect(head: bytes, **hints: str) -> tuple[Any, ...]:
    """CLD2's (is_reliable, bytes, ((name, code, percent, score), ...)), best first."""
    found: tuple[Any, ...]
    try:
        found = pycld2.detect(head, isPlainText=True, bestEffort=True, **hints)
    except pycld2.error:
        text = _REFUSED.sub(" ", head.decode("utf-8", "replace"))
        found = pycld2.detect(text, isPlainText=True, bestEffort=True, **hints)
    return found


def _with_given(found: Languages, batch: TextBatch) -> Languages:
    """`found`, but for documents whose metadata names a language."""
    codes, scores = list(found.codes), found.scores.copy()
    for i, given in enumerate(metadata_column(batch, "language")):
        if given is not None and (code := normal_code(given)) != UNDETERMINED:
            codes[i], scores[i] = code, 1.0
    return Languages(codes, scores, found.traditional)
