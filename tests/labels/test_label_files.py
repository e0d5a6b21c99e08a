"""A user's labels: what is read, what is kept aside and why, when a run ends before it begins."""

import json
from pathlib import Path

import pytest

from pipeline.labels.example import Labelled, read_labelled, write_labelled
from pipeline.labels.files import LabelFiles, Refused, rows_of
from pipeline.labels.splitting import drawn_split, split_labelled
from pipeline.store.errors import DataError


def read(tmp_path: Path, lines: list[str], **settings: object) -> list[Labelled | Refused]:
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    source = LabelFiles(paths=(str(path),), **settings)  # type: ignore[arg-type]
    return list(rows_of(source, source.files(), max_bytes=60))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "fine"}, "no label"),
        ({"text": None, "label": "a"}, "no text"),
        ({"text": " \n", "label": "a"}, "empty text"),
        ({"text": 5, "label": "a"}, "text is no string"),
        ({"text": "x", "label": ""}, "an empty label"),
        ({"text": "x", "label": 0.5}, "neither a string nor a whole number"),
        ({"text": "x", "label": True}, "neither a string nor a whole number"),
        ({"text": "x", "label": ["a"]}, "neither a string nor a whole number"),
        ({"text": "x" * 61, "label": "a"}, "too long"),
        ({"text": "\ud800", "label": "a"}, "half a surrogate pair"),
    ],
)
def test_a_text_that_cannot_be_used_is_kept_aside_with_its_reason(
    tmp_path: Path, row: dict[str, object], reason: str
) -> None:
    (found,) = read(tmp_path, [json.dumps(row)])
    assert isinstance(found, Refused)
    assert reason in found.reason and found.where == "labels.jsonl:1"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"words": ["a", "b"], "labels": ["x"]}, "of different length"),
        ({"words": "a b", "labels": ["x", "y"]}, "words is no list"),
        ({"words": [], "labels": []}, "empty words"),
        ({"words": ["a", ""], "labels": ["x", "y"]}, "an empty word"),
        ({"words": ["a", 3], "labels": ["x", "y"]}, "a word is no string"),
        ({"words": ["a", "b"], "labels": ["x", None]}, "neither a string nor a whole number"),
        ({"text": "a b", "label": "x"}, "no words"),
    ],
)
def test_words_that_cannot_be_used_are_kept_aside_with_their_reason(
    tmp_path: Path, row: dict[str, object], reason: str
) -> None:
    (found,) = read(tmp_path, [json.dumps(row)], level="word")
    assert isinstance(found, Refused) and reason in found.reason


def test_rows_that_are_fine_come_back_from_the_splits_as_they_are(tmp_path: Path) -> None:
    rows = [{"text": "A cat.", "label": 1}, {"text": "<|eos|> über", "label": " b "}]
    found = read(tmp_path, [json.dumps(rows[0]), "not json", json.dumps(rows[1])])
    assert [type(one) for one in found] == [Labelled, Refused, Labelled]
    good = [one for one in found if isinstance(one, Labelled)]
    assert [(one.units, one.labels) for one in good] == [
        (("A cat.",), ("1",)), (("<|eos|> über",), ("b",)),
    ]  # fmt: skip
    write_labelled(tmp_path / "out.jsonl", good, "text")
    assert list(read_labelled(tmp_path / "out.jsonl")) == good


def examples(*pairs: tuple[str, str], split: str = "train") -> list[tuple[Labelled, str]]:
    return [(Labelled(f"{split}{i}", (t,), (x,), t), split) for i, (t, x) in enumerate(pairs)]


HELD = examples(("h one", "a"), ("h two", "b"), split="held_out")


def test_contradictions_go_altogether_and_repeats_stay_held_out() -> None:
    rows = examples(
        ("Same", "a"), ("same ", "b"), ("SAME", "a"), ("x", "a"), ("y", "b"), ("H  one", "a")
    )
    splits = split_labelled([*rows, *HELD], allowed=None, min_per_label=1)  # type: ignore[arg-type]
    assert [one.units[0] for one in splits.train] == ["x", "y"]
    assert [one.units[0] for one in splits.held_out] == ["h one", "h two"]
    # Of the three that are the same text one repeats the first, then none of them is kept.
    assert {k: v for k, v in splits.removed.items() if v} == {"contradiction": 2, "repeated": 2}


def test_labels_that_are_rare_unknown_or_never_trained_are_left_out_and_counted() -> None:
    rows = [
        *examples(*((f"a{i}", "a") for i in range(5)), *((f"b{i}", "b") for i in range(5))),
        *examples(("rare", "c"), ("odd", "zz")), *HELD,
        *examples(("never", "d"), ("trained", "d"), split="held_out"),
    ]  # fmt: skip
    splits = split_labelled(rows, allowed=("b", "a", "c", "d"), min_per_label=2)  # type: ignore[arg-type]
    assert splits.labels == ("b", "a")  # in the order that was asked for
    assert dict(splits.removed) == {"unknown_label": 1, "rare_label": 3}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (examples(("x", "a"), ("y", "a")), "give examples of a second class"),
        (examples(("x", "a"), ("y", "b")), "none held out"),
        (
            [*examples(("x", "a"), ("y", "b")), *examples(("z", "a"), split="held_out")],
            "have one label only, 'a'",
        ),
        ([], "none of 0 labelled examples"),
    ],
)
def test_labels_that_measure_nothing_end_the_run(
    rows: list[tuple[Labelled, str]], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        split_labelled(rows, allowed=None, min_per_label=1)  # type: ignore[arg-type]


def test_a_label_per_example_is_told_from_a_class() -> None:
    rows = examples(*((f"text {i}", f"id-{i}") for i in range(50)))
    with pytest.raises(DataError, match="name of a class, not of the example"):
        split_labelled(rows, allowed=None, min_per_label=10)  # type: ignore[arg-type]


def test_a_split_is_the_texts_own_whatever_else_there_is() -> None:
    drawn = [drawn_split(f"t{i}", seed=0, validation=0.1, held_out=0.2) for i in range(2000)]
    assert 0.17 < drawn.count("held_out") / 2000 < 0.23
    assert 0.08 < drawn.count("validation") / 2000 < 0.12
    assert drawn != [
        drawn_split(f"t{i}", seed=1, validation=0.1, held_out=0.2) for i in range(2000)
    ]
