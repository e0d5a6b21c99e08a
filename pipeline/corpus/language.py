"""Which language each document is in, offline and the same on every machine.

    batch -> first 1,000 characters -> bytes per script -> a script of one language: its share
                                    Latin, Cyrillic, ... -> its share times lid.176's probability
The larger score wins. Han without Kana is Chinese, with Kana Japanese. fastText's lid.176 tells
apart the languages that share a script, and answers with one that is written in the text's script.
A document's own metadata `language` wins over both. Nothing is downloaded.

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
_ALONE = {SCRIPTS.index(script): code for script, code in LANGUAGE_OF_SCRIPT.items()}
_HAN, _KANA, _NONE = SCRIPTS.index("Han"), SCRIPTS.index("Kana"), SCRIPTS.index("none")
_ALONE |= {_HAN: "zh"}
_STANDS_ALONE = np.array([row in _ALONE for row in range(len(SCRIPTS))])


@dataclass(frozen=True)
class Languages:
    """The languages of N documents."""

    codes: list[str]
    """ISO 639-1 ("en", "zh"), ISO 639-3 where a language has no two letters, or "und"."""
    scores: npt.NDArray[np.float32]
    """(N,) share of the letters' bytes in the language's script, times, where several languages
    share it, lid.176's probability of this one among them; 0 for "und", 1 where the source said."""
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
    shares = (sizes / np.maximum(letters, 1)[:, None]).astype(np.float32)  # (N, S)
    # The best script of those that stand for one language, and the main one of those that do not.
    alone, mixed = np.where(_STANDS_ALONE, shares, 0), np.where(_STANDS_ALONE, 0, shares)
    # A share times a probability is no larger than the share: only then can lid.176 win.
    contested = (letters >= MIN_LETTER_BYTES) & (mixed.max(axis=1) > alone.max(axis=1))
    rows = np.flatnonzero(contested)
    scores = np.where(letters >= MIN_LETTER_BYTES, alone.max(axis=1), np.float32(0))
    codes = [
        UNDETERMINED if not score else "ja" if row == _HAN and kana else _ALONE[row]
        for score, row, kana in zip(scores, alone.argmax(axis=1).tolist(), japanese, strict=True)
    ]
    if len(rows):
        main = mixed[rows].argmax(axis=1)
        found, sure = _by_lid176(batch.data, batch.offsets[rows], ends[rows], main)
        sure *= mixed[rows].max(axis=1)
        for i, code, score in zip(rows.tolist(), found, sure, strict=True):
            if score > scores[i]:
                codes[i], scores[i] = code, score
    for i in np.flatnonzero(scores < MIN_SCORE).tolist():
        codes[i], scores[i] = UNDETERMINED, 0
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
