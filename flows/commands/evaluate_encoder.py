"""`mill evaluate` for a model that sees both sides: pseudo-perplexity, labelled as what it is."""

from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.evals.held_out_text import HeldOutText
from pipeline.evals.measuring import MeasureOptions
from pipeline.evals.pseudo_perplexity import score_masked, summarise_masked, write_places
from pipeline.reports.blocks import Figure, Figures, Section, Text
from pipeline.reports.html import render_html
from pipeline.reports.numbers import count, number, percent
from pipeline.reports.terminal import print_sections
from pipeline.serving.loading import LoadedModel
from pipeline.store.errors import ConfigError
from pipeline.store.files import write_json, write_text
from pipeline.tokens.tokenizer import Tokenizer

MAX_PLACES = 2_000  # each costs a forward pass of a whole window


def evaluate_encoder(
    loaded: LoadedModel, held_out: HeldOutText, options: MeasureOptions, out: Path
) -> None:
    """Print and write the pseudo-perplexity; ConfigError for a tokenizer of other kinds."""
    tokenizer = loaded.tokenizer
    if not isinstance(tokenizer, Tokenizer) or not tokenizer.has_mask:
        raise ConfigError(
            f"{loaded.name} is an encoder whose tokenizer names no mask token here; evaluate the "
            "checkpoint it was exported from, as pretrain@..."
        )
    window = loaded.context_length
    documents = held_out.documents
    scored = score_masked(
        loaded.model, tokenizer, documents["doc_id"], documents["text"],
        max_places=MAX_PLACES, window=window, seed=options.seed,
    )  # fmt: skip
    found = summarise_masked(scored, window=window, draws=options.draws, seed=options.seed)
    out.mkdir(parents=True, exist_ok=True)
    data = {"name": held_out.name, "digest": held_out.digest, "left_out": held_out.left_out}
    write_json(
        out / "evaluation.json", {"model": loaded.description, "data": data, "masked": found}
    )
    write_places(out / "places.arrow", scored)
    sections = [_section(found)]
    page = render_html(loaded.name, f"on {held_out.name} · {held_out.digest[:12]}", sections)
    write_text(out / "evaluation.html", page)
    console = Console()
    console.print(loaded.description, highlight=False, soft_wrap=True, markup=False)
    print_sections(sections, console)
    print(f"written to {(out / 'evaluation.html').absolute()}")


def _section(found: dict[str, Any]) -> Section:
    interval = f"{number(found['nats_per_token_low'])} to {number(found['nats_per_token_high'])}"
    figures = (
        Figure("pseudo-perplexity", number(found["pseudo_perplexity"], 2)),
        Figure("nats per hidden token", number(found["nats_per_token"]), interval),
        Figure("likeliest is right", percent(found["accuracy"])),
        Figure("hidden", count(found["places"]), f"of {count(found['tokens_in_all'])} tokens"),
    )
    rule = f"{found['label']}; window {found['window']}, 95 % bootstrap interval over documents."
    return Section("masked", "Hidden tokens", (Figures(figures), Text(rule)))
