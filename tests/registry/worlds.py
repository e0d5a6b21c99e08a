"""A root with everything an export needs, made in milliseconds: tiny models, real files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from model.architectures import Qwen3Config
from model.checkpoint_io import save_model
from pipeline.artifacts import (
    Checkpoint,
    EvalReport,
    EvalSet,
    ExampleSet,
    ExportedModel,
    TrainedTokenizer,
)
from pipeline.evals.sft import ResponseScores, write_responses
from pipeline.stages.export_model import ExportConfig, export_model
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.files import write_json
from pipeline.store.fingerprint import short
from pipeline.store.runtime import Runtime
from pipeline.tokens.huggingface import write_huggingface
from pipeline.tokens.tokenizer import with_our_specials

RUNTIME = Runtime(threads=1)
PATTERN = r"\p{L}+|\p{N}|[^\p{L}\p{N}]"


@dataclass
class World:
    """Makes artifacts under `root`; equal arguments give the same artifact."""

    root: Path

    def _artifact(self, stage: str, home: str, config: Any, inputs: list[str], work: Any) -> Path:
        key = artifact_key(stage, 1, config, inputs)
        name = config["name"] if stage == "eval_set" else short(key.fingerprint)
        return build(key, self.root / home / name, work, root=self.root, runtime=RUNTIME)

    def eval_set(self, name: str = "held-out") -> EvalSet:
        def work(directory: Path) -> Outcome:
            texts = ["Return the path.", "def read(path): return path"]
            table = pa.table({"doc_id": ["1", "2"], "text": texts, "source": ["s", "s"]})
            with pa.ipc.new_file(str(directory / "documents.arrow"), table.schema) as writer:
                writer.write_table(table)
            return Outcome()

        return EvalSet.open(self._artifact("eval_set", "eval-sets", {"name": name}, [], work))

    def examples(self, form: str = "pair") -> ExampleSet:
        row = {"id": "1", "group": "g", "kind": "k", "prompt": "a", "answer": "b"}
        if form == "chat":
            row = {"id": "1", "messages": [{"role": "user", "content": "a"}]}  # type: ignore[dict-item]

        def work(directory: Path) -> Outcome:
            (directory / "train.jsonl").write_text(json.dumps(row) + "\n")
            return Outcome()

        return ExampleSet.open(self._artifact("examples", "examples", {"form": form}, [], work))

    def tokenizer(self) -> TrainedTokenizer:
        tokenizer = with_our_specials("bytes", PATTERN, {bytes([i]): i for i in range(256)})

        def work(directory: Path) -> Outcome:
            tokenizer.save(directory)
            write_huggingface(tokenizer, directory / "hf")
            return Outcome({"vocab_size": tokenizer.vocab_size})

        return TrainedTokenizer.open(self._artifact("tokenizer", "tokenizer", {}, [], work))

    def base(self, seed: int = 0, context_length: int = 48) -> Checkpoint:
        return self._checkpoint("pretrain", seed, context_length, [self.tokenizer().key])

    def tuned(self, base: Checkpoint, seed: int = 100, form: str = "pair") -> Checkpoint:
        inputs = [base.key, self.examples(form).key, self.tokenizer().key]
        return self._checkpoint("finetune", seed, 48, inputs)

    def _checkpoint(
        self, stage: str, seed: int, context_length: int, inputs: list[str]
    ) -> Checkpoint:
        config = Qwen3Config(
            vocab_size=263, context_length=context_length, width=16, layers=1, heads=2,
            kv_heads=1, head_width=8, hidden_width=32,
        )  # fmt: skip

        def work(directory: Path) -> Outcome:
            model = config.build(seed=seed)
            save_model(model, directory / "final")
            return Outcome({"steps": 3, "num_parameters": model.num_parameters()})

        settings = {"seed": seed, "context_length": context_length}
        return Checkpoint.open(self._artifact(stage, stage, settings, inputs, work))

    def exported(self, checkpoint: Checkpoint, report: EvalReport) -> ExportedModel:
        return export_model(
            ExportConfig(), checkpoint, self.tokenizer(), report, root=self.root, runtime=RUNTIME
        )

    def report(
        self,
        checkpoint: Checkpoint,
        eval_set: EvalSet,
        *,
        bits: float,
        response_loss: float = 2.0,
        form: str = "pair",
        answers: int = 10,
        answer_tokens: int = 50,
        stride: int | None = None,
        worse: dict[str, float] | None = None,
        noise: float = 0.0,
    ) -> EvalReport:
        """Ten documents of 100 bytes, all at about `bits` per byte.

        Two are of the source `small`, three in German; `worse` multiplies what a source or language
        needs. Answers alternate by `noise` nats above and below their mean.
        """
        inputs = [checkpoint.key, eval_set.key, self.examples(form).key]
        sources, languages = ["s"] * 8 + ["small"] * 2, ["en"] * 5 + ["de"] * 3 + ["en"] * 2
        factors = [
            (worse or {}).get(source, 1.0) * (worse or {}).get(language, 1.0)
            for source, language in zip(sources, languages, strict=True)
        ]
        steps = [i for i in range(-5, 6) if i]
        nats = [
            100 * (bits + 0.001 * i) * 0.6931471805599453 * factor
            for i, factor in zip(steps, factors, strict=True)
        ]
        mean = response_loss * answer_tokens / answers
        sways = [noise if i % 2 else -noise for i in range(answers)]
        responses = ResponseScores(
            tuple(f"a{i}" for i in range(answers)), ("k",) * answers,
            np.array([mean + sway for sway in sways]),
            np.full(answers, answer_tokens // answers), 0, 0,
        )  # fmt: skip
        figures = {
            "bits_per_byte": bits,
            "bits_per_byte_low": bits - 0.01,
            "bits_per_byte_high": bits + 0.01,
        }

        def work(directory: Path) -> Outcome:
            scored = {"examples": answers, "response_tokens": answer_tokens}
            sft = {"response_loss": response_loss, "split": "held_out", "held_out": scored}
            report = {"perplexity": figures, "sft": sft}
            write_json(directory / "report.json", report)
            table = pa.table(
                {
                    "doc_id": [f"d{i}" for i in range(10)],
                    "source": sources,
                    "language": languages,
                    "nats": pa.array(nats, pa.float64()),
                    "tokens": [90] * 10,
                    "bytes": [100] * 10,
                }
            )
            with pa.ipc.new_file(str(directory / "documents.arrow"), table.schema) as writer:
                writer.write_table(table)
            write_responses(directory / "responses.arrow", responses)
            return Outcome({**figures, "response_loss": response_loss})

        config: dict[str, Any] = {"bits": bits, "response_loss": response_loss}
        if (answers, answer_tokens, stride) != (10, 50, None):
            config |= {"answers": answers, "answer_tokens": answer_tokens, "stride": stride}
        if worse or noise:
            config |= {"worse": worse, "noise": noise}
        return EvalReport.open(self._artifact("evaluate", "eval", config, inputs, work))
