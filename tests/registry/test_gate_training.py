"""The gate over models that were really trained: worse ones are refused, better ones promoted."""

from dataclasses import dataclass, replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pyarrow as pa
import pytest
import torch

from flows.commands.store import sync_store
from model.optim import AdamWConfig
from pipeline.artifacts import Checkpoint, EvalReport, EvalSet, ExampleSet, ExportedModel
from pipeline.conversations.example import Example, write_examples
from pipeline.stages.evaluate import EvaluateConfig, evaluate
from pipeline.stages.export_model import ExportConfig, export_model
from pipeline.stages.finetune import finetune
from pipeline.stages.pretrain import pretrain
from pipeline.stages.register import Registration, RegistryConfig, register
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.fingerprint import short
from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.ledger import Ledger
from pipeline.tracking.registry import opened
from pipeline.training.config import Epochs, FinetuneConfig, Steps
from tests.registry.worlds import World
from tests.tracking.databases import fresh_root
from tests.training.worlds import CONFIG, RUNTIME, make_shards

TOPICS = [topics[name] for name in sorted(topics)]
MEASURE = EvaluateConfig(
    questions_per_kind=0, prompts=(), bootstrap_draws=100, memorisation_documents=0
)


@dataclass
class TrainedWorld:
    """Python's own topics to train on, others of them held out; questions with two letters."""

    root: Path

    def __post_init__(self) -> None:
        torch.set_num_threads(1)
        self.tokenizer = World(self.root).tokenizer()
        self.shards = make_shards(self.root, self.tokenizer, TOPICS[8:24], TOPICS[4:8])

    def eval_set(
        self, name: str = "held-out", texts: tuple[str, ...] = tuple(TOPICS[:4])
    ) -> EvalSet:
        rows = [part for text in texts for part in (text[:700], text[700:1400]) if part.strip()]
        key = artifact_key("eval_set", 1, {"name": name, "texts": rows}, [])

        def work(directory: Path) -> Outcome:
            ids = [str(number) for number in range(len(rows))]
            table = pa.table({"doc_id": ids, "text": rows, "source": ["topics"] * len(rows)})
            with pa.ipc.new_file(str(directory / "documents.arrow"), table.schema) as writer:
                writer.write_table(table)
            return Outcome()

        place = self.root / "eval-sets" / name
        return EvalSet.open(build(key, place, work, root=self.root, runtime=RUNTIME))

    def examples(self) -> ExampleSet:
        rows = [
            Example(id=str(i), prompt=f"say {chr(97 + i % 7)}", answer=chr(97 + i % 7) * 2)
            for i in range(28)
        ]

        def work(directory: Path) -> Outcome:
            write_examples(directory / "train.jsonl", rows[8:])
            write_examples(directory / "validation.jsonl", rows[4:8])
            write_examples(directory / "held_out.jsonl", rows[:8])
            return Outcome({"train": 20})

        key = artifact_key("examples", 1, {"rows": 28}, [])
        place = self.root / "examples" / short(key.fingerprint)
        return ExampleSet.open(build(key, place, work, root=self.root, runtime=RUNTIME))

    def base(self, steps: int) -> Checkpoint:
        config = replace(
            CONFIG, horizon=Steps(steps), batch_rows=8, prompts=(), validation_every=1000,
            optimizer=AdamWConfig(learning_rate=1e-2),
        )  # fmt: skip
        return pretrain(config, self.shards, self.tokenizer, root=self.root, runtime=RUNTIME)

    def tuned(self, base: Checkpoint, epochs: float, seed: int = 0) -> Checkpoint:
        config = FinetuneConfig(
            horizon=Epochs(epochs), batch_rows=4, optimizer=AdamWConfig(learning_rate=3e-3),
            dtype="float32", validation_every=1000, sample_tokens=4, seed=seed,
        )  # fmt: skip
        return finetune(
            config, base, self.examples(), self.tokenizer, root=self.root, runtime=RUNTIME
        )

    def report(self, checkpoint: Checkpoint, eval_set: EvalSet) -> EvalReport:
        return evaluate(
            MEASURE, checkpoint, self.tokenizer, eval_set, self.examples(), root=self.root,
            runtime=RUNTIME,
        )  # fmt: skip

    def shelved(
        self,
        checkpoint: Checkpoint,
        eval_set: EvalSet,
        tracking: TrackingConfig | None = None,
        **settings: Any,
    ) -> Registration:
        report = self.report(checkpoint, eval_set)
        exported = export_model(
            ExportConfig(), checkpoint, self.tokenizer, report, root=self.root, runtime=RUNTIME
        )

        def evaluate_champion(champion: ExportedModel) -> EvalReport:
            found = Checkpoint.open(self.root / champion.facts["checkpoint"].replace("@", "/"))
            return self.report(found, eval_set)

        return register(
            RegistryConfig(**settings), exported, report, eval_set, root=self.root,
            runtime=RUNTIME, tracking=tracking, evaluate_champion=evaluate_champion,
        )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedWorld:
    return TrainedWorld(fresh_root(tmp_path_factory.mktemp("trained") / "root"))


def test_gate_refuses_a_model_trained_less_and_promotes_one_trained_more(
    trained: TrainedWorld,
) -> None:
    eval_set = trained.eval_set()
    first, worse, better = (trained.shelved(trained.base(steps), eval_set) for steps in (20, 4, 60))
    assert first.promoted and "there was no champion" in first.reason
    assert not worse.promoted and "not better than the champion beyond chance" in worse.reason
    assert worse.figures["low"] > 0.1  # surely worse, by more than a tenth of a bit per byte
    assert better.promoted and better.figures["high"] < -0.01
    assert [done.eval_set_uses for done in (first, worse, better)] == [1, 2, 3]
    assert trained.shelved(trained.base(60), eval_set).eval_set_uses == 3  # the same model again


def test_tuned_models_are_judged_by_their_answers_and_by_what_they_forgot(
    trained: TrainedWorld,
) -> None:
    eval_set = trained.eval_set()
    base = trained.base(60)
    trained.report(base, eval_set)
    loose = {"max_forgetting": 5.0, "max_worsening": 5.0}
    first = trained.shelved(trained.tuned(base, 2.0), eval_set, **loose)
    worse = trained.shelved(trained.tuned(base, 1.0), eval_set, **loose)
    forgetful = trained.tuned(base, 10.0)
    refused = trained.shelved(forgetful, eval_set, max_forgetting=0.0, max_worsening=5.0)
    assert first.promoted and not worse.promoted and not refused.promoted
    assert "it forgot too much" in refused.reason and refused.figures["high"] < 0
    assert trained.shelved(forgetful, eval_set, **loose).promoted


def test_champion_is_scored_again_when_the_set_is_renewed_by_name(trained: TrainedWorld) -> None:
    old = trained.eval_set()
    trained.shelved(trained.base(60), old)
    new = trained.eval_set("held-out-2", tuple(TOPICS[24:28]))
    done = trained.shelved(trained.base(30), new)
    assert not done.promoted and "not better than the champion" in done.reason
    assert (done.eval_set, done.eval_set_uses) == ("held-out-2", 1)
    (judged,) = Ledger(trained.root, "any").judgements(new.fingerprint)
    assert judged.champion_report is not None and judged.eval_set_name == "held-out-2"
    with opened(trained.root) as registry:
        champion = registry.at("gristmill-base", "champion")
    assert champion is not None
    assert champion.tags["gristmill.rescored_report"] == judged.champion_report
    assert float(champion.tags["gristmill.on.held-out-2.bits_per_byte"]) > 0


def test_sync_passes_the_gate_of_a_run_and_measures_the_champion_on_the_new_set(
    trained: TrainedWorld,
) -> None:
    trained.shelved(trained.base(20), trained.eval_set(), name="later")
    new = trained.eval_set("held-out-3", tuple(TOPICS[28:32]))
    dead = TrackingConfig(uri="http://127.0.0.1:9")
    for steps in (4, 60):
        away = trained.shelved(trained.base(steps), new, dead, name="later")
        assert (away.version, away.promoted) == (None, False)
    ledger = trained.root / "journal" / "registry.jsonl"
    # The server is back, as the store under the root.
    ledger.write_text(ledger.read_text().replace("http://127.0.0.1:9", "default"))
    sync_store(trained.root, uri=None)
    worse, better = Ledger(trained.root, "any").judgements(new.fingerprint)
    assert not worse.promoted and "not better than the champion beyond chance" in worse.reason
    assert better.promoted and "better than the champion" in better.reason
    assert worse.champion_report is not None and worse.champion_report == better.champion_report
    with opened(trained.root) as registry:
        assert registry.aliases("later-base") == {"champion": 3, "challenger": 3, "previous": 1}
