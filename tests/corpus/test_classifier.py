"""A linear filter learns what it is shown, the same bytes each time, and says how well it does."""

import gzip
import json

import numpy as np
import pytest
from pydantic import ValidationError

from flows.commands.corpus_filter import train_filter_command
from pipeline.corpus.classifying.examples import read_labelled, read_texts
from pipeline.corpus.classifying.features import list_features
from pipeline.corpus.classifying.linear import FILTER_JSON, WEIGHTS, save_filter
from pipeline.corpus.classifying.training import FilterConfig, measured, train_filter
from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.classifier import ClassifierFilter, TrainedFilter
from pipeline.corpus.filters.judging import judge_all
from pipeline.corpus.rewrites.spans import Text
from pipeline.store.errors import ConfigError, DataError
from pipeline.store.fingerprint import digest
from tests.corpus.conftest import VOCABULARY

GOOD, BAD = VOCABULARY[: len(VOCABULARY) * 2 // 3], VOCABULARY[len(VOCABULARY) // 3 :]
HAN_GOOD, HAN_BAD = "春夏秋冬山水花鸟风月", "风月股票涨跌买卖金银"


def texts(words: list[str] | str, count: int, seed: int, between: str = " ") -> list[str]:
    rng = np.random.default_rng(seed)
    return [between.join(rng.choice(list(words), 30).tolist()) for _ in range(count)]


def trained(**settings: object):
    return train_filter(FilterConfig(**settings), texts(GOOD, 300, 1), texts(BAD, 300, 2))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def scores(model, *samples: str) -> list[float]:
    return model.scores(Text.of(TextBatch.of(samples))).tolist()


def test_filter_learns_what_two_overlapping_vocabularies_allow():
    model = trained()
    held_out = model.facts["held_out"]
    assert held_out["accuracy"] > 0.95 and held_out["auc"] > 0.99
    assert held_out["accuracy_interval"][0] < held_out["accuracy"] <= 1.0
    fresh = measured(
        np.array(scores(model, *texts(GOOD, 200, 3), *texts(BAD, 200, 4))), np.arange(400) < 200
    )
    assert fresh["accuracy"] > 0.95


def test_filter_learns_from_text_without_spaces():
    model = train_filter(FilterConfig(), texts(HAN_GOOD, 200, 1, ""), texts(HAN_BAD, 200, 2, ""))
    assert model.facts["held_out"]["accuracy"] > 0.95


def test_filter_cannot_learn_from_chance():
    both = texts(GOOD, 600, 1)
    model = train_filter(FilterConfig(), both[:300], both[300:])
    low, high = model.facts["held_out"]["auc_interval"]
    assert low < 0.5 < high


def test_training_twice_gives_the_same_bytes(tmp_path):
    for name in "ab":
        save_filter(trained(), tmp_path / name)
    for file in (FILTER_JSON, WEIGHTS):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_classes_of_different_size_weigh_the_same():
    model = train_filter(FilterConfig(), texts(GOOD, 60, 1), texts(BAD, 1200, 2))
    right = [score > 0.5 for score in scores(model, *texts(GOOD, 200, 3))]
    assert sum(right) > 180


def test_threshold_keeps_the_wanted_share():
    calibration = texts(GOOD, 100, 5) + texts(BAD, 300, 6)
    for keep in ("above", "below"):
        model = train_filter(
            FilterConfig(keep=keep, keep_share=0.3),
            texts(GOOD, 300, 1),
            texts(BAD, 300, 2),
            calibration=calibration,
        )
        assert model.facts["calibration"]["kept_share"] == pytest.approx(0.3, abs=0.01)


def test_texts_on_both_sides_and_repeated_ones_are_left_out_and_counted():
    good, bad = texts(GOOD, 100, 1), texts(BAD, 100, 2)
    model = train_filter(FilterConfig(), good + good[:10] + bad[:5], bad)
    assert model.facts["examples"] == {
        "positives": 100, "negatives": 95, "on_both_sides": 5, "repeated": 10,
    }  # fmt: skip


def test_too_few_examples_are_an_error():
    with pytest.raises(DataError, match="at least 20"):
        train_filter(FilterConfig(), texts(GOOD, 5, 1), texts(BAD, 100, 2))


def test_features_are_words_pairs_and_single_han_letters():
    def count(text: str, **settings: int) -> int:
        given = {"bits": 18, "byte_ngram": 0, **settings}
        return len(list_features(Text.of(TextBatch.of([text])), **given)[0])

    assert [count(t) for t in ("", " \n", "one", "one two", "汉字", "a1_b é!")] == [
        0, 0, 1, 3, 3, 9,
    ]  # fmt: skip
    assert count("abcd", byte_ngram=3) == 1 + 2
    same = list_features(Text.of(TextBatch.of(["Word 12", "wORD 34"])), bits=18, byte_ngram=0)
    assert same[0][:3].tolist() == same[0][3:].tolist()


def test_step_judges_by_the_trained_threshold(tmp_path):
    save_filter(trained(keep_share=0.5), tmp_path)
    step = ClassifierFilter(model=str(tmp_path))
    batch = TextBatch.of([texts(GOOD, 1, 9)[0], texts(BAD, 1, 9)[0], ""])
    columns = {f"classifier.{name}": values for name, values in step.measure(batch).items()}
    verdicts = judge_all([step], columns, [None] * 3)
    assert verdicts.reasons[:2] == ["", "classifier.low_score"]
    reverse = ClassifierFilter(model=str(tmp_path), keep="below", threshold=0.5)
    assert judge_all([reverse], columns, [None] * 3).reasons[:2] == ["classifier.high_score", ""]


def test_identity_is_the_trained_filter_and_not_its_place(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save_filter(trained(seed=seed), tmp_path / name)
    a, b, c = (ClassifierFilter(model=str(tmp_path / name)) for name in "abc")
    assert digest(a) == digest(b) != digest(c)
    again = ClassifierFilter.model_validate(a.model_dump(mode="json"))
    assert again == a


def test_judging_again_needs_no_file(tmp_path):
    save_filter(trained(), tmp_path)
    stored = ClassifierFilter(model=str(tmp_path)).model_dump(mode="json")
    del stored["model"]["path"]
    step = ClassifierFilter.model_validate(stored)
    assert step.judge({"score": np.array([0.0, 1.0])}).tolist() == [1, 0]
    with pytest.raises(DataError, match="known by its content only"):
        TrainedFilter(sha256="0" * 64).load()


@pytest.mark.parametrize("damage", ["missing", "weights", "json", "gone"])
def test_damaged_filters_are_wrong_settings(tmp_path, damage):
    save_filter(trained(), tmp_path)
    if damage == "weights":
        data = bytearray((tmp_path / WEIGHTS).read_bytes())
        data[-1] ^= 1
        (tmp_path / WEIGHTS).write_bytes(bytes(data))
    elif damage == "json":
        (tmp_path / FILTER_JSON).write_text("[1]")
    elif damage == "gone":
        (tmp_path / WEIGHTS).unlink()
    with pytest.raises(ValidationError, match="train|exist"):
        ClassifierFilter(model=str(tmp_path / "no" if damage == "missing" else tmp_path))


def test_examples_are_read_from_compressed_and_labelled_files(tmp_path):
    path = tmp_path / "x.jsonl.gz"
    rows = [{"body": f"text {i}", "toxic": i % 2 == 0} for i in range(200)]
    path.write_bytes(gzip.compress(b"".join(json.dumps(r).encode() + b"\n" for r in rows) + b"{"))
    found = read_labelled(path, text_field="body", label_field="toxic", positive_label="true")
    assert (len(found.positives), len(found.negatives), found.bad_lines) == (100, 100, 1)
    ones = read_labelled(path, text_field="body", label_field="toxic", positive_label="1")
    assert ones.positives == found.positives
    with pytest.raises(DataError, match="its labels are false, true"):
        read_labelled(path, text_field="body", label_field="toxic", positive_label="yes")
    with pytest.raises(DataError, match="a string 'text'"):
        read_texts(path, text_field="text")


@pytest.mark.parametrize("name", ["absent.jsonl", "bad.jsonl.gz", "bad.jsonl.zst", "empty.jsonl"])
def test_unreadable_examples_are_an_error(tmp_path, name):
    path = tmp_path / name
    if not name.startswith("absent"):
        path.write_bytes(b"" if name.startswith("empty") else b"no archive\n")
    with pytest.raises(DataError, match=name):
        read_texts(path, text_field="text")


def test_command_trains_writes_and_reports(tmp_path, capsys):
    good = write(tmp_path / "g.jsonl", [{"text": t} for t in texts(GOOD, 100, 1)])
    bad = write(tmp_path / "b.jsonl", [{"text": t} for t in texts(BAD, 100, 2)])
    train_filter_command(tmp_path / "f", positive=good, negative=bad, keep_share=0.2)
    told = capsys.readouterr().out
    assert "100 positive, 100 negative" in told and "AUC" in told and "calibration" in told
    assert ClassifierFilter(model=str(tmp_path / "f")).keep == "above"


def test_command_says_what_is_missing_or_wrong(tmp_path):
    with pytest.raises(ConfigError, match="--positive with --negative"):
        train_filter_command(tmp_path / "f", positive=tmp_path)
    with pytest.raises(ConfigError, match="--keep-share=2"):
        train_filter_command(tmp_path / "f", labelled=tmp_path, keep_share=2.0)
