"""Special tokens added at the end: nothing before them moves, and transformers sees them too."""

import numpy as np
import pytest

from pipeline.store.errors import ConfigError
from pipeline.tokens.huggingface import write_huggingface
from pipeline.tokens.mixture import MixedOrder
from pipeline.tokens.order import SampleOrder
from pipeline.tokens.patterns import PATTERNS
from pipeline.tokens.tokenizer import (
    MASK,
    SPECIALS,
    Tokenizer,
    extends,
    with_more_specials,
    with_our_specials,
)

TEXT = "hidden <|mask|> and <|tool|> text"


@pytest.fixture
def plain():
    ranks = {bytes([i]): i for i in range(256)} | {b"th": 256, b"the": 257}
    return with_our_specials("test", PATTERNS["cl100k"], ranks)


def test_added_tokens_come_last_and_move_nothing(plain):
    more = with_more_specials(plain, ("<|tool|>", "[X]"), mask=True)
    assert more.vocab_size == plain.vocab_size + 3
    assert (more.mask, more.specials["<|tool|>"], more.specials["[X]"]) == (265, 266, 267)
    assert [getattr(more, role.strip("<|>")) for role in SPECIALS] == list(range(258, 265))
    assert more.encode(TEXT) == plain.encode(TEXT)  # text never becomes a special token
    assert more.decode([more.mask]) == MASK
    assert extends(more, plain) and not extends(plain, more)
    assert more.sha256 != plain.sha256
    assert with_more_specials(plain, (), mask=False) == plain


def test_sentinels_are_numbered_tokens_after_the_mask(plain, tmp_path):
    more = with_more_specials(plain, ("<|tool|>",), mask=True, sentinels=3)
    assert more.sentinels == (266, 267, 268) and more.specials["<|tool|>"] == 269
    assert plain.sentinels == () and extends(more, plain)
    assert [more.decode([i]) for i in more.sentinels] == [f"<extra_id_{n}>" for n in range(3)]
    assert more.encode("a <extra_id_0>") == plain.encode("a <extra_id_0>")  # text stays text
    more.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.sentinels == more.sentinels
    grown = with_more_specials(again, (), mask=False, sentinels=5)  # those that are there stay
    assert grown.sentinels == (266, 267, 268, 270, 271) and extends(grown, again)
    transformers = pytest.importorskip("transformers")
    write_huggingface(more, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs("the <extra_id_1>the").input_ids == [257, 267, 257]
    assert set(theirs.all_special_ids) >= set(more.sentinels)


def test_a_tokenizer_that_means_something_else_extends_nothing(plain):
    other = with_our_specials("test", plain.pattern, {**plain.ranks, b"a ": 258})
    assert not extends(other, plain)
    moved = Tokenizer("test", plain.pattern, plain.ranks,
                      {**plain.specials, "<|eos|>": 270}, plain.roles)  # fmt: skip
    assert not extends(moved, plain)


def test_saved_and_loaded_it_keeps_its_mask(plain, tmp_path):
    with_more_specials(plain, ("<|tool|>",), mask=True).save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.has_mask and again.mask == 265 and again.specials["<|tool|>"] == 266


def test_a_tokenizer_without_mask_says_how_to_get_one(plain):
    assert not plain.has_mask
    with pytest.raises(ConfigError, match="tokenizer.mask"):
        _ = plain.mask


@pytest.mark.parametrize("text", ["<|eos|>", "the", "", "two words", "tab\t", "é", "\ud800"])
def test_tokens_that_are_there_or_cannot_be_are_refused(plain, text):
    with pytest.raises(ConfigError, match="special token"):
        with_more_specials(plain, (text,), mask=False)


def test_transformers_knows_the_mask_and_the_two_around_a_text(plain, tmp_path):
    transformers = pytest.importorskip("transformers")
    ours = with_more_specials(plain, ("<|tool|>",), mask=True)
    write_huggingface(ours, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (theirs.mask_token_id, theirs.cls_token_id, theirs.sep_token_id) == (
        ours.mask, ours.bos, ours.eos,
    )  # fmt: skip
    assert theirs.encode("<|tool|>") == [ours.specials["<|tool|>"]]
    assert theirs.encode("the <|mask|>")[-1] == ours.mask


def test_epochs_count_how_often_a_sample_was_seen():
    order = SampleOrder(3, 7)
    assert order.epochs(5, 12).tolist() == [0] * 2 + [1] * 7 + [2] * 3
    mixed = MixedOrder(3, ("a", "b"), (0, 4, 10), (2.0, 1.0))
    seen: dict[int, int] = {}
    for sample, epoch in zip(mixed.ids(0, 60), mixed.epochs(0, 60), strict=True):
        assert epoch == seen.get(int(sample), 0)
        seen[int(sample)] = seen.get(int(sample), 0) + 1
    assert np.array_equal(mixed.epochs(0, 60)[17:40], mixed.epochs(17, 23))
