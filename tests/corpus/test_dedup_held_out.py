"""Decontamination against the user's own held-out text, and trimming instead of dropping."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpus.cleaned import read_cuts
from pipeline.reports.journey import find_journey
from pipeline.store.errors import ConfigError, DataError
from tests.corpus.conftest import made_up, removals
from tests.corpus.dedup_world import clean_sources, row, texts_of

QUESTION = made_up(77, 40).replace("\n", " ")
PARAGRAPH = made_up(78, 40)


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """A benchmark of two questions and a text file of two paragraphs."""
    place = tmp_path / "bench"
    place.mkdir()
    items = [
        {"id": 7, "question": QUESTION, "choices": ["yes", "no"]},
        {"id": 8, "question": made_up(79, 40), "choices": ["left", "right"]},
    ]
    with gzip.open(place / "quiz.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, items)))
    (place / "prose.txt").write_text(f"{PARAGRAPH}\n\n{made_up(80, 40)}\n")
    return place


def against(place: Path, name: str = "quiz", **more: Any) -> dict[str, Any]:
    return {"against": [{"name": name, "paths": [str(place)], **more}]}


def documents() -> list[dict[str, str]]:
    return [
        row("clean", made_up(1)),
        row("asks", made_up(2, 200) + "\n" + QUESTION + "\n" + made_up(3, 200)),
        row("prose", made_up(4, 60) + "\n" + PARAGRAPH),
        row("copy", PARAGRAPH),
    ]


def test_documents_that_hold_a_benchmark_leave_and_name_it(tmp_path: Path, bench: Path) -> None:
    quiz = against(bench / "quiz.jsonl.gz", fields=["question"])
    prose = against(bench / "*.txt", "prose")
    both = {"against": quiz["against"] + prose["against"]}
    corpus = clean_sources(tmp_path, {"web": documents()}, decontamination=both)
    assert set(texts_of(corpus)) == {"clean"}
    removed = removals(corpus)
    assert removed["asks"]["reason"] == "held_out_covered"
    assert removed["asks"]["duplicate_of"] == "quiz.jsonl.gz:1"
    assert removed["asks"]["duplicate_in"] == "quiz"
    assert removed["prose"]["duplicate_of"] == "prose.txt:1"
    assert corpus.facts["dropped"]["held_out"] == 1  # the copy, by content
    told = find_journey(corpus, "asks")
    assert told is not None
    assert told.verdict.startswith("removed: held_out_covered of quiz.jsonl.gz:1 in quiz, ")
    facts = corpus.facts["decontamination"]
    assert facts["held_out_sets"] == {"held": 1, "quiz": 2, "prose": 2}
    assert facts["share_seen_before"] > facts["share_seen_after"] == 0


def test_without_the_benchmark_the_documents_stay(tmp_path: Path) -> None:
    corpus = clean_sources(tmp_path, {"web": documents()})
    assert set(texts_of(corpus)) == {"clean", "asks", "prose", "copy"}


def test_trimming_cuts_the_held_out_words_and_nothing_else(tmp_path: Path, bench: Path) -> None:
    trim = against(bench / "quiz.jsonl.gz", fields=["question"]) | {"action": "trim"}
    corpus = clean_sources(tmp_path, {"web": documents()}, decontamination=trim)
    assert texts_of(corpus)["asks"] == made_up(2, 200) + "\n" + made_up(3, 200)
    (cut,) = read_cuts(corpus.path, 0).to_pylist()
    assert cut["doc_id"] == "asks" and cut["reason"] == "held_out_text"
    assert (cut["duplicate_of"], cut["duplicate_in"]) == ("quiz.jsonl.gz:1", "quiz")
    assert corpus.facts["decontamination"]["share_seen_after"] == 0
    told = find_journey(corpus, "asks")
    assert told is not None and told.verdict == "kept"
    place = f"bytes {cut['begin']:,} to {cut['end']:,}"
    assert told.cuts == (f"{place}: held_out_text of quiz.jsonl.gz:1 in quiz",)


def test_trimming_drops_what_little_would_be_left_of(tmp_path: Path, bench: Path) -> None:
    rows = [row("mostly", made_up(4, 12) + "\n" + QUESTION), row("clean", made_up(1))]
    trim = against(bench / "quiz.jsonl.gz") | {"action": "trim"}
    corpus = clean_sources(tmp_path, {"web": rows}, decontamination=trim)
    assert set(texts_of(corpus)) == {"clean"}
    assert removals(corpus)["mostly"]["reason"] == "held_out_overlap"


def test_a_document_that_trimming_and_repeated_lines_leave_empty_leaves(
    tmp_path: Path, bench: Path
) -> None:
    notice = made_up(5, 36)
    rows = [
        row("first", notice + "\n" + made_up(1, 200)),
        row("nothing left", QUESTION + "\n" + notice),
        row("a line left", QUESTION + "\n" + notice + "\nA line of its own."),
    ]
    trim = against(bench / "quiz.jsonl.gz", fields=["question"])
    corpus = clean_sources(
        tmp_path,
        {"web": rows},
        decontamination=trim | {"action": "trim", "max_trimmed": 0.9},
        dedup={"near": False, "lines": {"min_chars": 10, "max_lost": 1}},
    )
    texts = texts_of(corpus)
    assert set(texts) == {"first", "a line left"}
    assert texts["a line left"].strip() == "A line of its own."
    assert removals(corpus)["nothing left"]["reason"] == "repeated_lines"
    assert corpus.facts["bytes_kept"] == sum(len(text.encode()) for text in texts.values())
    assert corpus.facts["deduplication"]["trimmed_documents"] == 1


def test_trimming_keeps_characters_whole(tmp_path: Path) -> None:
    held = "如果数据中混入了测试集的内容，评估得到的分数就会偏高。"
    text = "“开头”：这里是别的文字，与测试无关；" * 3 + held + "结尾—也是别的文字。" * 3
    off = {"action": "trim", "max_overlap": 0.0, "max_covered": 0.0}
    corpus = clean_sources(
        tmp_path, {"web": [row("zh", text)]}, held_out={"h": held}, decontamination=off
    )
    kept = texts_of(corpus)["zh"]
    assert "测试集" not in kept
    assert kept.startswith("“开头”：") and kept.endswith("也是别的文字。")


def test_held_out_files_enter_by_content_not_by_path(tmp_path: Path, bench: Path) -> None:
    rows = {"web": documents()}
    first = clean_sources(tmp_path, rows, decontamination=against(bench / "prose.txt"))
    moved = bench / "moved.txt"
    moved.write_bytes((bench / "prose.txt").read_bytes())
    assert clean_sources(tmp_path, rows, decontamination=against(moved)).path == first.path
    moved.write_text("Another text altogether.")
    assert clean_sources(tmp_path, rows, decontamination=against(moved)).path != first.path


def test_ids_of_a_benchmark_exclude_no_document(tmp_path: Path, bench: Path) -> None:
    rows = [row("prose.txt:1", made_up(1)), row("7", made_up(2))]
    corpus = clean_sources(tmp_path, {"web": rows}, decontamination=against(bench / "*"))
    assert len(texts_of(corpus)) == 2


@pytest.mark.parametrize(
    ("name", "content", "more", "error", "message"),
    [
        ("x.jsonl", '{"q": "a"}\n{"q": ', {}, DataError, "x.jsonl:2 is not a JSON object"),
        ("x.jsonl", "[1]", {}, DataError, "x.jsonl:1 is a list"),
        (
            "x.jsonl",
            '{"q": "a"}',
            {"fields": ["text"]},
            DataError,
            r"no field 'text', only \['q'\]",
        ),
        ("x.jsonl", "[" * 100_000, {}, DataError, "x.jsonl:1 is not a JSON object"),
        ("x.txt", " \n\n ", {}, DataError, "holds no text"),
        ("x.jsonl", '{"n": 1}', {}, DataError, "holds no text"),
        ("x.txt.gz", "not gzip", {}, DataError, "cannot be unpacked"),
        ("x.jsonl.zst", "not zst", {}, DataError, "cannot be unpacked"),
    ],
)
def test_held_out_files_that_cannot_be_read_whole_stop_the_run(
    tmp_path: Path,
    name: str,
    content: str,
    more: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(error, match=message):
        clean_sources(
            tmp_path,
            {"web": [row("a", made_up(1))]},
            decontamination=against(tmp_path / name, **more),
        )


def test_held_out_text_in_another_encoding_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes("für".encode("latin-1"))
    with pytest.raises(DataError, match="is not UTF-8"):
        clean_sources(
            tmp_path, {"web": [row("a", made_up(1))]}, decontamination=against(tmp_path / "x.txt")
        )


def test_a_held_out_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="quiz: no file matches '.*nowhere"):
        clean_sources(
            tmp_path,
            {"web": [row("a", made_up(1))]},
            decontamination=against(tmp_path / "nowhere*"),
        )


def test_held_out_files_may_not_take_the_name_of_the_eval_set(tmp_path: Path, bench: Path) -> None:
    with pytest.raises(ConfigError, match="'held' is the name of the frozen eval set"):
        clean_sources(
            tmp_path,
            {"web": [row("a", made_up(1))]},
            decontamination=against(bench / "prose.txt", "held"),
        )
