"""The stage on a small real corpus, and on a user's own files."""

import json
import shutil
import subprocess
import sys

import datasets
import pytest
from pydantic import ValidationError

from pipeline.conversations.example import read_examples
from pipeline.conversations.own_pairs import HuggingFacePairs, JsonlPairs
from pipeline.conversations.pydocs_pairs import PydocsPairs
from pipeline.corpus.cleaned import iter_documents
from pipeline.stages.prepare_examples import ExamplesConfig, prepare_examples
from pipeline.store.errors import DataError
from pipeline.store.runtime import Runtime
from tests.conversations.pydocs_tree import small_corpus


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return small_corpus(tmp_path_factory.mktemp("world"))


def prepare(world, **options):
    eval_set, corpus, root = world
    return prepare_examples(
        ExamplesConfig(**options), eval_set, corpus, root=root, runtime=Runtime()
    )


def all_splits(examples):
    return {
        split: list(read_examples(examples.path / f"{split}.jsonl"))
        for split in ("train", "validation", "held_out")
    }


def test_pydocs_pairs_are_split_by_the_eval_set(world):
    examples = prepare(world)
    splits = all_splits(examples)
    facts = examples.facts
    assert facts["examples"] == {split: len(members) for split, members in splits.items()}
    assert facts["examples"]["train"] > 300 and facts["examples"]["held_out"] > 30
    assert set(facts["kinds"]["train"]) == {"parameters", "summary", "lookup", "describe"}
    assert 0 < facts["diversity"]["answer_distinct_2"] <= 1
    groups = {split: {e.group for e in members} for split, members in splits.items()}
    assert not groups["train"] & groups["held_out"]
    assert not groups["train"] & groups["validation"]
    assert examples.path.parent.name == "examples"


def test_open_book_answers_can_be_read_off_their_prompts(world):
    for examples in all_splits(prepare(world)).values():
        for example in examples:
            if example.open_book:
                separator = ", " if example.kind == "parameters" else "\n"
                assert all(word in example.prompt for word in example.answer.split(separator))
            assert example.copy_baseline is not None


def test_held_out_summaries_do_not_occur_in_the_training_text(world):
    texts = (document.text for document in iter_documents(world[1]))
    lines = {line.strip() for text in texts for line in text.split("\n")}
    for example in all_splits(prepare(world))["held_out"]:
        if example.kind in ("summary", "describe"):
            assert example.answer not in lines


def test_the_same_config_gives_the_same_bytes_and_another_seed_another(world, tmp_path):
    eval_set, corpus, root = world
    there = shutil.copytree(root, tmp_path / "there", ignore=shutil.ignore_patterns("examples"))
    moved = [type(one).open(there / one.path.relative_to(root)) for one in (eval_set, corpus)]
    here, elsewhere = prepare(world), prepare((*moved, there))
    assert here.path != elsewhere.path and here.fingerprint == elsewhere.fingerprint
    for split in ("train", "validation", "held_out"):
        name = f"{split}.jsonl"
        assert (here.path / name).read_bytes() == (elsewhere.path / name).read_bytes()
    assert here.fingerprint != prepare(world, seed=1).fingerprint


def test_rows_are_as_the_contract_says(world):
    line = (prepare(world).path / "train.jsonl").read_text().splitlines()[0]
    assert set(json.loads(line)) == {
        "id", "group", "kind", "open_book", "prompt", "answer", "copy_baseline"
    }  # fmt: skip


def test_own_files_enter_by_content_not_by_path(world, tmp_path):
    rows = [{"prompt": f"p{i}", "answer": f"a{i}"} for i in range(60)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_text(text + "torn")
    two.write_text(text + "torn")
    a = prepare(world, source=JsonlPairs(paths=(str(one),)))
    b = prepare(world, source=JsonlPairs(paths=(str(two),)))
    assert a.fingerprint == b.fingerprint
    assert str(tmp_path) not in (a.path / "manifest.json").read_text()
    assert a.facts["formats"] == {"one.jsonl": "pair"}
    assert a.facts["quarantined"] == {"not JSON": 1}
    two.write_text(text + json.dumps({"prompt": "more", "answer": "m"}))
    assert prepare(world, source=JsonlPairs(paths=(str(two),))).fingerprint != a.fingerprint


def test_no_training_pair_is_an_error_with_counts(world):
    with pytest.raises(DataError, match=r"gives no training pair \(left out: .*too_long"):
        prepare(world, max_answer_bytes=1, source=PydocsPairs(kinds=("summary",)))


def test_a_missing_file_is_an_error_before_any_work(world):
    with pytest.raises(DataError, match="nowhere.jsonl does not exist"):
        prepare(world, source=JsonlPairs(paths=("nowhere.jsonl",)))


def test_a_misspelt_key_is_refused():
    with pytest.raises(ValidationError, match="max_per_knd"):
        ExamplesConfig(source={"kind": "pydocs", "max_per_knd": 3})


def test_the_stage_loads_no_torch():
    code = "import sys, pipeline.stages.prepare_examples; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", code], check=True, env={"PYTHONPATH": "."})


def test_a_hugging_face_dataset_gives_the_examples_of_the_same_rows_in_a_file(world, tmp_path):
    rows = [{"prompt": f"What is {word}?", "answer": word} for word in "abcdefghijklmnopqrst"]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shares = {"held_out_fraction": 0.2, "validation_fraction": 0.2}
    saved = HuggingFacePairs(dataset=str(tmp_path / "saved"), **shares)
    ours, theirs = (
        prepare(world, source=source)
        for source in (JsonlPairs(paths=(str(path),), **shares), saved)
    )
    for split in ("train", "validation", "held_out"):
        told = [
            [(e.prompt, e.answer) for e in read_examples(examples.path / f"{split}.jsonl")]
            for examples in (ours, theirs)
        ]
        assert told[0] == told[1]
    moved = (tmp_path / "saved").rename(tmp_path / "elsewhere")
    again = prepare(world, source=saved.model_copy(update={"dataset": str(moved)}))
    assert again.fingerprint == theirs.fingerprint
