"""What is measured was never trained on: not as another row, not as an earlier turn."""

from collections import Counter
from pathlib import Path

from pipeline.conversations.example import Example, Message, write_examples
from pipeline.conversations.formats import Limits
from pipeline.conversations.own_pairs import JsonlPairs, pairs_from_files
from pipeline.conversations.splits import Pairs, without_held_out_turns, without_repeats

OPENING = (("user", "Hi"), ("assistant", "Hello!"))
FIRST = (("user", "What is a heap?"), ("assistant", "A tree."))
SECOND = (("user", "And a stack?"), ("assistant", "A list."))


def chat(*turns: tuple[str, str]) -> Example:
    messages = tuple(Message(role, content) for role, content in turns)
    return Example(id=str(turns), prompt="", answer="", messages=messages)


def pair(prompt: str, answer: str) -> Example:
    return Example(id=prompt, prompt=prompt, answer=answer)


def test_a_longer_row_of_a_held_out_conversation_is_not_trained() -> None:
    other = chat(*OPENING, *SECOND)
    pairs = Pairs(held_out=[chat(*FIRST)], train=[chat(*FIRST, *SECOND), other])
    kept = without_held_out_turns(pairs)
    assert kept.train == [other]
    assert kept.held_out == pairs.held_out
    assert kept.removed == Counter(held_out_turn=1)


def test_a_shorter_row_and_another_ending_of_a_held_out_conversation_are_not_trained() -> None:
    pairs = Pairs(
        held_out=[chat(*FIRST, *SECOND)],
        validation=[chat(*FIRST)],
        train=[chat(*FIRST, ("user", "Which is faster?"), ("assistant", "It depends."))],
    )
    kept = without_held_out_turns(pairs)
    assert not kept.train and not kept.validation
    assert kept.removed == Counter(held_out_turn=2)


def test_conversations_that_open_alike_and_are_answered_otherwise_stay() -> None:
    train = [chat(("user", "Hi"), ("assistant", "Good morning!"), *SECOND)]
    assert without_held_out_turns(Pairs(held_out=[chat(*OPENING)], train=train)).train == train


def test_the_same_words_after_other_turns_are_another_answer() -> None:
    train = [chat(*OPENING, *SECOND)]
    pairs = Pairs(held_out=[chat(*FIRST, *SECOND)], train=train)
    assert without_held_out_turns(pairs).train == train


def test_a_held_out_pair_is_not_trained_as_a_turn() -> None:
    train = [chat(*FIRST, *SECOND)]
    pairs = Pairs(held_out=[pair("what is a heap?", "A tree.")], train=train)
    assert without_held_out_turns(pairs).train == []


def test_a_pair_and_a_conversation_of_one_question_are_one_prompt() -> None:
    removed: Counter[str] = Counter()
    rows = [pair("What is a heap?", "A tree."), chat(*FIRST), chat(*FIRST, *SECOND)]
    assert without_repeats(rows, set(), removed) == [rows[0], rows[2]]
    assert removed == Counter(repeated_prompt=1)


def test_no_answer_of_an_expanded_file_is_on_both_sides(tmp_path: Path) -> None:
    """Each conversation as one row per turn, as many public sets are written."""
    rows = []
    for number in range(60):
        turns = [(f"Question {number}-{i}?", f"Answer {number}-{i}.") for i in range(3)]
        for stop in range(1, 4):
            asked = [(("user", q), ("assistant", a)) for q, a in turns[:stop]]
            rows.append(chat(*(turn for both in asked for turn in both)))
    path = tmp_path / "chats.jsonl"
    write_examples(path, rows)
    config = JsonlPairs(
        paths=(str(path),), ignored_keys=("open_book", "group", "id"), min_jaccard=None,
        held_out_fraction=0.2, validation_fraction=0.1,
    )  # fmt: skip
    pairs, _ = pairs_from_files(config, [path], Limits(1_000, 1_000), 0)
    measured = {m.content for e in pairs.held_out for m in e.messages if m.role == "assistant"}
    trained = {m.content for e in pairs.train for m in e.messages if m.role == "assistant"}
    assert measured and trained
    assert measured.isdisjoint(trained)
    assert pairs.removed["held_out_turn"] > 0
