"""Lists of steps that have a name: published recipes, and two of our own."""

from collections.abc import Mapping

from pipeline.corpus.filters.alphabet import AlphabetFilter
from pipeline.corpus.filters.base import Step
from pipeline.corpus.filters.length import LengthFilter
from pipeline.corpus.filters.repetition import RepetitionFilter

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

PRESETS: Mapping[str, tuple[Step, ...]] = {"generic": GENERIC, "documentation": DOCUMENTATION}
