"""What a checkpoint is worth: bits per byte, answers to held-out questions, samples.

report.json            perplexity, sft, generations, answers, memorisation; where asked for
                       contamination, tasks, bias
documents.arrow        one row per held-out document, for paired comparison
sft_items.jsonl        one row per question, for paired comparison
responses.arrow        one row per scored answer, for paired comparison
"""

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from model.checkpoint_io import load_model
from model.errors import WeightsError
from model.language_model import LanguageModel
from pipeline.artifacts import Checkpoint, EvalReport, EvalSet, ExampleSet, TrainedTokenizer
from pipeline.conversations.example import Example, read_examples
from pipeline.evals.contamination import overlap_with
from pipeline.evals.document_scores import write_scores
from pipeline.evals.few_shot import Form, choose_shots
from pipeline.evals.generations import Sampling, continue_prompts
from pipeline.evals.given_files import PairFile, TaskFile
from pipeline.evals.held_out_text import frozen_documents
from pipeline.evals.measuring import Materials, MeasuredTokenizer, MeasureOptions, Subject, measure
from pipeline.evals.memorisation import Recital
from pipeline.evals.sft import (
    Item,
    ResponseScores,
    answer_questions,
    choose_questions,
    most_frequent_answers,
    score_responses,
    summarise_items,
    summarise_responses,
    write_items,
    write_responses,
)
from pipeline.evals.training_text import training_text_of
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import ArtifactError, ConfigError, DataError
from pipeline.store.files import write_json
from pipeline.store.fingerprint import short
from pipeline.store.runtime import Runtime
from pipeline.tokens.tokenizer import Tokenizer

VERSION = 6
ANSWERS_SHOWN_PER_KIND = 3


class EvaluateConfig(BaseModel):
    """How a checkpoint is measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stride: int | None = Field(
        None, title="Window stride", ge=1,
        description="tokens a window moves on in long documents; null: half the model's context",
    )  # fmt: skip
    bootstrap_draws: int = Field(
        1_000, title="Bootstrap draws", description="resamples of the documents for the interval",
        ge=100, le=100_000,
    )  # fmt: skip
    questions_per_kind: int = Field(
        100,
        title="Questions per kind",
        description="held-out questions answered for exact match",
        ge=0,
    )
    few_shot: int = Field(
        0,
        title="Shots",
        description="solved training examples before each question, asked a second time; 0: none",
        ge=0,
        le=64,
    )
    few_shot_questions_per_kind: int = Field(
        30, title="Few-shot questions per kind", description="of the same questions", ge=1
    )
    max_answer_tokens: int = Field(
        32,
        title="Longest answer",
        description="tokens after which an answer counts as not ended",
        ge=1,
    )
    prompts: tuple[str, ...] = Field(
        ("Return the", "def read(", "class Path"), title="Prompts",
        description="continued greedily and by sampling",
    )  # fmt: skip
    max_tokens: int = Field(
        64, title="Continuation", description="tokens per continued prompt", ge=1
    )
    temperature: float = Field(
        0.8, title="Temperature", description="of the sampled continuation", gt=0
    )
    top_k: int | None = Field(
        50, title="Top-k", description="sample among the k likeliest; null: all", ge=1
    )
    top_p: float | None = Field(
        0.95,
        title="Top-p",
        description="sample within this probability mass; null: all",
        gt=0,
        le=1,
    )
    memorisation_documents: int = Field(
        64, title="Documents to recite", ge=0,
        description="training openings continued greedily, and as many held-out ones; 0: none",
    )  # fmt: skip
    memorisation_prefix: int = Field(
        32, title="Opening", description="tokens given of a document to recite", ge=1
    )
    memorisation_continuation: int = Field(
        32, title="Recited", description="tokens that must come out exactly", ge=1
    )
    contamination: bool = Field(
        False, title="Contamination",
        description="figures apart for documents whose 13-grams occur in the training text; reads "
        "all of it",
    )  # fmt: skip
    tasks: TaskFile | None = Field(
        None, title="Tasks", description="JSONL of choices, pairs and questions of your own"
    )
    task_shots: tuple[int, ...] = Field(
        (0, 1, 5), title="Task shots", min_length=1,
        description="solved examples before a task's question, one round each",
    )  # fmt: skip
    pairs: PairFile | None = Field(
        None, title="Group pairs", description="JSONL of sentences that differ in the group named"
    )
    seed: int = Field(
        0, title="Seed", description="of the bootstrap and of sampling", ge=0, lt=2**32
    )

    @field_validator("task_shots")
    @classmethod
    def _counts(cls, shots: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 0 <= count <= 64 for count in shots):
            raise ValueError(f"task_shots={list(shots)} must lie within 0 and 64")
        return shots


def evaluate(
    config: EvaluateConfig,
    checkpoint: Checkpoint,
    tokenizer: TrainedTokenizer,
    eval_set: EvalSet,
    examples: ExampleSet,
    *,
    root: Path,
    runtime: Runtime,
) -> EvalReport:
    """Measure `checkpoint` in float32; the report depends on nothing but its inputs and `config`.

    ArtifactError for a checkpoint of another vocabulary, ConfigError for a stride beyond its
    context, DataError for an empty eval set, TrainingError for weights that give no finite loss.
    """
    inputs = [checkpoint.key, tokenizer.key, eval_set.key, examples.key]
    key = artifact_key("evaluate", VERSION, config, inputs)
    directory = root / "eval" / short(key.fingerprint)

    def work(directory: Path) -> Outcome:
        if runtime.threads is not None:
            torch.set_num_threads(runtime.threads)
        model, words = _open(checkpoint, tokenizer, runtime.device)
        report: dict[str, Any] = {
            "checkpoint": checkpoint.ref,
            "eval_set": eval_set.ref,
            "examples": examples.ref,
        }
        # A base model has never seen the form of an answer; asked in it, it would only babble.
        form: Form = "continuation" if checkpoint.stage == "pretrain" else "answer"
        subject = Subject(checkpoint.ref, model, words, form)
        report |= _measured(config, subject, checkpoint, eval_set, directory)
        runtime.progress.advance(1, 3, "parts")
        report |= _generated(config, subject, examples, directory, runtime)
        runtime.progress.advance(3, 3, "parts")
        write_json(directory / "report.json", report)
        facts = headline(report)
        runtime.journal.event("evaluated", facts)
        runtime.journal.metrics(
            {name: value for name, value in facts.items() if isinstance(value, int | float)}, step=0
        )
        return Outcome(facts)

    build(key, directory, work, root=root, runtime=runtime)
    return EvalReport(directory, key.fingerprint)


def _open(
    checkpoint: Checkpoint, tokenizer: TrainedTokenizer, device: str
) -> tuple[LanguageModel, Tokenizer]:
    words = Tokenizer.load(tokenizer.path)
    try:
        model = load_model(checkpoint.weights_path.parent, device=device)
    except WeightsError as error:
        raise ArtifactError(f"{checkpoint.ref} cannot be loaded: {error}") from error
    if words.vocab_size > model.config.vocab_size:
        raise ArtifactError(
            f"{tokenizer.ref} has {words.vocab_size} ids, the model of {checkpoint.ref} only "
            f"{model.config.vocab_size}; evaluate it with the tokenizer it was trained with"
        )
    return model, words


def _measured(
    config: EvaluateConfig,
    subject: Subject,
    checkpoint: Checkpoint,
    eval_set: EvalSet,
    directory: Path,
) -> dict[str, Any]:
    """What `mill evaluate` measures too, and per-document figures for paired comparison."""
    held_out = frozen_documents(eval_set)
    if not held_out["doc_id"]:
        raise DataError(
            f"{eval_set.ref} holds no document; raise eval_set.max_bytes or add documents"
        )
    stride = config.stride
    if stride is not None and stride > subject.context:
        raise ConfigError(
            f"evaluate.stride={stride} exceeds the model's context of {subject.context}; lower it"
        )
    options = MeasureOptions(
        stride=stride, draws=config.bootstrap_draws, seed=config.seed, shots=config.task_shots,
        max_answer_tokens=config.max_answer_tokens,
        recital=Recital(config.memorisation_prefix, config.memorisation_continuation),
        recited_documents=config.memorisation_documents,
    )  # fmt: skip
    training = None
    if config.memorisation_documents or config.contamination:
        training = training_text_of(checkpoint)
    sample: list[str] = []
    overlap = None
    if training is not None:
        if config.memorisation_documents:
            needed = options.recital.needed
            sample = training.sample(config.memorisation_documents, needed, seed=config.seed)
        if config.contamination:
            overlap = overlap_with(held_out["text"], training.texts())
    materials = Materials(
        training.name if training is not None else "", sample, overlap,
        config.tasks.items() if config.tasks is not None else (),
        config.pairs.pairs() if config.pairs is not None else (),
    )  # fmt: skip
    findings = measure(subject, held_out, materials, options)
    write_scores(directory / "documents.arrow", findings.scores, overlap)
    return {name: part for name, part in findings.report.items() if name != "model"}


def _generated(
    config: EvaluateConfig,
    subject: Subject,
    examples: ExampleSet,
    directory: Path,
    runtime: Runtime,
) -> dict[str, Any]:
    """Answers to held-out questions and continued prompts."""
    model, words, context = subject.model, subject.tokenizer, subject.context
    sft, items, responses = _sft(config, model, words, examples, context, subject.form)
    write_items(directory / "sft_items.jsonl", items)
    write_responses(directory / "responses.arrow", responses)
    runtime.progress.advance(2, 3, "parts")
    sampling = Sampling(
        config.max_tokens, config.temperature, config.top_k, config.top_p, config.seed
    )
    return {
        "sft": sft,
        "answers": _shown(items),
        "sampling": {name: getattr(sampling, name) for name in Sampling.__dataclass_fields__},
        "generations": continue_prompts(model, words, config.prompts, sampling, context=context),
    }


def _sft(
    config: EvaluateConfig,
    model: LanguageModel,
    words: MeasuredTokenizer,
    examples: ExampleSet,
    context: int,
    form: Form,
) -> tuple[dict[str, Any], list[Item], ResponseScores]:
    held_out = list(read_examples(examples.path / "held_out.jsonl"))
    validation = list(read_examples(examples.path / "validation.jsonl"))
    scores = {
        "held_out": score_responses(model, words, held_out, context=context),
        "validation": score_responses(model, words, validation, context=context),
    }
    losses = {name: summarise_responses(one) for name, one in scores.items()}
    # A small set of the user's own may have no held-out group; then validation is what there is.
    split = "held_out" if losses["held_out"]["response_tokens"] else "validation"
    asked = held_out if split == "held_out" else validation
    questions = choose_questions(asked, config.questions_per_kind)
    items, no_room = answer_questions(
        model, words, questions, _baselines(questions, examples),
        context=context, max_tokens=config.max_answer_tokens, form=form,
    )  # fmt: skip
    section = {
        "split": split,
        "form": form,
        "response_loss": losses[split]["response_loss"],
        "response_tokens": losses[split]["response_tokens"],
        **losses,
        **summarise_items(items),
        "questions": len(questions),
        "prompts_without_room": no_room,
    }
    if config.few_shot:
        section["few_shot"] = _few_shot(config, model, words, examples, questions, context, form)
    return section, items, scores[split]


def _few_shot(
    config: EvaluateConfig,
    model: LanguageModel,
    words: MeasuredTokenizer,
    examples: ExampleSet,
    questions: list[Example],
    context: int,
    form: Form,
) -> dict[str, Any]:
    """The first of the questions once more, after solved examples of their kind."""
    room = context // (2 * config.few_shot)  # the shots take half of the context at most
    train = read_examples(examples.path / "train.jsonl")
    shots = choose_shots(train, config.few_shot, words, max_tokens=room, seed=config.seed)
    asked = choose_questions(questions, config.few_shot_questions_per_kind)
    items, no_room = answer_questions(
        model, words, asked, _baselines(asked, examples), context=context,
        max_tokens=config.max_answer_tokens, form=form, shots=shots,
    )  # fmt: skip
    return {
        "shots": {kind: len(found) for kind, found in sorted(shots.items())},
        **summarise_items(items),
        "questions": len(asked),
        "prompts_without_room": no_room,
    }


def _baselines(questions: list[Example], examples: ExampleSet) -> dict[str, str]:
    if all(question.copy_baseline is not None for question in questions):
        return {}
    return most_frequent_answers(read_examples(examples.path / "train.jsonl"))


def _shown(items: list[Item]) -> list[dict[str, Any]]:
    """The first few answers of each kind, right or wrong."""
    shown: list[dict[str, Any]] = []
    for kind in sorted({item.kind for item in items}):
        for item in [item for item in items if item.kind == kind][:ANSWERS_SHOWN_PER_KIND]:
            shown.append({
                "prompt": item.prompt, "expected": item.expected, "answer": item.answer,
                "kind": kind, "correct": item.correct, "baseline": item.baseline,
            })  # fmt: skip
    return shown


def headline(report: dict[str, Any]) -> dict[str, Any]:
    """The figures of report.json that go into the manifest and the tracker."""
    perplexity, sft = report["perplexity"], report["sft"]
    names = ("bits_per_byte", "bits_per_byte_low", "bits_per_byte_high", "bits_per_byte_macro",
             "token_perplexity", "nats_per_token", "tokens", "bytes", "documents")  # fmt: skip
    facts: dict[str, Any] = {name: perplexity[name] for name in names}
    excess = report.get("memorisation", {}).get("excess")
    facts["calibration_error"] = perplexity["calibration"].get("ece")
    facts["recited_excess"] = excess["share"] if excess is not None else None
    for row in report.get("tasks", {}).get("rows", ()):
        facts[f"task_{row['task']}_{row['shots']}_shots"] = row["accuracy"]
    facts["response_loss"] = sft["response_loss"]
    facts["eos_rate"] = sft["eos_rate"]
    for book in ("open_book", "closed_book"):
        facts[f"{book}_exact_match"] = sft[book]["rate"]
        facts[f"{book}_baseline"] = sft[book]["baseline"]
        facts[f"{book}_token_f1"] = sft[book]["token_f1"]
        if "few_shot" in sft:
            facts[f"{book}_few_shot_exact_match"] = sft["few_shot"][book]["rate"]
    for kind, row in sft["exact_match"].items():
        facts[f"exact_match_{kind}"] = row["rate"]
    return facts
