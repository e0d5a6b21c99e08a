"""`mill evaluate MODEL DATA`: what a model is worth on any text, alone or beside another.

Prints tables and writes `evaluation.json`, `evaluation.html`, and per-document figures.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from flows.commands.evaluate_encoder import evaluate_encoder
from flows.commands.evaluate_pairs import evaluate_pairs, evaluate_spans, pairs_file
from flows.commands.store import existing_root
from pipeline.evals.bias_pairs import read_pairs
from pipeline.evals.contamination import overlap_with
from pipeline.evals.document_scores import write_scores
from pipeline.evals.held_out_text import HeldOutText, read_held_out
from pipeline.evals.measuring import (
    Findings,
    Materials,
    MeasureOptions,
    Subject,
    compare_findings,
    measure,
)
from pipeline.evals.task_file import read_tasks
from pipeline.evals.training_text import GivenTexts, TrainingText, training_text_of
from pipeline.reports.evaluation_sections import evaluation_sections
from pipeline.reports.html import render_html
from pipeline.reports.terminal import print_sections
from pipeline.serving.loading import LoadedModel, artifact_named, load_model
from pipeline.store.errors import ConfigError
from pipeline.store.files import write_json, write_text
from pipeline.tracking.config import tracking_at

EVALUATION_VERSION = 1
NO_TRAINING = "none"


@dataclass(frozen=True)
class EvaluationRequest:
    """What `mill evaluate` was asked for."""

    model: str
    data: str
    against: str | None = None
    tasks: Path | None = None
    pairs: Path | None = None
    training: str | None = None
    """Files the model was trained on; None: what a checkpoint of ours names; "none": nothing."""
    text_field: str = "text"
    documents: int | None = None
    device: str = "auto"
    uri: str | None = None
    """Of the registry; None: where the root registered the model."""


def evaluate_model(
    request: EvaluationRequest, options: MeasureOptions, *, out: Path, root: Path
) -> None:
    """Measure, print, write. Files a person names are read before any model is loaded."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out={out} is a file; name a folder")
    references = [request.model, *([request.against] if request.against else [])]
    if any(reference.startswith("models:/") for reference in references):
        root = existing_root(root)
    tasks = read_tasks(request.tasks) if request.tasks else []
    pairs = read_pairs(request.pairs) if request.pairs else []
    given = pairs_file(request.data)
    if given is not None:
        if request.against or tasks or pairs:
            raise ConfigError(f"{given} holds pairs: --against, --tasks and --pairs need text")
        only = load_model(
            request.model, root, device=_device(request.device), tracking=tracking_at(request.uri)
        )
        evaluate_pairs(only, given, options, out)
        return
    held_out = read_held_out(
        request.data, root=root, text_field=request.text_field, most=request.documents,
        seed=options.seed,
    )  # fmt: skip
    device = _device(request.device)
    tracking = tracking_at(request.uri)
    loaded = [load_model(one, root, device=device, tracking=tracking) for one in references]
    for one in loaded:
        if one.classifies:
            raise ConfigError(
                f"{one.name} is a classifier: text says nothing of how often it is right; a run "
                "with the section classify measures it on labels"
            )
    encoders = [one for one in loaded if one.model.config.attention != "causal"]
    if encoders:
        if len(loaded) > 1 or tasks or pairs:
            raise ConfigError(
                f"{encoders[0].name} sees both sides of a token: --against, --tasks and --pairs "
                "need models that read from left to right"
            )
        measure_encoder = evaluate_spans if encoders[0].writes_targets else evaluate_encoder
        measure_encoder(encoders[0], held_out, options, out)
        return
    training = _training(request, root)
    materials = Materials(tasks=tasks, pairs=pairs)
    if training is not None:
        needed = options.recital.needed
        materials = Materials(
            training.name, training.sample(options.recited_documents, needed, seed=options.seed),
            overlap_with(held_out.texts, training.texts()), tasks, pairs,
        )  # fmt: skip
    findings = [
        measure(_subject(one, name), held_out.documents, materials, options)
        for one, name in zip(loaded, _names(references), strict=True)
    ]
    comparison = compare_findings(findings[0], findings[1], options) if len(findings) == 2 else None
    content = _content(request, held_out, loaded, findings, comparison)
    _write(out, content, held_out, findings, materials)
    reports = [(finding.report["model"], finding.report) for finding in findings]
    sections = evaluation_sections(reports, comparison)
    title = " and ".join(name for name, _ in reports)
    subtitle = f"on {held_out.name} · {len(held_out.texts):,} documents · {held_out.digest[:12]}"
    write_text(out / "evaluation.html", render_html(title, subtitle, sections))
    console = Console()
    for one in loaded:
        console.print(one.description, highlight=False, soft_wrap=True, markup=False)
    print_sections(sections, console)
    for reason, number in held_out.left_out.items():
        console.print(f"{number:,} documents not scored: {reason}", highlight=False)
    if training is None:
        console.print(
            "no memorisation or contamination: the training text is not known here "
            "(name it with --training)", highlight=False, soft_wrap=True,
        )  # fmt: skip
    print(f"written to {(out / 'evaluation.html').absolute()}")


def _content(
    request: EvaluationRequest,
    held_out: HeldOutText,
    loaded: list[LoadedModel],
    findings: list[Findings],
    comparison: dict[str, Any] | None,
) -> dict[str, Any]:
    return {
        "evaluation_version": EVALUATION_VERSION,
        "data": {
            "name": held_out.name, "digest": held_out.digest, "documents": len(held_out.texts),
            "left_out": held_out.left_out,
        },
        "models": [
            {"description": one.description, **finding.report}
            for one, finding in zip(loaded, findings, strict=True)
        ],
        "comparison": comparison,
        "torch": torch.__version__, "device": _device(request.device),
    }  # fmt: skip


def _write(
    out: Path,
    content: dict[str, Any],
    held_out: HeldOutText,
    findings: list[Findings],
    materials: Materials,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "evaluation.json", content)
    for name, finding in zip(("documents", "documents-against"), findings, strict=False):
        write_scores(out / f"{name}.arrow", finding.scores, materials.overlap)
    answers = [
        json.dumps({"model": finding.report["model"], **vars(result)}, ensure_ascii=False)
        for finding in findings
        for result in finding.results
    ]
    if answers:
        write_text(out / "tasks.jsonl", "\n".join(answers) + "\n")


def _subject(loaded: LoadedModel, name: str) -> Subject:
    form = "answer" if loaded.prompt_form == "answer" else "continuation"
    return Subject(name, loaded.model, loaded.tokenizer, form)  # type: ignore[arg-type]


def _names(references: list[str]) -> list[str]:
    """What tables call the models: the last parts of paths, or all of them where those meet."""
    names = [r if "@" in r or ":" in r else Path(r).resolve().name for r in references]
    if len(set(names)) == len(names):
        return names
    return [f"{reference} ({i})" for i, reference in enumerate(references, 1)]


def _training(request: EvaluationRequest, root: Path) -> TrainingText | None:
    if request.training == NO_TRAINING:
        return None
    if request.training is not None:
        given = read_held_out(request.training, root=root, text_field=request.text_field)
        return GivenTexts(given.name, given.texts)
    if request.model.startswith("models:/"):
        return None
    artifact = artifact_named(request.model, root)
    return None if artifact is None else training_text_of(artifact)


def _device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"--device={wanted}, but torch finds no GPU here; use cpu")
    return wanted
