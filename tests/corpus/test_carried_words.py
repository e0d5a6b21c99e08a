"""Words named in the settings keep the short cut: a rewrite carries tokens, splitting none."""

import numpy as np

from pipeline.corpus.document import TextBatch
from pipeline.corpus.kernels.peer_words import OwnWords, SpacyWords
from pipeline.corpus.kernels.tokens import can_carry_tokens, own_tokens, tokens_of, words_by
from pipeline.corpus.rewrites.c4_lines import C4LinesRewrite

TEXTS = [
    "A line, kept whole [1] here.\nno\n  It's trimmed (twice).  ",
    "",
    "Der Rhein ist lang. 中文",
]


def test_own_words_from_the_settings_are_carried_through_a_rewrite() -> None:
    batch = TextBatch.of(TEXTS)
    with words_by(OwnWords().tokenise):
        tokens_of(batch)
        assert can_carry_tokens(batch)
        rewritten = C4LinesRewrite().apply(batch).batch
        carried, anew = tokens_of(rewritten), own_tokens(TextBatch.of(rewritten.texts))
    for name in ("starts", "ends", "bounds", "hashes", "chars", "flags"):
        np.testing.assert_array_equal(getattr(carried, name), getattr(anew, name), err_msg=name)


def test_words_of_another_kind_are_never_carried_by_our_rules() -> None:
    batch = TextBatch.of(TEXTS)
    tokens_of(batch)
    with words_by(SpacyWords().tokenise):
        assert not can_carry_tokens(batch)
