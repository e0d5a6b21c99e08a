"""Asked to stop, a run saves and raises Preempted; the same call goes on to the same weights."""

from dataclasses import replace

import pytest

from model.optim import AdamWConfig
from pipeline.artifacts import Checkpoint
from pipeline.stages.finetune import finetune
from pipeline.stages.pretrain import pretrain
from pipeline.store.files import sha256_file
from pipeline.training.config import FinetuneConfig, Steps
from pipeline.training.records import read_records
from pipeline.training.stopping import Preempted, request_stop
from tests.training.conftest import Heard
from tests.training.worlds import CONFIG, RUNTIME, make_examples, zen_world

TUNE = FinetuneConfig(
    horizon=Steps(12), batch_rows=2, optimizer=AdamWConfig(learning_rate=0.3), dtype="float32",
    validation_every=2, sample_tokens=4,
)  # fmt: skip


class StopsAt(Heard):
    """A Progress that asks for a stop when it hears of a step."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens

    def advance(self, done: float, total: float | None, unit: str) -> None:
        super().advance(done, total, unit)
        if done == self.tokens:
            request_stop()


class World:
    def __init__(self, root) -> None:
        self.root = root
        self.tokenizer, self.shards = zen_world(root)
        self.base = self.pretrained()
        self.examples = make_examples(root)

    def pretrained(self, runtime=RUNTIME) -> Checkpoint:
        return pretrain(CONFIG, self.shards, self.tokenizer, root=self.root, runtime=runtime)

    def tuned(self, runtime=RUNTIME) -> Checkpoint:
        return finetune(
            TUNE, self.base, self.examples, self.tokenizer, root=self.root, runtime=runtime
        )


def curve(made: Checkpoint) -> list[tuple]:
    records = read_records(made.path / "curve.jsonl")
    return [(r["step"], r.get("train_loss"), r.get("validation_loss")) for r in records]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Checkpoint:
    return World(tmp_path_factory.mktemp("undisturbed")).tuned()


@pytest.mark.parametrize("step", [1, 4, 7])
def test_interrupted_finetune_keeps_the_same_best_weights(tmp_path, undisturbed, step):
    world = World(tmp_path)
    with pytest.raises(Preempted) as caught:
        world.tuned(replace(RUNTIME, progress=StopsAt(step * 2 * 32)))
    assert caught.value.exit_code == 143
    made = world.tuned()
    assert sha256_file(made.weights_path) == sha256_file(undisturbed.weights_path)
    assert curve(made) == curve(undisturbed)
    assert made.facts["best_step"] == undisturbed.facts["best_step"]


def test_damaged_newest_checkpoint_is_reported_and_changes_nothing(tmp_path, undisturbed, heard):
    world = World(tmp_path)
    saving = replace(RUNTIME, checkpoint_every_seconds=0.0)
    with pytest.raises(Preempted):
        world.tuned(replace(saving, progress=StopsAt(7 * 2 * 32)))
    newest = max(tmp_path.glob("finetune/*/checkpoints/step-*"))
    weights = newest / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    made = world.tuned(replace(saving, progress=heard))
    (warning,) = heard.named("warning")
    assert newest.name in warning["message"]
    assert heard.named("resumed")[0]["step"] == 6
    assert sha256_file(made.weights_path) == sha256_file(undisturbed.weights_path)


def test_checkpoint_of_a_changed_job_is_never_mixed_in(tmp_path):
    """Another setting is another artifact: it starts fresh beside the interrupted one."""
    world = World(tmp_path)
    with pytest.raises(Preempted):
        world.tuned(replace(RUNTIME, progress=StopsAt(2 * 32)))
    other = replace(TUNE, seed=1)
    made = finetune(
        other, world.base, world.examples, world.tokenizer, root=tmp_path, runtime=RUNTIME
    )
    assert made.facts["resumed"] == 0
