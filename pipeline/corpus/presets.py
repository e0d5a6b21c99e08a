"""Lists of steps that have a name: published recipes, and two of our own.

The recipes keep the order in which their authors apply the rules, since the first objection is the
reason of record. Language identification, deduplication and personal data are steps of their own.
"""

from collections.abc import Mapping

from pipeline.corpus.filters.alphabet import AlphabetFilter
from pipeline.corpus.filters.base import Step
from pipeline.corpus.filters.c4 import C4Filter
from pipeline.corpus.filters.fineweb import FineWebFilter
from pipeline.corpus.filters.gopher_quality import GopherQualityFilter
from pipeline.corpus.filters.gopher_repetition import GopherRepetitionFilter
from pipeline.corpus.filters.han import HanFilter
from pipeline.corpus.filters.length import LengthFilter
from pipeline.corpus.filters.repetition import RepetitionFilter
from pipeline.corpus.rewrites.c4_lines import C4LinesRewrite

GOPHER: tuple[Step, ...] = (GopherRepetitionFilter(), GopherQualityFilter())
"""Rae et al. 2021, section A.1 and table A1; English."""

C4: tuple[Step, ...] = (C4LinesRewrite(require_terminal_mark=True), C4Filter())
"""Raffel et al. 2020, section 2.2, without its list of bad words; English."""

FINEWEB: tuple[Step, ...] = (*GOPHER, C4LinesRewrite(), C4Filter(), FineWebFilter())
"""Penedo et al. 2024, section 3: Gopher, C4 without its terminal marks, and rules of its own."""

# FineWeb-2 (Penedo et al. 2025), fineweb-2-pipeline.py: what it leaves out for all languages.
_NO_PARAGRAPHS = {
    "max_duplicate_paragraphs": 1.0,
    "max_duplicate_paragraph_chars": 1.0,
    "max_duplicate_line_chars": 1.0,
}
_FINEWEB2_LINES = {"max_short_lines": 1.0, "max_duplicate_line_chars": 0.1}

FINEWEB2_ZH: tuple[Step, ...] = (
    HanFilter(),
    # FineWeb-2 configs/cmn_Hani.yml, where a word is jieba's; here it is a character, so that no
    # rule presumes spaces. On 1,228 Chinese manual pages this filter decides alike for both in
    # 95 %; bounds for longer runs of characters, or looser ones, came no closer (94.5 to 95 %).
    GopherRepetitionFilter(
        **_NO_PARAGRAPHS,
        max_duplicate_lines=0.287,
        max_top_grams=(0.256, 0.201, 0.171),
        max_duplicate_grams=(0.198, 0.182, 0.167, 0.154, 0.140, 0.127),
    ),
    FineWebFilter(**_FINEWEB2_LINES, min_terminal_lines=0.106, max_newlines=0.178),
    GopherQualityFilter(
        min_mean_word_chars=1,
        max_mean_word_chars=5,
        min_alpha_tokens=0.735,
        stop_words=tuple("的年在月是和日了於·為有被人中为他與後也而由"),
    ),
)
"""FineWeb-2 for Chinese, simplified and traditional."""

FINEWEB2_JA: tuple[Step, ...] = (
    HanFilter(min_kana=0.05),  # guess: Japanese prose has 0.4 to 0.6, Chinese none
    # FineWeb-2 configs/jpn_Jpan.yml, where a word is SudachiPy's; here it is a character.
    GopherRepetitionFilter(
        **_NO_PARAGRAPHS,
        max_duplicate_lines=0.375,
        max_top_grams=(0.121, 0.129, 0.145),
        max_duplicate_grams=(0.307, 0.283, 0.264, 0.248, 0.234, 0.223),
    ),
    FineWebFilter(**_FINEWEB2_LINES, min_terminal_lines=0.167, max_newlines=0.162),
    GopherQualityFilter(
        min_mean_word_chars=1,
        max_mean_word_chars=5,
        min_alpha_tokens=0.759,
        stop_words=tuple("のにをはたてがとで年し・月れさ"),
    ),
)
"""FineWeb-2 for Japanese."""

GENERIC: tuple[Step, ...] = (LengthFilter(), AlphabetFilter(), RepetitionFilter())
"""For any language and any kind of prose."""

DOCUMENTATION: tuple[Step, ...] = (
    LengthFilter(min_words=20),
    AlphabetFilter(),
    # Gopher's limits are for prose. API documentation repeats signatures and parameter lists: they
    # would drop two thirds of it, these keep seven tenths (looked at: what goes is generated).
    RepetitionFilter(
        max_duplicate_lines=0.5,
        max_duplicate_line_chars=0.4,
        max_duplicate_paragraphs=0.5,
        max_duplicate_paragraph_chars=0.4,
        max_top_grams=(0.30, 0.28, 0.26),
        max_duplicate_grams=(0.35, 0.34, 0.33, 0.32, 0.31, 0.30),
    ),
)
"""For technical documentation."""

PRESETS: Mapping[str, tuple[Step, ...]] = {
    "gopher": GOPHER,
    "c4": C4,
    "fineweb": FINEWEB,
    "fineweb2-zh": FINEWEB2_ZH,
    "fineweb2-ja": FINEWEB2_JA,
    "generic": GENERIC,
    "documentation": DOCUMENTATION,
}
"""What a step `{kind: rules, preset: NAME}` stands for."""
