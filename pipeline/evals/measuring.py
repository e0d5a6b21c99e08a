"""Everything that is measured of one model on one set of documents, and two models side by side.

model, documents           -> perplexity, position curve, calibration
training text, if known    -> memorisation, contamination
tasks, pairs, if given     -> few-shot accuracy, gaps between groups
findings of two models     -> paired differences with intervals
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from model.language_model import LanguageModel
from pipeline.evals.bias_pairs import GroupPair, PairGaps, compare_gaps, pair_gaps, summarise_gaps
from pipeline.evals.contamination import CLEAN_OVERLAP, contamination
from pipeline.evals.document_scores import DocumentScores
from pipeline.evals.few_shot import Form
from pipeline.evals.memorisation import Recital, memorisation
from pipeline.evals.paired import compare_nats
from pipeline.evals.perplexity import ByteTokenizer, score_documents, summarise
from pipeline.evals.sft import AnswerTokenizer
from pipeline.evals.statistics import bootstrap_weights, percentile_interval
from pipeline.evals.task_file import TaskItem
from pipeline.evals.tasks import TaskResult, answer_tasks, summarise_tasks
from pipeline.store.errors import ConfigError, DataError


class MeasuredTokenizer(AnswerTokenizer, ByteTokenizer, Protocol):
    """What measuring needs of a tokenizer; ours and Hugging Face's both have it."""


@dataclass(frozen=True)
class Subject:
    """A model that is measured, with its tokenizer and the form it is asked in."""

    name: str
    model: LanguageModel
    tokenizer: MeasuredTokenizer
    form: Form

    @property
    def context(self) -> int:
        """Tokens of its context."""
        return int(self.model.config.context_length)


@dataclass(frozen=True)
class MeasureOptions:
    """How models are measured; the same for all that are compared."""

    stride: int | None = None
    """None: half of each model's context."""
    draws: int = 1_000
    seed: int = 0
    shots: tuple[int, ...] = (0, 1, 5)
    max_answer_tokens: int = 32
    recital: Recital = Recital(32, 32)
    recited_documents: int = 100
    clean_overlap: float = CLEAN_OVERLAP


@dataclass(frozen=True)
class Materials:
    """What is measured with besides the documents; None or empty leaves its part out."""

    training_name: str = ""
    training_sample: Sequence[str] = ()
    """Texts the model was trained on, enough of them to recite."""
    overlap: np.ndarray | None = None
    """(D,) share of each document's 13-grams that the training text holds."""
    tasks: Sequence[TaskItem] = ()
    pairs: Sequence[GroupPair] = ()


@dataclass(frozen=True)
class Findings:
    """What was found: `report` for reading, the rest for comparing."""

    report: dict[str, Any]
    scores: DocumentScores
    results: tuple[TaskResult, ...]
    gaps: PairGaps | None


def measure(
    subject: Subject,
    documents: Mapping[str, Sequence[str]],
    materials: Materials,
    options: MeasureOptions,
) -> Findings:
    """All parts for one model.

    ConfigError for a stride beyond its context, DataError for documents or a tokenizer that give no
    figure, TrainingError for weights without a finite loss.
    """
    context = subject.context
    stride = options.stride if options.stride is not None else max(1, context // 2)
    if stride > context:
        raise ConfigError(
            f"stride={stride} exceeds the context of {subject.name}, {context} tokens; lower it"
        )
    scores = score_documents(
        subject.model, subject.tokenizer, documents, context=context, stride=stride
    )
    report: dict[str, Any] = {
        "model": subject.name,
        "perplexity": summarise(
            scores, context=context, stride=stride, draws=options.draws, seed=options.seed
        ),
    }
    if materials.overlap is not None:
        report["contamination"] = contamination(
            scores, materials.overlap, limit=options.clean_overlap, draws=options.draws,
            seed=options.seed,
        ) | {"training_text": materials.training_name}  # fmt: skip
    if materials.training_sample:
        report["memorisation"] = recite(subject, documents["text"], materials, options)
    results: list[TaskResult] = []
    if materials.tasks:
        results, left_out = answer_tasks(
            subject.model, subject.tokenizer, materials.tasks, context=context,
            shots=options.shots, form=subject.form, max_tokens=options.max_answer_tokens,
            seed=options.seed,
        )  # fmt: skip
        report["tasks"] = {
            "form": subject.form, "rows": summarise_tasks(results), "left_out": left_out,
        }  # fmt: skip
    gaps = None
    if materials.pairs:
        gaps = pair_gaps(subject.model, subject.tokenizer, materials.pairs, context=context)
        report["bias"] = {
            "rows": summarise_gaps(gaps, draws=options.draws, seed=options.seed),
            "too_long": gaps.too_long,
        }
    return Findings(report, scores, tuple(results), gaps)


def recite(
    subject: Subject, held_out: Sequence[str], materials: Materials, options: MeasureOptions
) -> dict[str, Any]:
    """The memorisation section; without figures where the context is too short for them."""
    recital = options.recital
    if not recital.fits(subject.context):
        return {"left_out": f"the context of {subject.context} has no room for {recital.needed}"}
    most = options.recited_documents

    def long_enough(texts: Sequence[str]) -> list[list[int]]:
        encoded = (subject.tokenizer.encode(text) for text in _spread(texts, 4 * most))
        return [ids for ids in encoded if len(ids) >= recital.needed][:most]

    trained, unseen = long_enough(materials.training_sample), long_enough(held_out)
    found = memorisation(subject.model, subject.tokenizer.bos, trained, unseen, recital)
    return found | {"training_text": materials.training_name}


def _spread(texts: Sequence[str], most: int) -> Sequence[str]:
    """At most `most` of them, evenly spaced."""
    return texts[:: max(1, -(-len(texts) // most))]


def compare_findings(
    candidate: Findings, other: Findings, options: MeasureOptions
) -> dict[str, Any]:
    """Candidate minus other on the same documents, questions and pairs.

    Negative bits per byte mean that the candidate is better. DataError for other documents.
    """
    ours, theirs = candidate.scores, other.scores
    if ours.doc_ids != theirs.doc_ids or not np.array_equal(ours.num_bytes, theirs.num_bytes):
        raise DataError("the two models scored different documents; score both on the same")
    sources, languages = np.array(ours.sources, object), np.array(ours.languages, object)
    return {
        "candidate": candidate.report["model"],
        "other": other.report["model"],
        "bits_per_byte": _paired(ours, theirs, np.ones(len(ours.nats), bool), options),
        "per_source": {
            name: _paired(ours, theirs, sources == name, options)
            for name in sorted(set(ours.sources))
        },
        "per_language": {
            name: _paired(ours, theirs, languages == name, options)
            for name in sorted(set(ours.languages))
        },
        "tasks": _paired_tasks(candidate.results, other.results, options),
        "bias": []
        if candidate.gaps is None or other.gaps is None
        else compare_gaps(candidate.gaps, other.gaps, draws=options.draws, seed=options.seed),
    }


def _paired(
    ours: DocumentScores, theirs: DocumentScores, chosen: np.ndarray, options: MeasureOptions
) -> dict[str, Any]:
    num_bytes = ours.num_bytes[chosen].astype(np.float64)
    if not num_bytes.any():
        return {"documents": 0}
    return asdict(
        compare_nats(
            ours.nats[chosen], theirs.nats[chosen], num_bytes, draws=options.draws,
            seed=options.seed,
        )
    )  # fmt: skip


def _paired_tasks(
    ours: Sequence[TaskResult], theirs: Sequence[TaskResult], options: MeasureOptions
) -> list[dict[str, Any]]:
    known = {(result.shots, result.number): result.score for result in theirs}
    groups: dict[tuple[str, int], list[float]] = {}
    for result in ours:
        if (result.shots, result.number) in known:
            gain = result.score - known[result.shots, result.number]
            groups.setdefault((result.task, result.shots), []).append(gain)
    rows = []
    for (task, shots), gains in groups.items():
        values = np.array(gains)
        weights = bootstrap_weights(len(values), options.draws, options.seed)
        interval = percentile_interval(weights @ values / len(values))
        rows.append({
            "task": task, "shots": shots, "asked": len(values), "gain": float(values.mean()),
            "low": interval.low, "high": interval.high,
        })  # fmt: skip
    return rows
