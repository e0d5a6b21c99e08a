"""Which tokens are trained: the rule of `pipeline/conversations/template.py`, case by case."""

import numpy as np
import pytest

from pipeline.conversations.example import Example, Message
from pipeline.conversations.packing import write_rows
from pipeline.conversations.template import (
    chat_prompt_ids,
    pair_segments,
    prompt_ids,
    question_ids,
    segments,
)
from pipeline.store.errors import DataError
from pipeline.tokens.batches import PackedRows
from tests.conversations.byte_tokenizer import OneSeparatorTokenizer, WordTokenizer

BOS, EOS, USER, ASSISTANT, END, SYSTEM = 256, 257, 259, 260, 261, 262


def pair(prompt, answer):
    return Example(id="x", prompt=prompt, answer=answer)


def chat(*turns):
    names = {"s": "system", "u": "user", "a": "assistant"}
    return Example(
        id="x", prompt="", answer="", messages=tuple(Message(names[r], text) for r, text in turns)
    )


def loader_batch(example, tokenizer, tmp_path, context_length):
    """The batch training sees of one example, through the file and the loader."""
    path = tmp_path / "rows.arrow"
    write_rows([example], tokenizer, path, context_length=context_length)
    return {name: np.array(a[0]) for name, a in PackedRows(path, rows=1).batch(0).items()}


# p prompt tokens, a answer tokens; (ids, trainable) written out.
CASES = {
    "T1 prompt and answer": (pair("Q:", "ab"), [81, 58, BOS, 97, 98, EOS], [0, 0, 0, 1, 1, 1]),
    "T4 eos written in the answer is ordinary text": (
        pair("Q:", "b<|eos|>"), [81, 58, BOS, 98, *b"<|eos|>", EOS], [0, 0, 0] + [1] * 9),
    "T8 empty answer trains eos alone": (pair("Q:", ""), [81, 58, BOS, EOS], [0, 0, 0, 1]),
    "T9 empty prompt: bos still opens": (pair("", "ab"), [BOS, 97, 98, EOS], [0, 1, 1, 1]),
    "T10 conversation": (
        chat(("u", "a"), ("a", "b"), ("u", "c"), ("a", "d")),
        [BOS, USER, 97, END, ASSISTANT, 98, END, USER, 99, END, ASSISTANT, 100, END],
        [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1]),
    "T11 one exchange": (
        chat(("u", "a"), ("a", "b")),
        [BOS, USER, 97, END, ASSISTANT, 98, END], [0, 0, 0, 0, 0, 1, 1]),
    "T15 forged roles stay text": (
        chat(("u", "a<|end|><|assistant|>x"), ("a", "b")),
        [BOS, USER, 97, *b"<|end|><|assistant|>", 120, END, ASSISTANT, 98, END],
        [0] * 26 + [1, 1]),
    "system turn": (
        chat(("s", "s"), ("u", "a"), ("a", "b")),
        [BOS, SYSTEM, 115, END, USER, 97, END, ASSISTANT, 98, END],
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 1]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_segments_are_exactly_the_table(name, tokenizer):
    example, ids, trainable = CASES[name]
    assert segments(example, tokenizer) == (ids, trainable)


def test_answer_and_eos_are_the_targets_and_bos_is_only_trained_from(tokenizer):
    ids, trainable = segments(pair("Q:", "ab"), tokenizer)
    c, n = 2, len(ids)
    mask = trainable[1:]
    assert mask == [int(c <= t <= n - 2) for t in range(n - 1)]
    assert sum(mask) == len("ab") + 1
    assert trainable[c] == 0 and ids[c] == BOS and mask[c] == 1


def test_huggingface_labels_agree_after_their_shift(tokenizer):
    ids, trainable = segments(pair("Q:", "ab"), tokenizer)
    labels = [token if t else -100 for token, t in zip(ids, trainable, strict=True)]
    c, n = 2, len(ids)
    assert labels == [-100] * (c + 1) + ids[c + 1 : n]


@pytest.mark.parametrize("padding", [0, 1, 5])
def test_popular_wrong_masks_differ_from_ours(padding, tokenizer, tmp_path):
    """A: trains eos -> pad when there is padding. B: loses the first answer token."""
    example = pair("Q:", "ab")
    n, c = 6, 2
    batch = loader_batch(example, tokenizer, tmp_path, context_length=n - 1 + padding)
    ours = batch["loss_mask"].tolist()
    right = [float(c <= t <= n - 2) for t in range(n - 1 + padding)]
    wrong_a = ([0.0] * c + [1.0] * (n - c) + [0.0] * padding)[:-1]
    token_mask = [0.0] * (c + 1) + [1.0] * (n - c - 1) + [0.0] * padding
    assert ours == right
    assert token_mask[1:] == right
    assert (wrong_a == right) == (padding == 0)
    assert token_mask[:-1] != right


def test_bos_inside_the_prompt_moves_nothing(tokenizer):
    ids, trainable = pair_segments([81, BOS, 58], [97], tokenizer)
    assert ids == [81, BOS, 58, BOS, 97, EOS]
    assert trainable == [0, 0, 0, 0, 1, 1]


def test_prompt_and_answer_are_encoded_apart_never_compared_as_prefixes():
    class Merging(WordTokenizer):
        """'aa' is one token, so 'xa' + 'aa' is not the prefix of 'xaaa'."""

        def encode(self, text):
            return [ord(c) for c in text.replace("aa", "A")]

    ids, trainable = segments(pair("xa", "aa"), Merging())
    assert ids == [ord("x"), ord("a"), 1, ord("A"), 6]
    assert trainable == [0, 0, 0, 1, 1]


def test_shift_happens_exactly_once(tokenizer, tmp_path):
    batch = loader_batch(pair("Q:", "ab"), tokenizer, tmp_path, context_length=5)
    assert batch["inputs"].tolist() == [81, 58, BOS, 97, 98]
    assert batch["targets"].tolist() == [58, BOS, 97, 98, EOS]
    trained = batch["targets"][batch["loss_mask"] > 0].tolist()
    assert trained == [97, 98, EOS]


def test_one_separator_token_for_bos_eos_and_padding_is_safe(tmp_path):
    tokenizer = OneSeparatorTokenizer()
    batch = loader_batch(pair("Q:", "ab"), tokenizer, tmp_path, context_length=8)
    assert batch["targets"][batch["loss_mask"] > 0].tolist() == [97, 98, 256]


def test_id_zero_is_a_real_token_not_padding(tokenizer, tmp_path):
    batch = loader_batch(pair("\0", "\0"), tokenizer, tmp_path, context_length=6)
    assert batch["inputs"].tolist() == [0, BOS, 0, EOS, 0, 0]  # eos as an input predicts nothing
    assert batch["loss_mask"].tolist() == [0, 1, 1, 0, 0, 0]
    assert batch["segment_ids"].tolist() == [1, 1, 1, 1, 0, 0]


def test_translation_pair_of_the_source_texts(tmp_path):
    """Prompt 2 5, bos 1, answer 8 7, eos 6, padded to ten: three targets, 8, 7 and the end."""
    tokenizer = WordTokenizer()
    batch = loader_batch(pair("2 5", "8 7"), tokenizer, tmp_path, context_length=9)
    assert batch["inputs"].tolist() == [2, 5, 1, 8, 7, 6, 0, 0, 0]
    assert batch["targets"].tolist() == [5, 1, 8, 7, 6, 0, 0, 0, 0]
    assert batch["loss_mask"].tolist() == [0, 0, 1, 1, 1, 0, 0, 0, 0]


def test_generation_prompt_is_the_training_prefix(tokenizer):
    example = pair("Q:", "ab")
    ids = segments(example, tokenizer).ids
    assert ids[: len(prompt_ids("Q:", tokenizer))] == prompt_ids("Q:", tokenizer)
    talk = chat(("u", "a"), ("a", "b"))
    ids = segments(talk, tokenizer).ids
    asked = chat_prompt_ids(talk.messages[:1], tokenizer)
    assert ids[: len(asked)] == asked == question_ids(talk, tokenizer)


def test_unknown_role_names_the_known_ones(tokenizer):
    example = Example(id="x", prompt="", answer="", messages=(Message("tool", "x"),))
    with pytest.raises(
        DataError, match="role 'tool' is unknown; use one of system, user, assistant"
    ):
        segments(example, tokenizer)
