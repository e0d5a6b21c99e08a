"""Text the model writes while it learns: untrained, after 10 s, 60 s, 10 min ... and at the end.

Every row draws from a generator of its own, so sampling cannot change the weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.generate import generate
from model.language_model import LanguageModel
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.training.filling import fill_masks, filled
from pipeline.training.job import TrainingJob
from pipeline.training.records import append, read_records
from pipeline.training.rewriting import shown, write_targets

UNTRAINED, END = "untrained", "end"
MOMENTS = ((10.0, "10 s"), (60.0, "60 s"), (600.0, "10 min"), (3_600.0, "1 h"), (21_600.0, "6 h"))
TEMPERATURE, TOP_K = 0.8, 50  # guess: varied text that still shows what was learnt


@dataclass
class Sampler:
    """Continues the job's prompts and appends the texts to `samples.jsonl`."""

    job: TrainingJob
    model: LanguageModel
    tokenizer: Tokenizer
    path: Path
    written: set[str]
    """The moments that are already in the file."""

    @classmethod
    def open(cls, job: TrainingJob, model: LanguageModel) -> "Sampler":
        """A sampler that goes on after what `samples.jsonl` holds."""
        path = job.path / "samples.jsonl"
        written = {record["when"] for record in read_records(path)}
        return cls(job, model, Tokenizer.load(Path(job.tokenizer)), path, written)

    def due(self, seconds: float) -> str | None:
        """The moment that has come and is not written yet."""
        for limit, name in MOMENTS:
            if seconds >= limit and name not in self.written:
                return name
        return None

    def write(self, when: str, *, step: int, seconds: float) -> list[dict[str, Any]]:
        """Continue every prompt once; what is written already is read back."""
        if when in self.written:
            return [record for record in read_records(self.path) if record["when"] == when]
        if not self.job.prompts:
            return []
        if self.job.objective.attention == "bidirectional":
            return self._fill(when, step=step, seconds=seconds)
        if self.job.objective.attention == "encoder-decoder":
            return self._rewrite(when, step=step, seconds=seconds)
        prompts = self._prompt_ids()
        room = self.job.context_length - max(map(len, prompts))
        max_tokens = min(self.job.sample_tokens, room)
        outputs = self._generate(prompts, max_tokens)
        records = []
        for prompt, ids in zip(self.job.prompts, outputs, strict=True):
            records.append({
                "when": when, "seconds": round(seconds, 2), "step": step, "prompt": prompt,
                "text": self._text(ids), "stopped": len(ids) < max_tokens,
                "tokens": len(ids), "repeated": repeated_share(ids),
            })  # fmt: skip
        append(self.path, records)
        self.written.add(when)
        return records

    def _fill(self, when: str, *, step: int, seconds: float) -> list[dict[str, Any]]:
        """An encoder does not continue: it finds the masked tokens of each prompt."""
        was_training = self.model.training
        self.model.eval()
        try:
            found = [fill_masks(self.model, self.tokenizer, p) for p in self.job.prompts]
        finally:
            self.model.train(was_training)
        records = [
            {
                "when": when, "seconds": round(seconds, 2), "step": step, "prompt": prompt,
                "text": filled(prompt, candidates), "stopped": True, "tokens": len(candidates),
                "repeated": 0.0,
                "candidates": [[[c.text, round(c.probability, 4)] for c in places]
                               for places in candidates],
            }
            for prompt, candidates in zip(self.job.prompts, found, strict=True)
        ]  # fmt: skip
        append(self.path, records)
        self.written.add(when)
        return records

    def _rewrite(self, when: str, *, step: int, seconds: float) -> list[dict[str, Any]]:
        """An encoder-decoder writes what belongs in the places of the sentinels."""
        was_training = self.model.training
        self.model.eval()
        try:
            targets = write_targets(
                self.model, self.tokenizer, self.job.prompts, max_tokens=self.job.sample_tokens
            )
        finally:
            self.model.train(was_training)
        records = [
            {
                "when": when, "seconds": round(seconds, 2), "step": step, "prompt": prompt,
                "text": shown(prompt, target.text), "target": target.text,
                "stopped": target.ended, "tokens": len(target.ids),
                "repeated": repeated_share(target.ids),
            }
            for prompt, target in zip(self.job.prompts, targets, strict=True)
        ]  # fmt: skip
        append(self.path, records)
        self.written.add(when)
        return records

    def _prompt_ids(self) -> list[list[int]]:
        """Text continues after bos, an answer after its question and bos; cut from the left."""
        job, bos = self.job, self.tokenizer.bos
        room = prompt_room(job.context_length, job.sample_tokens)
        if job.prompt_ids:
            return [list(ids[-room:]) for ids in job.prompt_ids]
        texts = [self.tokenizer.encode(prompt)[-room:] for prompt in job.prompts]
        return [[*ids, bos] if job.answer_prompts else [bos, *ids] for ids in texts]

    def _generate(self, prompts: list[list[int]], max_tokens: int) -> list[list[int]]:
        was_training = self.model.training
        self.model.eval()
        try:
            return generate(
                self.model,
                prompts,
                max_tokens=max_tokens,
                temperature=0.0 if self.job.answer_prompts else TEMPERATURE,
                top_k=TOP_K,
                stop_ids=self._stops(),
                seed=self.job.seed,
            )
        finally:
            self.model.train(was_training)

    def _text(self, ids: Sequence[int]) -> str:
        """A model may have more ids than its tokenizer, to round up its size; they are no text."""
        return self.tokenizer.decode([i for i in ids if i < self.tokenizer.vocab_size])

    def _stops(self) -> tuple[int, ...]:
        """An answer ends with eos, a turn of a conversation with `end`."""
        eos = self.tokenizer.eos
        return (eos, self.tokenizer.end) if self.job.answer_prompts else (eos,)


def prompt_room(context_length: int, sample_tokens: int) -> int:
    """Ids a prompt may have beside its bos; it keeps half of a context too small for the sample."""
    return max(1, context_length - min(sample_tokens, context_length // 2) - 1)


def repeated_share(ids: Sequence[int], n: int = 4) -> float:
    """Share of n-grams seen before in the same text: 0 for varied text, near 1 for a loop."""
    grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return round(1 - len(set(grams)) / len(grams), 4) if grams else 0.0


def sample_metrics(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """How the samples end, how long they are and how much they repeat themselves, on average."""
    if not records:
        return {}
    count = len(records)
    return {
        "samples/stopped_rate": sum(bool(record["stopped"]) for record in records) / count,
        "samples/tokens": sum(record["tokens"] for record in records) / count,
        "samples/repeated_4grams": sum(record["repeated"] for record in records) / count,
    }


def stopped_rate(records: list[dict[str, Any]]) -> float | None:
    """Share of samples that ended by themselves: near 0 after tuning betrays a wrong loss mask."""
    if not records:
        return None
    return sum(bool(record["stopped"]) for record in records) / len(records)
