"""Our reasons and those of datatrove 0.10.1 for the same decisions, for benchmarks to compare."""

from collections.abc import Mapping

PEER_REASONS: Mapping[str, str] = {
    "gopher_repetition.empty": "empty",
    "gopher_repetition.duplicate_paragraphs": "dup_para_frac",
    "gopher_repetition.duplicate_paragraph_chars": "dup_para_char_frac",
    "gopher_repetition.duplicate_lines": "dup_line_frac",
    "gopher_repetition.duplicate_line_chars": "dup_line_char_frac",
    **{f"gopher_repetition.top_{n}_gram": f"top_{n}_gram" for n in (2, 3, 4)},
    **{
        f"gopher_repetition.duplicate_{n}_gram": f"duplicated_{n}_n_grams"
        for n in (5, 6, 7, 8, 9, 10)
    },
    "gopher_quality.too_few_words": "gopher_short_doc",
    "gopher_quality.too_many_words": "gopher_long_doc",
    "gopher_quality.words_too_short": "gopher_below_avg_threshold",
    "gopher_quality.words_too_long": "gopher_above_avg_threshold",
    "gopher_quality.too_many_hashes": "gopher_too_many_hashes",
    "gopher_quality.too_many_ellipses": "gopher_too_many_ellipsis",
    "gopher_quality.too_many_bullet_lines": "gopher_too_many_bullets",
    "gopher_quality.too_many_ellipsis_lines": "gopher_too_many_end_ellipsis",
    "gopher_quality.too_few_alpha_tokens": "gopher_below_alpha_threshold",
    "gopher_quality.too_few_stop_words": "gopher_enough_stop_words",
    "c4.lorem_ipsum": "lorem_ipsum",
    "c4.curly_bracket": "curly_bracket",
    "c4.too_few_sentences": "too_few_sentences",
    "fineweb.empty": "empty",
    "fineweb.too_few_terminal_lines": "line_punct_ratio",
    "fineweb.too_many_short_lines": "short_line_ratio",
    "fineweb.duplicate_line_chars": "char_dup_ratio",
    "fineweb.too_many_newlines": "list_ratio",
}
"""Name of our step and reason -> the reason that datatrove's filter gives."""
