"""Which language each document is in, offline and the same on every machine.

    batch -> first 1,000 characters -> bytes per script -> a script of one language: that language
                                                        -> Latin, Cyrillic, Arabic, ...: lid.176
Han without Kana is Chinese, with Kana Japanese. fastText's lid.176 tells apart the languages that
share a script, and answers with one that is written in the text's script. A document's own metadata
`language` wins over both. Nothing is downloaded.

Legend: N documents, S scripts, L labels of lid.176.
"""

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.corpus.document import TextBatch, metadata_column
from pipeline.corpus.languages.codes import UNDETERMINED, code_of_label, normal_code
from pipeline.corpus.languages.lid176 import load_lid176
from pipeline.corpus.languages.probabilities import probabilities
from pipeline.corpus.languages.scripts import (
    ALSO_LATIN,
    LABELS_OF_OTHER_SCRIPTS,
    LABELS_OF_SCRIPT,
    LANGUAGE_OF_SCRIPT,
    SCRIPTS,
    scan_scripts,
)

HEAD_CHARS = 1_000
"""A run of one character, such as a drawn line, counts as one of them."""
MIN_LETTER_BYTES = 6
"""Two Han characters or six Latin letters; with fewer, no language is claimed. A guess."""
MIN_SCORE = 0.2
"""Below it the answer is "und". A guess: lists of commands and random letters get about as much."""
MIN_KANA_SHARE = 0.08
"""Of the bytes of Han and Kana together; Japanese prose has 0.4 and more, Chinese text that names
a Japanese word stays below. A guess; benchmarks/language.py shows how it does."""
_HAN, _KANA, _NONE = SCRIPTS.index("Han"), SCRIPTS.index("Kana"), SCRIPTS.index("none")


@dataclass(frozen=True)
class Languages:
    """The languages of N documents."""

    codes: list[str]
    """ISO 639-1 ("en", "zh"), ISO 639-3 where a language has no two letters, or "und"."""
    scores: npt.NDArray[np.float32]
    """(N,) share of the letters' bytes in the main script, times the probability that lid.176 gives
    this language among those of the script; 0 for "und", 1 where the source gave the language."""
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
    sizes[:, _HAN], sizes[:, _KANA], sizes[:, _NONE] = cjk, 0, 0
    main = sizes.argmax(axis=1)
    scores = (sizes.max(axis=1) / np.maximum(letters, 1)).astype(np.float32)
    codes = [UNDETERMINED] * len(batch)
    open_rows = []
    for i, row in enumerate(main.tolist()):
        if letters[i] < MIN_LETTER_BYTES:
            scores[i] = 0
        elif row == _HAN:
            codes[i] = "ja" if japanese[i] else "zh"
        elif (code := LANGUAGE_OF_SCRIPT.get(SCRIPTS[row])) is not None:
            codes[i] = code
        else:
            open_rows.append(i)
    if open_rows:
        rows = np.array(open_rows)
        found, sure = _by_lid176(batch.data, batch.offsets[rows], ends[rows], main[rows])
        scores[rows] *= sure
        scores[rows] = np.where(scores[rows] < MIN_SCORE, 0, scores[rows])
        for i, code in zip(open_rows, found, strict=True):
            codes[i] = code if scores[i] else UNDETERMINED
    told = forms.sum(axis=1)
    chinese = np.array([code == "zh" for code in codes], bool)
    traditional = np.full(len(batch), np.nan, np.float32)
    np.divide(forms[:, 1], told, out=traditional, where=chinese & (told > 0), casting="same_kind")
    return Languages(codes, scores, traditional)


def _by_lid176(
    data: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    main: npt.NDArray[np.int64],
) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Codes and probabilities of the best label among those of each text's main script."""
    model = load_lid176()
    shares = probabilities(model, data, starts, ends) * _allowed()[main]  # (N, L)
    best = shares.argmax(axis=1)
    sure = shares.max(axis=1) / np.maximum(shares.sum(axis=1), np.finfo(np.float32).tiny)
    return [code_of_label(model.labels[label]) for label in best.tolist()], sure


@functools.cache
def _allowed() -> npt.NDArray[np.bool_]:
    """(S, L) which labels a text in that script may have."""
    elsewhere = LABELS_OF_OTHER_SCRIPTS.union(*LABELS_OF_SCRIPT.values()) - ALSO_LATIN
    labels = load_lid176().labels
    latin = frozenset(labels) - elsewhere
    return np.array(
        [
            [label in LABELS_OF_SCRIPT.get(script, latin) for label in labels]
            for script in SCRIPTS
        ]
    )  # fmt: skip


def _with_given(found: Languages, batch: TextBatch) -> Languages:
    """`found`, but for documents whose metadata names a language."""
    codes, scores = list(found.codes), found.scores.copy()
    for i, given in enumerate(metadata_column(batch, "language")):
        if given is not None and (code := normal_code(given)) != UNDETERMINED:
            codes[i], scores[i] = code, 1.0
    return Languages(codes, scores, found.traditional)
