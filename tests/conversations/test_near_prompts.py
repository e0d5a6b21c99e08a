"""Prompts that ask nearly the same, and files that count more than others."""

import json
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.conversations.example import Example
from pipeline.conversations.formats import Limits
from pipeline.conversations.near_prompts import without_near_prompts
from pipeline.conversations.own_pairs import JsonlPairs, pairs_from_files
from pipeline.conversations.splits import Pairs

LONG = (
    "Please explain in a few words how a suspension bridge carries the weight of the road, and why "
    "its towers stand where the water is deepest near the old harbour"
)
LIMITS = Limits(10_000, 10_000)


def own(config: JsonlPairs):
    return pairs_from_files(config, config.files(Path()), LIMITS, 0)


def example(prompt: str) -> Example:
    return Example(id=prompt[:9], prompt=prompt, answer="yes")


def test_a_training_prompt_that_resembles_a_held_out_one_is_removed_and_counted():
    pairs = Pairs(held_out=[example(LONG)], train=[example(LONG + "?"), example("Name a colour")])
    kept = without_near_prompts(pairs, 0.8)
    assert [e.prompt for e in kept.train] == ["Name a colour"]
    assert len(kept.held_out) == 1
    assert kept.removed == Counter(near_held_out_prompt=1)


def test_of_near_duplicates_the_first_stays():
    pairs = Pairs(train=[example(LONG), example(LONG.replace("explain", "tell"))])
    kept = without_near_prompts(pairs, 0.7)
    assert [e.prompt for e in kept.train] == [LONG]
    assert kept.removed == Counter(near_duplicate_prompt=1)


def test_questions_from_one_template_are_different_questions():
    prompts = [f"What does {name} return?" for name in ("open", "close", "read", "write", "seek")]
    kept = without_near_prompts(Pairs(train=[example(prompt) for prompt in prompts]), 0.8)
    assert len(kept.train) == 5


def test_chinese_prompts_are_compared_by_characters():
    text = "请用几句话说明悬索桥怎样承受路面的重量以及为什么桥塔立在水最深的地方"
    pairs = Pairs(train=[example(text), example(text + "呢"), example("说出一种颜色的名字吧")])
    assert len(without_near_prompts(pairs, 0.8).train) == 2


def test_empty_and_tiny_prompts_do_no_harm():
    pairs = Pairs(train=[example(""), example("?"), example("a"), example("a b")])
    assert len(without_near_prompts(pairs, 0.8).train) == 4


def written(path, prompts):
    path.write_text("".join(json.dumps({"prompt": p, "answer": "a"}) + "\n" for p in prompts))
    return str(path)


def test_weights_repeat_or_thin_out_training_rows_of_a_file(tmp_path):
    first = written(tmp_path / "a.jsonl", [f"alpha question {i}" for i in range(400)])
    second = written(tmp_path / "b.jsonl", [f"beta question {i}" for i in range(400)])
    given = {"held_out_fraction": 0.1, "validation_fraction": 0.1, "min_jaccard": None}
    plain, _ = own(JsonlPairs(paths=(first, second), **given))
    pairs, _ = own(JsonlPairs(paths=(first, second), weights=(2.5, 0.5), **given))
    assert pairs.held_out == plain.held_out and pairs.validation == plain.validation
    before = Counter(e.prompt.split()[0] for e in plain.train)
    after = Counter(e.prompt.split()[0] for e in pairs.train)
    assert after["alpha"] / before["alpha"] == pytest.approx(2.5, abs=0.12)
    assert after["beta"] / before["beta"] == pytest.approx(0.5, abs=0.12)


def test_weights_must_match_the_files():
    with pytest.raises(ValidationError, match="1 weights for 2 files"):
        JsonlPairs(paths=("a", "b"), weights=(1.0,))
