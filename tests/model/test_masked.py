"""The masked-LM objective: shares, what is never chosen, and that layout changes nothing."""

import numpy as np
import pytest

from model.errors import ModelError
from model.objectives import (
    CausalLM,
    MaskedLM,
    RowKeys,
    Vocabulary,
    objective_for,
    objective_from_dict,
)
from model.settings import settings_to_dict

BOS, EOS, PAD, MASK = 200, 201, 202, 203
WORDS = Vocabulary(204, (BOS, EOS, PAD, MASK), MASK)


def rows(count, length=64, seed=0):
    """Rows of two documents with bos and eos, the last quarter padding."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 200, (count, length))
    segment_ids = np.ones((count, length), np.int64)
    middle, end = length // 2, length * 3 // 4
    tokens[:, 0] = tokens[:, middle] = BOS
    tokens[:, middle - 1] = tokens[:, end - 1] = EOS
    segment_ids[:, middle:] = 2
    segment_ids[:, end:] = 0
    tokens[:, end:] = PAD
    positions = np.tile(np.arange(length), (count, 1))
    mask = np.ones((count, length), np.float32)
    return {"inputs": tokens, "targets": np.roll(tokens, -1, 1), "loss_mask": mask,
            "segment_ids": segment_ids, "positions": positions}  # fmt: skip


def keys(samples, epoch=0, seed=7):
    return RowKeys(seed, [epoch] * len(samples), list(samples))


def test_fifteen_percent_are_chosen_of_ordinary_tokens_only():
    arrays = rows(50)
    masked = MaskedLM().build(WORDS)(arrays, keys(range(50)))
    chosen = masked["loss_mask"] > 0
    ordinary = (arrays["segment_ids"] > 0) & (arrays["inputs"] < 200)
    assert not (chosen & ~ordinary).any()
    assert (chosen.sum(1) == round(0.15 * 44)).all()
    assert np.array_equal(masked["targets"], arrays["inputs"])
    assert np.array_equal(masked["inputs"][~chosen], arrays["inputs"][~chosen])
    assert np.array_equal(masked["segment_ids"], arrays["segment_ids"])


def test_of_the_chosen_eighty_percent_are_hidden_ten_replaced_ten_kept():
    arrays = rows(4_000)
    masked = MaskedLM().build(WORDS)(arrays, keys(range(4_000)))
    chosen = masked["loss_mask"] > 0
    before, after = arrays["inputs"][chosen], masked["inputs"][chosen]
    hidden, kept = after == MASK, after == before
    replaced = ~hidden & ~kept
    assert after.max() == MASK and after[~hidden].max() < 200
    n = len(after)  # 28,000: three standard deviations are 0.007 and 0.005
    assert hidden.sum() / n == pytest.approx(0.8, abs=0.007)
    assert replaced.sum() / n == pytest.approx(0.1 * 199 / 200, abs=0.006)
    assert kept.sum() / n == pytest.approx(0.1 + 0.1 / 200, abs=0.006)


def test_predicted_names_the_chosen_positions_in_a_fixed_shape():
    masked = MaskedLM().build(WORDS)(rows(9), keys(range(9)))
    assert masked["predicted"].shape == (9, round(0.15 * 64))
    for row, mask in zip(masked["predicted"], masked["loss_mask"], strict=True):
        assert row[row >= 0].tolist() == np.flatnonzero(mask).tolist()


def test_a_sample_is_hidden_alike_wherever_it_stands():
    arrays, objective = rows(8), MaskedLM().build(WORDS)
    whole = objective(arrays, keys(range(8)))
    for order in ([3], [7, 0, 3], [5, 6]):
        some = objective({k: v[order] for k, v in arrays.items()}, keys(order))
        for name, values in some.items():
            assert np.array_equal(values, whole[name][order]), name


def test_seed_epoch_and_sample_each_change_what_is_hidden():
    arrays, objective = rows(1), MaskedLM().build(WORDS)
    first = objective(arrays, keys([0]))["loss_mask"]
    assert np.array_equal(first, objective(arrays, keys([0]))["loss_mask"])
    for other in (keys([1]), keys([0], epoch=1), keys([0], seed=8)):
        assert not np.array_equal(first, objective(arrays, other)["loss_mask"])


def test_rows_of_padding_and_of_one_word_are_no_trouble():
    arrays = rows(2)
    arrays["segment_ids"][0] = 0
    arrays["inputs"][1] = BOS
    arrays["inputs"][1, 5] = 17
    masked = MaskedLM().build(WORDS)(arrays, RowKeys(7, [0, 0], [-1, 0]))
    assert masked["loss_mask"][0].sum() == 0 and (masked["predicted"][0] == -1).all()
    assert np.flatnonzero(masked["loss_mask"][1]).tolist() == [5]


def test_the_loaders_arrays_are_not_written():
    arrays = rows(4)
    before = {name: values.copy() for name, values in arrays.items()}
    MaskedLM().build(WORDS)(arrays, keys(range(4)))
    assert all(np.array_equal(arrays[name], before[name]) for name in arrays)


def test_causal_rows_pass_as_they_are():
    arrays = rows(2)
    assert CausalLM().build(WORDS)(arrays, keys(range(2))) is arrays


def test_bad_settings_and_a_vocabulary_without_mask_are_refused():
    with pytest.raises(ValueError, match="more than 1"):
        MaskedLM(mask_share=0.9, random_share=0.2)
    with pytest.raises(ValueError, match="chosen_share"):
        MaskedLM(chosen_share=1.0)
    with pytest.raises(ModelError, match="tokenizer.mask"):
        MaskedLM().build(Vocabulary(204, (BOS,), None))


def test_each_pattern_of_attention_has_its_objective_and_survives_json():
    assert objective_for("causal") == CausalLM() and objective_for("bidirectional") == MaskedLM()
    changed = MaskedLM(chosen_share=0.3)
    assert objective_from_dict(settings_to_dict(changed)) == changed
