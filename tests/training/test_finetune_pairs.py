"""An encoder-decoder tuned on prompt and answer: through the same stage, packing and loop."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoint_io import load_model, load_tensors
from model.errors import ModelError
from model.objectives import AnswerPairs, RowKeys, Vocabulary
from model.optim import AdamWConfig
from pipeline.artifacts import Checkpoint, ExampleSet
from pipeline.conversations.example import Example, Message, read_examples, write_examples
from pipeline.stages.finetune import finetune
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import ConfigError
from pipeline.store.fingerprint import short
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.training.config import FinetuneConfig, Steps
from pipeline.training.records import read_records
from pipeline.training.rewriting import write_targets
from tests.training.test_span_training import T5, World_, run, span_world  # noqa: F401
from tests.training.worlds import RUNTIME, make_examples

TUNE = FinetuneConfig(
    batch_rows=4, horizon=Steps(150), optimizer=AdamWConfig(learning_rate=5e-3), dtype="float32",
    validation_every=30, sample_tokens=6, patience=None,
)  # fmt: skip
BOS, EOS = 90, 91
WORDS = Vocabulary(100, (BOS, EOS), None, (), BOS, EOS)


def packed(*examples: tuple[list[int], list[int]], length: int = 24) -> dict[str, np.ndarray]:
    """One row of prompt, bos, answer, eos each, as fine-tuning packs it."""
    ids, trainable, segment = [], [], []
    for number, (prompt, answer) in enumerate(examples, 1):
        ids += [*prompt, BOS, *answer, EOS]
        trainable += [0] * (len(prompt) + 1) + [1] * (len(answer) + 1)
        segment += [number] * (len(prompt) + len(answer) + 2)
    pad = length + 1 - len(ids)
    ids, trainable, segment = (values + [0] * pad for values in (ids, trainable, segment))
    same = np.array(segment[1:]) == np.array(segment[:-1])
    return {
        "inputs": np.array([ids[:-1]]), "targets": np.array([ids[1:]]),
        "loss_mask": np.array([trainable[1:]], np.float32) * same,
        "segment_ids": np.array([segment[:-1]]),
    }  # fmt: skip


def test_a_row_s_pairs_go_to_the_encoder_and_the_decoder() -> None:
    pairs = [([1, 2, 3], [4, 5]), ([], [6]), ([7], [8, 9])]
    made = AnswerPairs().build(WORDS)(packed(*pairs), RowKeys(0, [0], [0]))
    for number, (prompt, answer) in enumerate(pairs, 1):
        here = made["segment_ids"][0] == number
        source = made["source_inputs"][0][made["source_segments"][0] == number]
        assert source.tolist() == [*prompt, EOS]
        assert made["inputs"][0][here].tolist() == [BOS, *answer]
        assert made["targets"][0][here].tolist() == [*answer, EOS]
    assert made["loss_mask"].sum() == 8 and not made["loss_mask"][made["segment_ids"] == 0].any()
    full = packed(([1] * 10, [2] * 13))  # to the last position
    made = AnswerPairs().build(WORDS)(full, RowKeys(0, [0], [0]))
    assert made["targets"][0, :14].tolist() == [2] * 13 + [EOS]


def test_several_answers_in_one_example_are_refused() -> None:
    arrays = packed(([1, 2, 3], [4, 5, 6, 7]))
    arrays["loss_mask"][0, 5] = 0.0
    with pytest.raises(ModelError, match="several answers"):
        AnswerPairs().build(WORDS)(arrays, RowKeys(0, [0], [0]))


def tuned(root: Path, world: World_, base: Checkpoint, config: FinetuneConfig) -> Checkpoint:
    return finetune(config, base, make_examples(root), world[0], root=root, runtime=RUNTIME)


def test_it_learns_to_answer_and_keeps_its_form(tmp_path: Path, span_world: World_) -> None:  # noqa: F811
    base = run(replace(T5, horizon=Steps(2), prompts=()), span_world, tmp_path)
    made = tuned(tmp_path, span_world, base, TUNE)
    examples = list(read_examples(make_examples(tmp_path).path / "validation.jsonl"))
    model = load_model(made.path / "final").eval()
    words = Tokenizer.load(span_world[0].path)
    prompts = [example.prompt for example in examples]
    written = write_targets(model, words, prompts, max_tokens=6)
    assert [one.text for one in written] == [example.answer for example in examples]
    assert all(one.ended for one in written)
    samples = read_records(made.path / "samples.jsonl")
    assert samples[-1]["text"] == samples[-1]["target"] and samples[-1]["stopped"]
    before = load_tensors(base.weights_path)
    assert not torch.equal(load_tensors(made.weights_path)["embedding.weight"],
                           before["embedding.weight"])  # fmt: skip


def test_what_only_running_text_has_is_refused(tmp_path: Path, span_world: World_) -> None:  # noqa: F811
    base = run(replace(T5, horizon=Steps(1), prompts=()), span_world, tmp_path)
    with pytest.raises(ConfigError, match=r"finetune\.replay=0\.5"):
        tuned(tmp_path, span_world, base, replace(TUNE, replay=0.5))
    turns = (Message("user", "a"), Message("assistant", "b"))
    key = artifact_key("examples", 1, {"chat": True}, [])

    def work(directory: Path) -> Outcome:
        for split in ("train", "validation", "held_out"):
            rows = [Example(id="0", prompt="", answer="", messages=turns)]
            write_examples(directory / f"{split}.jsonl", rows)
        return Outcome({"train": 1})

    home = build(key, tmp_path / "examples" / short(key.fingerprint), work, root=tmp_path,
                 runtime=RUNTIME)  # fmt: skip
    with pytest.raises(ConfigError, match="holds conversations"):
        finetune(TUNE, base, ExampleSet.open(home), span_world[0], root=tmp_path, runtime=RUNTIME)
