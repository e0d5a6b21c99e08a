"""Span corruption: shares, that the pair gives the text back, and that layout changes nothing."""

import numpy as np
import pytest

from model.errors import ModelError
from model.objectives import (
    Arrays,
    RowKeys,
    SpanCorruption,
    Vocabulary,
    objective_for,
    objective_from_dict,
)
from model.objectives.spans import trimmed
from model.settings import settings_to_dict

BOS, EOS, PAD = 200, 201, 202
SENTINELS = tuple(range(210, 260))
WORDS = Vocabulary(260, (BOS, EOS, PAD, *SENTINELS), None, SENTINELS, BOS, EOS)


def rows(count: int, lengths: tuple[int, ...], length: int = 64, seed: int = 0) -> Arrays:
    """Rows of documents with bos and eos, of so many ordinary tokens; then padding."""
    rng = np.random.default_rng(seed)
    tokens = np.full((count, length), PAD, np.int64)
    segments, positions = np.zeros((2, count, length), np.int64)
    at = 0
    for number, size in enumerate(lengths, 1):
        part = slice(at, at + size + 2)
        tokens[:, part] = rng.integers(0, 200, (count, size + 2))
        tokens[:, at], tokens[:, at + size + 1] = BOS, EOS
        segments[:, part], positions[:, part] = number, np.arange(size + 2)
        at = part.stop
    assert at <= length
    mask = np.ones((count, length), np.float32)
    return {"inputs": tokens, "targets": np.roll(tokens, -1, 1), "loss_mask": mask,
            "segment_ids": segments, "positions": positions}  # fmt: skip


def keys(samples: range | list[int], epoch: int = 0, seed: int = 7) -> RowKeys:
    return RowKeys(seed, [epoch] * len(samples), list(samples))


def put_back(source: list[int], target: list[int]) -> list[int]:
    """The text that a pair was made of: each sentinel's span from the target into the source."""
    assert source[-1] == target[-1] == EOS
    spans: dict[int, list[int]] = {}
    for token in target[:-1]:
        if token in SENTINELS:
            assert token not in spans
            spans[token] = last = []
        else:
            last.append(token)
    assert list(spans) == list(SENTINELS[: len(spans)])  # numbered from 0, in order
    assert all(spans.values())
    text: list[int] = []
    for token in source[:-1]:
        text += spans.pop(token) if token in SENTINELS else [token]
    assert not spans
    return text


def pairs_of(made: Arrays, row: int) -> list[tuple[list[int], list[int]]]:
    found = []
    for number in range(1, int(made["source_segments"][row].max()) + 1):
        given = made["source_inputs"][row][made["source_segments"][row] == number].tolist()
        wanted = made["targets"][row][made["segment_ids"][row] == number].tolist()
        found.append((given, wanted or [EOS]))
    return found


@pytest.mark.parametrize("seed", range(40))
def test_source_and_target_give_the_text_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    length = int(rng.integers(8, 160))
    lengths, left = [], length
    while left >= 3:
        size = int(rng.integers(1, min(left - 2, int(rng.choice([2, 8, 200]))) + 1))
        lengths.append(size)
        left -= size + 2
    config = SpanCorruption(
        noise_share=float(rng.uniform(0.01, 0.5)), mean_span=float(rng.uniform(1, 6))
    )
    words = Vocabulary(460, (BOS, EOS, PAD, *range(210, 460)), None, tuple(range(210, 460)), BOS,
                       EOS)  # fmt: skip
    arrays = rows(3, tuple(lengths), length, seed)
    made = config.build(words)(arrays, keys(range(3)))
    for row in range(3):
        found = pairs_of(made, row)
        assert len(found) == len(lengths)
        for number, (given, wanted) in enumerate(found, 1):
            ordinary = arrays["inputs"][row][arrays["segment_ids"][row] == number][1:-1].tolist()
            with_ids = [SENTINELS[0] + t - 210 if t >= 210 else t for t in given]
            assert len(with_ids) <= len(ordinary) + 1
            spans: dict[int, list[int]] = {}
            for token in wanted[:-1]:
                if token >= 210:
                    spans[token] = last = []
                else:
                    last.append(token)
            text: list[int] = []
            for token in given[:-1]:
                text += spans.pop(token) if token >= 210 else [token]
            assert text == ordinary and not spans and given[-1] == wanted[-1] == EOS


def test_a_whole_row_loses_fifteen_percent_in_spans_of_three() -> None:
    arrays = rows(200, (126,), 128)
    made = SpanCorruption().build(WORDS)(arrays, keys(range(200)))
    starts, lengths = [], []
    for row in range(200):
        ((given, wanted),) = pairs_of(made, row)
        assert put_back(given, wanted) == arrays["inputs"][row][1:127].tolist()
        assert len(wanted) == 19 + 6 + 1  # round(0.15 * 126), round(19 / 3), the end
        assert len(given) == 126 - 19 + 6 + 1
        marks = [i for i, token in enumerate(wanted) if token >= SENTINELS[0]] + [len(wanted) - 1]
        lengths.extend((np.diff(marks) - 1).tolist())
        starts += [i for i, token in enumerate(given) if token >= SENTINELS[0]]
    assert np.mean(lengths) == pytest.approx(19 / 6) and min(lengths) == 1 and max(lengths) > 6
    # every place is as likely as another: means of 1,200 uniform places
    assert np.mean(starts) == pytest.approx(56.5, abs=3.0)


def test_teacher_forcing_is_the_true_target_behind_the_start() -> None:
    made = SpanCorruption().build(WORDS)(rows(6, (30, 24)), keys(range(6)))
    trained = made["loss_mask"] > 0
    assert np.array_equal(trained, made["segment_ids"] > 0)
    for row in range(6):
        for number in np.unique(made["segment_ids"][row][trained[row]]):
            here = made["segment_ids"][row] == number
            inputs, targets = made["inputs"][row][here], made["targets"][row][here]
            assert inputs[0] == BOS and targets[-1] == EOS
            assert np.array_equal(inputs[1:], targets[:-1])
            assert np.array_equal(made["positions"][row][here], np.arange(len(targets)))


def test_spans_are_dealt_to_documents_by_their_length() -> None:
    made = SpanCorruption().build(WORDS)(rows(3_000, (40, 10), 64), keys(range(3_000)))
    lost: list[list[int]] = [[], []]
    for row in range(3_000):
        for number, (_, wanted) in enumerate(pairs_of(made, row)):
            lost[number].append(sum(token < 200 for token in wanted))
    assert np.sum(lost) / 3_000 == pytest.approx(round(0.15 * 50), abs=0.3)
    assert np.mean(lost[0]) / np.mean(lost[1]) == pytest.approx(4.0, rel=0.15)


def test_a_sample_is_cut_alike_wherever_it_stands() -> None:
    arrays, objective = rows(8, (30, 24)), SpanCorruption().build(WORDS)
    whole = objective(arrays, keys(range(8)))
    for order in ([3], [7, 0, 3], [5, 6]):
        some = objective({k: v[order] for k, v in arrays.items()}, keys(order))
        for name, values in some.items():
            assert np.array_equal(values, whole[name][order]), name


def test_seed_epoch_and_sample_each_change_what_is_cut_out() -> None:
    arrays, objective = rows(1, (60,)), SpanCorruption().build(WORDS)
    first = objective(arrays, keys([0]))["targets"]
    assert np.array_equal(first, objective(arrays, keys([0]))["targets"])
    for other in (keys([1]), keys([0], epoch=1), keys([0], seed=8)):
        assert not np.array_equal(first, objective(arrays, other)["targets"])


def test_shapes_depend_on_the_length_alone_and_trimming_takes_padding_only() -> None:
    objective = SpanCorruption().build(WORDS)
    short, whole = rows(4, (9,)), rows(4, (62,))
    made = [objective(one, keys(range(4))) for one in (short, whole)]
    assert {n: v.shape for n, v in made[0].items()} == {n: v.shape for n, v in made[1].items()}
    for one in made:
        cut = trimmed(one)
        assert cut["source_inputs"].shape[1] % 8 == cut["inputs"].shape[1] % 8 == 0
        assert cut["source_inputs"].shape[1] < one["source_inputs"].shape[1]
        for name, values in cut.items():
            assert not one[name][:, values.shape[1] :].any()


def test_rows_of_padding_and_of_one_word_are_no_trouble() -> None:
    arrays = dict(rows(2, (1,), 8))
    arrays["segment_ids"] = arrays["segment_ids"].copy()
    arrays["segment_ids"][0] = 0
    made = SpanCorruption().build(WORDS)(arrays, RowKeys(7, [0, 0], [-1, 0]))
    assert made["loss_mask"][0].sum() == 0 and not made["source_segments"][0].any()
    word = int(arrays["inputs"][1, 1])
    assert pairs_of(made, 1) == [([SENTINELS[0], EOS], [SENTINELS[0], word, EOS])]


def test_documents_without_bos_and_eos_fit_too() -> None:
    tokens = np.arange(16).reshape(1, 16)
    arrays = {"inputs": tokens, "segment_ids": np.arange(1, 17).reshape(1, 16)}
    made = SpanCorruption(noise_share=0.5, mean_span=1.0).build(WORDS)(arrays, keys([0]))
    assert [put_back(*pair) for pair in pairs_of(made, 0)] == [[i] for i in range(16)]


def test_the_loaders_arrays_are_not_written() -> None:
    arrays = rows(4, (30, 24))
    before = {name: values.copy() for name, values in arrays.items()}
    SpanCorruption().build(WORDS)(arrays, keys(range(4)))
    assert all(np.array_equal(arrays[name], before[name]) for name in arrays)


def test_too_few_sentinels_and_bad_settings_are_refused() -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.sentinels"):
        SpanCorruption().build(Vocabulary(204, (BOS,), None))
    few = Vocabulary(260, (BOS, EOS, PAD, *SENTINELS), None, SENTINELS[:2], BOS, EOS)
    with pytest.raises(ModelError, match="up to 3 spans, the tokenizer has 2"):
        SpanCorruption().build(few)(rows(1, (60,)), keys([0]))
    with pytest.raises(ValueError, match="noise_share"):
        SpanCorruption(noise_share=0.6)
    with pytest.raises(ValueError, match="mean_span"):
        SpanCorruption(mean_span=0.5)


def test_objective_survives_json_and_is_the_pattern_s_own() -> None:
    changed = SpanCorruption(noise_share=0.3)
    assert objective_from_dict(settings_to_dict(changed)) == changed
    assert objective_for("encoder-decoder") == SpanCorruption()
