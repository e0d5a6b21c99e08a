"""Tuning on conversations: asked, ended and shown in the form they are trained in."""

from dataclasses import replace

import pytest

from model.checkpoint_io import load_model
from pipeline.artifacts import ExampleSet
from pipeline.conversations.example import Example, Message, write_examples
from pipeline.evals.sft import greedy
from pipeline.stages.finetune import finetune
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.fingerprint import short
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.training.config import Epochs, Steps
from pipeline.training.records import read_records
from pipeline.training.sampling import prompt_room
from tests.training.test_finetune import TUNE, World
from tests.training.worlds import RUNTIME

CHAT = replace(TUNE, horizon=Epochs(80.0), patience=None)


def talk(number: int, asked: str | None = None) -> Example:
    letter = chr(97 + number % 3)
    turns = (Message("user", asked or f"say {letter}"), Message("assistant", letter * 2))
    return Example(id=str(number), prompt="", answer="", kind="chat", messages=turns)


def stored(root, name: str, train: list[Example], validation: list[Example]) -> ExampleSet:
    key = artifact_key("examples", 1, {"name": name}, [])
    directory = root / "examples" / short(key.fingerprint)

    def work(directory) -> Outcome:
        splits = {"train": train, "validation": validation, "held_out": []}
        for split, examples in splits.items():
            write_examples(directory / f"{split}.jsonl", examples)
        return Outcome({"train": len(train)})

    build(key, directory, work, root=root, runtime=RUNTIME)
    return ExampleSet(directory, key.fingerprint)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("chat"))


def tune(world: World, config, examples: ExampleSet):
    return finetune(config, world.base, examples, world.tokenizer, root=world.root, runtime=RUNTIME)


def test_a_model_tuned_on_conversations_is_asked_in_turns_and_ends_its_own(world):
    too_long = talk(0, "say a " * 5)
    examples = stored(
        world.root, "talks", [talk(i) for i in range(8)], [too_long, *map(talk, range(3))]
    )
    tuned = tune(world, CHAT, examples)
    end = [s for s in read_records(tuned.path / "samples.jsonl") if s["when"] == "end"]
    assert [s["prompt"] for s in end] == [f"user: say {letter}" for letter in "abc"]
    assert [s["text"] for s in end] == ["aa", "bb", "cc"]
    assert tuned.facts["stopped_rate"] == 1.0


def test_questions_of_the_settings_are_asked_as_turns_too(world):
    talks = stored(world.root, "few", [talk(i) for i in range(6)], [])
    config = replace(CHAT, horizon=Steps(1), prompts=("say e",))
    samples = read_records(tune(world, config, talks).path / "samples.jsonl")
    assert {s["prompt"] for s in samples} == {"say e"}
    vocabulary = Tokenizer.load(world.tokenizer.path)
    asked = [vocabulary.bos, vocabulary.user, *b"say e", vocabulary.end, vocabulary.assistant]
    model = load_model(world.base.path / "final")
    [first] = greedy(model, vocabulary, [asked], 4)
    assert [s["text"] for s in samples if s["when"] == "untrained"] == [first[0]]


def test_without_validation_the_questions_come_from_the_training_split(world):
    examples = stored(world.root, "unvalidated", [talk(i) for i in range(6)], [])
    tuned = tune(world, replace(CHAT, horizon=Steps(1)), examples)
    samples = read_records(tuned.path / "samples.jsonl")
    assert [s["prompt"] for s in samples if s["when"] == "end"] == [
        f"user: say {letter}" for letter in "abca"
    ]
    assert tuned.facts["kept_step"] == 1


def test_a_sample_longer_than_the_context_leaves_the_prompt_half_of_it():
    assert prompt_room(256, 48) == 207
    assert prompt_room(32, 48) == 15
    assert prompt_room(2, 48) == 1 == prompt_room(1, 1)
