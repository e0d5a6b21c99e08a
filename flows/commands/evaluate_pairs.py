"""`mill evaluate` for an encoder-decoder: nats per target token, labelled as what they are.

pairs.jsonl                 {"source": ..., "target": ...}    what was written for what
any other text              spans are cut out of it, and are to be written
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from model.objectives import SpanCorruption
from pipeline.evals.held_out_text import HeldOutText
from pipeline.evals.measuring import MeasureOptions
from pipeline.evals.pseudo_perplexity import write_places
from pipeline.evals.target_loss import (
    Pair,
    read_pairs_file,
    score_pairs,
    span_pairs,
    summarise_targets,
)
from pipeline.reports.blocks import Figure, Figures, Section, Text
from pipeline.reports.html import render_html
from pipeline.reports.numbers import count, number, percent
from pipeline.reports.terminal import print_sections
from pipeline.serving.loading import LoadedModel
from pipeline.store.errors import ConfigError
from pipeline.store.files import sha256_file, write_json, write_text
from pipeline.tokens.tokenizer import Tokenizer

MAX_WINDOWS = 2_000
KEYS = ({"source", "target"}, {"prompt", "answer"})


def pairs_file(data: str) -> Path | None:
    """The file, where its first line is a source with its target; None for any other data."""
    path = Path(data).expanduser()
    if path.suffix not in (".jsonl", ".ndjson") or not path.is_file():
        return None
    with open(path, "rb") as lines:
        first = next((line for line in lines if line.strip()), b"")
    try:
        row = json.loads(first)
    except ValueError:
        return None
    return path if isinstance(row, dict) and any(keys <= set(row) for keys in KEYS) else None


def evaluate_pairs(loaded: LoadedModel, path: Path, options: MeasureOptions, out: Path) -> None:
    """Print and write the loss on a file of pairs; ConfigError for a model without an encoder."""
    if not loaded.writes_targets:
        raise ConfigError(
            f"{path} holds sources with targets, which {loaded.name} does not write: it is no "
            "encoder-decoder; give it text"
        )
    names, pairs, left_out = read_pairs_file(
        path, loaded.tokenizer, limit=loaded.context_length + 1
    )
    data = {"name": str(path), "digest": sha256_file(path), "left_out": left_out}
    _measure(loaded, names, pairs, data, options, out)


def evaluate_spans(
    loaded: LoadedModel, held_out: HeldOutText, options: MeasureOptions, out: Path
) -> None:
    """The same with spans cut out of text; ConfigError for a tokenizer without sentinels here."""
    if not isinstance(loaded.tokenizer, Tokenizer):
        raise ConfigError(
            f"{loaded.name} is an encoder-decoder whose sentinels are not known here; evaluate the "
            "checkpoint it was exported from, as pretrain@..., or give pairs: a .jsonl of source "
            "and target"
        )
    documents = held_out.documents
    pairs = span_pairs(
        SpanCorruption(), loaded.tokenizer, documents["doc_id"], documents["text"],
        window=loaded.context_length, max_pairs=MAX_WINDOWS, seed=options.seed,
    )  # fmt: skip
    data = {"name": held_out.name, "digest": held_out.digest, "left_out": held_out.left_out}
    _measure(loaded, documents["doc_id"], pairs, data, options, out)


def _measure(
    loaded: LoadedModel,
    names: Sequence[str],
    pairs: Sequence[Pair],
    data: dict[str, Any],
    options: MeasureOptions,
    out: Path,
) -> None:
    scored = score_pairs(loaded.model, names, pairs, start=loaded.tokenizer.bos)
    found = summarise_targets(scored, pairs=len(pairs), draws=options.draws, seed=options.seed)
    out.mkdir(parents=True, exist_ok=True)
    write_json(
        out / "evaluation.json", {"model": loaded.description, "data": data, "targets": found}
    )
    write_places(out / "places.arrow", scored)
    sections = [_section(found)]
    page = render_html(loaded.name, f"on {data['name']} · {data['digest'][:12]}", sections)
    write_text(out / "evaluation.html", page)
    console = Console()
    console.print(loaded.description, highlight=False, soft_wrap=True, markup=False)
    print_sections(sections, console)
    for reason, left in data["left_out"].items():
        console.print(f"{left:,} not scored: {reason}", highlight=False, markup=False)
    print(f"written to {(out / 'evaluation.html').absolute()}")


def _section(found: dict[str, Any]) -> Section:
    interval = f"{number(found['nats_per_token_low'])} to {number(found['nats_per_token_high'])}"
    figures = (
        Figure("nats per target token", number(found["nats_per_token"]), interval),
        Figure("nats per target", number(found["nats_per_target"], 2)),
        Figure("likeliest is right", percent(found["accuracy"])),
        Figure("targets", count(found["targets"]), f"of {count(found['tokens'])} tokens"),
    )
    rule = f"{found['label']}; 95 % bootstrap interval over documents."
    return Section("masked", "Targets", (Figures(figures), Text(rule)))
