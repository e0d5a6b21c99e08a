"""Choices, pairs and generations against counts made one sequence at a time."""

import json

import numpy as np
import pytest
import torch

from pipeline.evals.task_file import choose_task_shots, parse_tasks, read_tasks, shot_pools
from pipeline.evals.tasks import answer_tasks, delimiter_after, option_ids, summarise_tasks
from pipeline.store.errors import DataError

ASKED = {"context": 16, "form": "continuation", "max_tokens": 3, "seed": 0}


def tasks(*rows):
    return parse_tasks("\n".join(json.dumps(row) for row in rows).encode(), "tasks.jsonl")


def naive_nats(model, before, option):
    ids = torch.tensor([[*before, *option]])
    with torch.no_grad():
        logp = torch.log_softmax(model(ids[:, :-1])[0].double(), dim=-1)
    start = len(before) - 1
    return -sum(float(logp[start + i, token]) for i, token in enumerate(option))


def test_the_likeliest_option_wins_as_a_sum_and_per_byte(model, tokenizer):
    options = ["a", "bcdefg", "hij"]
    items = tasks(*[
        {"task": "t", "question": f"q{i}", "choices": options, "answer": i} for i in range(3)
    ])  # fmt: skip
    results, no_room = answer_tasks(model, tokenizer, items, shots=(0,), **ASKED)
    assert not no_room
    for i, result in enumerate(results):
        before = [tokenizer.bos, *f"q{i}".encode()]
        nats = [naive_nats(model, before, f" {option}".encode()) for option in options]
        per_byte = np.array(nats) / [len(option) for option in options]
        assert result.score == float(int(np.argmin(nats)) == i)
        assert result.normalised == float(int(np.argmin(per_byte)) == i)
        assert result.answer == options[int(np.argmin(nats))]
    (row,) = summarise_tasks(results)
    assert row["asked"] == 3 and row["chance"] == pytest.approx(1 / 3)
    assert row["low"] <= row["accuracy"] <= row["high"]


def test_pairs_are_whole_documents_and_have_no_shots(model, tokenizer):
    items = tasks({"good": "ab cd", "bad": "ab ce"}, {"good": "x", "bad": "yz"})
    results, _ = answer_tasks(model, tokenizer, items, shots=(0, 1), **ASKED)
    assert [result.shots for result in results] == [0, 0]
    for result, item in zip(results, items, strict=True):
        good, bad = (naive_nats(model, [256], option.encode()) for option in item.options)
        assert result.score == float(good < bad)


@pytest.fixture
def answering(model):
    """Trained until it goes on from `p` and a new line with `b` and a new line."""
    ids = torch.tensor([[256, *b"p\nb\n"]])
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        logits = model(ids[:, :-1])
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits[0], ids[0, 1:]).backward()
        optimiser.step()
    return model.eval()


def test_a_generation_must_be_exactly_right_and_end(answering, tokenizer):
    items = tasks({"prompt": "p", "answer": " b "}, {"prompt": "p", "answer": "bb"})
    (right, wrong), _ = answer_tasks(answering, tokenizer, items, shots=(0,), **ASKED)
    assert (right.score, right.answer, right.normalised) == (1, "b", 1)
    assert (wrong.score, wrong.answer) == (0, "b")
    never_ends = ASKED | {"max_tokens": 1}
    (cut, _), _ = answer_tasks(answering, tokenizer, items, shots=(0,), **never_ends)
    assert cut.score == 0 and cut.answer == "b"


def test_shots_stand_before_the_question_and_are_other_questions(model, tokenizer):
    items = tasks(*[
        {"task": "t", "question": f"q{i}", "choices": ["x", "y"], "answer": 0} for i in range(4)
    ])  # fmt: skip
    pool = shot_pools(items)["t"]
    shots = choose_task_shots(items[0], pool, 2, seed=0)
    assert items[0].question not in {shot.question for shot in shots} and len(shots) == 2
    before, options = option_ids(items[0], shots, tokenizer, "continuation")
    solved = "".join(f"{shot.question} x\n\n" for shot in shots)
    assert bytes(before[1:]).decode() == solved + "q0"
    assert [bytes(ids).decode() for ids in options] == [" x", " y"]
    answered, _ = option_ids(items[0], shots[:1], tokenizer, "answer")
    question = shots[0].question.encode()
    assert answered == [*question, 256, ord("x"), 257, *b"q0", 256]


def test_a_shot_is_never_the_same_question_in_other_spaces():
    items = tasks(
        {"question": "Who? ", "choices": ["x", "y"], "answer": 0},
        {"question": "who?", "choices": ["x", "y"], "answer": 1},
    )
    with pytest.raises(DataError, match="has 0 solved examples beside the question"):
        choose_task_shots(items[0], items, 1, seed=0)


def test_round_without_enough_solved_examples_is_left_out_and_counted(model, tokenizer):
    rows = [{"task": "t", "question": f"q{i}", "choices": ["x", "y"], "answer": 0} for i in (1, 2)]
    alone = {"task": "u", "question": "q", "choices": ["x", "y"], "answer": 0}
    results, left_out = answer_tasks(model, tokenizer, tasks(*rows, alone), shots=(0, 1), **ASKED)
    assert [(r.task, r.shots) for r in results] == [
        ("t", 0), ("t", 0), ("u", 0), ("t", 1), ("t", 1)
    ]  # fmt: skip
    assert left_out == {"u, 1 shots: too few solved examples": 1}
    with pytest.raises(DataError, match="has 1 solved examples beside the question"):
        answer_tasks(model, tokenizer, tasks(*rows), shots=(5,), **ASKED)


def test_rows_marked_as_shots_are_not_asked(model, tokenizer):
    rows = [{"task": "t", "question": f"q{i}", "choices": ["x", "y"], "answer": 0} for i in (1, 2)]
    items = tasks({**rows[0], "split": "shots"}, rows[1])
    results, _ = answer_tasks(model, tokenizer, items, shots=(0, 1), **ASKED)
    assert [(result.shots, result.number) for result in results] == [(0, 0), (1, 0)]


def test_a_question_without_room_is_counted_and_not_cut(model, tokenizer):
    items = tasks(
        {"question": "far too long to fit", "choices": ["x", "y"], "answer": 0},
        {"question": "fits", "choices": ["x", "y"], "answer": 0},
    )
    results, no_room = answer_tasks(model, tokenizer, items, shots=(0,), **ASKED)
    assert [result.number for result in results] == [1] and no_room == {
        "task, 0 shots: no room in the context": 1
    }


def test_full_width_text_takes_no_space_before_an_option():
    assert delimiter_after("首都是：") == "" and delimiter_after("capital:") == " "
    assert delimiter_after("line\n") == ""


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("[1]", "is a JSON list"),
        ("{nope", "is not JSON"),
        ('{"question": "q", "choices": ["a"], "answer": 0}', "has 1 texts, expected 2 or more"),
        ('{"question": "q", "choices": ["a", "a"], "answer": 0}', "holds a text twice"),
        ('{"question": "q", "choices": ["a", "b"], "answer": 2}', "none of the choices"),
        ('{"question": "q", "choices": ["a", "b"], "answer": true}', "none of the choices"),
        ('{"question": "q", "choices": ["a", "b"], "anwser": 0}', "'anwser' is unknown"),
        ('{"good": "same", "bad": "same"}', "good and bad are equal"),
        ('{"text": "x"}', "cannot tell the kind of question"),
        ('{"prompt": " ", "answer": "x"}', "prompt must be a text that is not blank"),
        ('{"prompt": "p", "answer": "x", "split": "train"}', "split must be test or shots"),
        ('{"prompt": "p", "answer": "x", "split": "shots"}', "asks nothing"),
    ],
)
def test_a_bad_row_is_refused_with_its_place(row, message, tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text(row + "\n")
    with pytest.raises(DataError, match=message):
        read_tasks(path)


def test_an_empty_or_missing_or_mixed_file_is_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match="holds no row"):
        read_tasks(tmp_path / "empty.jsonl")
    with pytest.raises(DataError, match="cannot be read"):
        read_tasks(tmp_path / "absent.jsonl")
    with pytest.raises(DataError, match="mixes generation and pair rows"):
        tasks({"prompt": "p", "answer": "a"}, {"good": "g", "bad": "b"})
