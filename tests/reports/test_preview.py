"""What a person sees before and after tuning: the turns that were trained, and nothing hidden."""

import json
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
from typer.testing import CliRunner

from flows.cli import app
from pipeline.artifacts import Checkpoint, ExampleSet
from pipeline.conversations.example import Example, Message
from pipeline.reports.facts import RunFacts
from pipeline.reports.preview import preview, preview_text, trained_turns
from pipeline.reports.tuning import tuning_section
from pipeline.tokens.tokenizer import with_our_specials
from pipeline.training.config import Steps
from tests.training.test_finetune import TUNE, World
from tests.training.test_finetune_chat import stored, tune

BYTES = with_our_specials("bytes", r"(?s:.)", {bytes([i]): i for i in range(256)})


def test_control_characters_of_a_data_set_reach_no_terminal():
    hostile = "\x1b[2J\x1b]0;title\x07\r\b\x7f\x9b1m\u202e line\n\tkept"
    shown = preview_text(preview(Example(id="x\x1b", prompt=hostile, answer=hostile), BYTES)).plain
    assert not any(ord(c) < 32 and c not in "\n\t" for c in shown)
    assert not set(shown) & {"\x7f", "\x9b", "\u202e"}
    assert "␛[2J" in shown and "line\n\tkept" in shown


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("preview"))
    turns = (Message("user", "a"), Message("assistant", "first"),
             Message("user", "b"), Message("assistant", "last"))  # fmt: skip
    talk = Example(id="t", prompt="", answer="", kind="chat", messages=turns)
    examples = stored(world.root, "talk", [talk, replace(talk, id="u")], [])
    return world, examples, tune(world, replace(TUNE, horizon=Steps(1), train_on="last"), examples)


def test_report_and_terminal_mark_the_turns_the_model_was_tuned_on(tuned):
    world, examples, model = tuned
    assert trained_turns(model) == "last" and trained_turns(None) == "all"
    run = RunFacts("r", tokenizer=world.tokenizer, examples=examples, tuned=model)
    section = tuning_section(run)
    assert section is not None
    [marked] = [block for block in section.blocks if type(block).__name__ == "Marked"]
    pieces = [piece.text for piece in marked.pieces if piece.trained and not piece.special]
    assert pieces == ["last"]
    texts = " ".join(block.text for block in section.blocks if hasattr(block, "text"))
    assert "10 of 40 tokens are trained" in texts and "of the rows is padding" in texts
    for options, count in (((), 5), (("--train-on", "all"), 11)):
        command = ["sft", "preview", model.ref, "--root", str(world.root), "-n", "1", *options]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        assert f"{count} of 20 tokens are trained" in result.output


def test_without_colour_brackets_hold_what_is_trained():
    found = preview(Example(id="x", prompt="Q:", answer="a<|eos|>"), BYTES)
    assert "Q:<|bos|>⟦a<|eos|><|eos|>⟧" in preview_text(found, brackets=True).plain


def test_a_saved_dataset_is_shown_and_what_is_nothing_is_said_to_be(tuned, tmp_path):
    world = tuned[0]
    rows = [{"instruction": "Say hi", "input": None, "output": "hi"}]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    command = ["sft", "preview", str(tmp_path / "saved"), "--root", str(world.root)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "Say hi<|bos|>⟦hi<|eos|>⟧" in result.output and "'alpaca'" in result.output
    named = tmp_path / "x.jsonl"
    named.write_text('{"prompt": "a", "answer": "b", "messages": [], "source": "s"}\n')
    options = ["--ignore", "messages", "--ignore", "source", "--format", "pair"]
    command = ["sft", "preview", str(named), "--root", str(world.root), *options]
    assert "a<|bos|>⟦b<|eos|>⟧" in CliRunner().invoke(app, command).output
    for nothing in ("nowhere.jsonl", str(tmp_path)):
        result = CliRunner().invoke(app, ["sft", "preview", nothing, "--root", str(world.root)])
        assert result.exit_code != 0
        assert "is no data file, no saved dataset and no artifact" in str(result.exception)


def test_a_file_bad_in_every_line_does_not_fill_the_screen(
    tuned: tuple[World, ExampleSet, Checkpoint], tmp_path: Path
) -> None:
    world = tuned[0]
    (tmp_path / "x.jsonl").write_text("what is this\n" * 500)
    command = ["sft", "preview", str(tmp_path / "x.jsonl"), "--root", str(world.root)]
    result = CliRunner().invoke(app, command)
    assert "x.jsonl:5 cannot be used: not JSON" in result.output
    assert "and 495 more: not JSON" in result.output and len(result.output.splitlines()) == 6
    assert "holds no example to show" in str(result.exception)


def test_a_long_line_is_not_broken_where_the_data_has_no_break(
    tuned: tuple[World, ExampleSet, Checkpoint], tmp_path: Path
) -> None:
    world, prompt = tuned[0], "word " * 40
    (tmp_path / "x.jsonl").write_text(json.dumps({"prompt": prompt, "answer": "a"}) + "\n")
    command = ["sft", "preview", str(tmp_path / "x.jsonl"), "--root", str(world.root)]
    assert f"{prompt}<|bos|>⟦a<|eos|>⟧" in CliRunner().invoke(app, command).output
