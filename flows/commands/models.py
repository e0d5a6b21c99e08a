"""`mill chat`, `mill serve`, `mill trace`: use a model from the terminal."""

import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from flows.commands.store import existing_root
from model.architectures import BertClassifierConfig
from pipeline.evals.classification import probabilities
from pipeline.reports.trace import trace
from pipeline.reports.trace_html import render_trace_html
from pipeline.reports.trace_terminal import render_trace
from pipeline.serving.chat import stream_answer
from pipeline.serving.loading import LoadedModel, load_model
from pipeline.serving.server import serve
from pipeline.store.errors import ConfigError
from pipeline.store.files import write_text
from pipeline.tracking.config import tracking_at
from pipeline.training.filling import fill_masks, filled
from pipeline.training.rewriting import filled_spans, write_targets


def chat_with(
    reference: str, *, once: str | None, temperature: float, top_k: int | None,
    top_p: float | None, max_tokens: int, seed: int, root: Path, uri: str | None = None,
) -> None:  # fmt: skip
    """Answer one prompt, or prompts until the input ends; every prompt starts afresh."""
    loaded = _loaded(reference, root, uri)
    settings = {
        "temperature": temperature, "top_k": top_k, "top_p": top_p,
        "max_tokens": max_tokens, "seed": seed,
    }  # fmt: skip

    def reply(prompt: str) -> None:
        if loaded.classifies:
            print_classes(loaded, prompt)
            return
        if loaded.fills_masks:
            print_filled(loaded, prompt, count=top_k or 5)
            return
        if loaded.writes_targets:
            print_written(
                loaded, prompt, max_tokens=max_tokens, temperature=temperature, top_k=top_k,
                top_p=top_p, seed=seed,
            )  # fmt: skip
            return
        for text in stream_answer(loaded, prompt, **settings):
            sys.stdout.write(text)
            sys.stdout.flush()
        sys.stdout.write("\n")

    if once is not None:
        reply(once)
        return
    interactive = sys.stdin.isatty()
    if interactive:
        print(f"{loaded.description}\nEach prompt is answered on its own; an empty line ends.")
    while True:
        try:
            prompt = input("> " if interactive else "")
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if not prompt:
            return
        try:
            reply(prompt)
        except ConfigError as error:  # a prompt that leaves no room: say so and go on
            print(f"error: {error}", file=sys.stderr)


def print_classes(loaded: LoadedModel, text: str) -> None:
    """Label and probability of a text, likeliest first; or word by word."""
    config = loaded.model.config
    assert isinstance(config, BertClassifierConfig)  # `classifies` says so
    units = [text] if config.level == "text" else text.split()
    if not text.strip():
        raise ConfigError("an empty text has no class; give one")
    (rows,) = probabilities(loaded.model, loaded.tokenizer, [units])
    if config.level == "text":
        for i in rows[0].argsort()[::-1].tolist():
            print(f"{rows[0][i]:.3f}  {config.labels[i]}")
        return
    for word, row in zip(units, rows, strict=False):  # beyond the context there are no rows
        print(f"{row.max():.3f}  {config.labels[int(row.argmax())]:<12} {word}")
    if len(rows) < len(units):
        print(f"{len(units) - len(rows)} words do not fit the context of {config.context_length}")


def print_filled(loaded: LoadedModel, text: str, *, count: int) -> None:
    """The text with its masks filled, then the candidates for each, best first."""
    found = fill_masks(loaded.model, loaded.tokenizer, text, count=count)
    print(filled(text, found))
    for place in found:
        print("  " + ", ".join(f"{c.text!r} {c.probability:.3f}" for c in place))


def print_written(loaded: LoadedModel, text: str, **settings: Any) -> None:
    """The target; where the text has sentinels, also the text with their spans filled in."""
    (target,) = write_targets(loaded.model, loaded.tokenizer, [text], **settings)
    print(target.text)
    filled_in = filled_spans(text, target.text)
    if filled_in != text:
        print(filled_in)


def serve_model(
    reference: str, *, host: str, port: int, poll: float | None, max_requests: int,
    uri: str | None, root: Path,
) -> None:  # fmt: skip
    """Answer over HTTP until Ctrl-C."""
    serve(
        reference, host, port, root=_root_of(reference, root),
        tracking=tracking_at(uri),
        follow_seconds=poll, max_requests=max_requests,
    )  # fmt: skip


def trace_text(
    reference: str, text: str, *, answer: str | None, html: Path | None, root: Path,
    uri: str | None = None,
) -> None:  # fmt: skip
    """Print the machine's inside for one text, and write the same as HTML."""
    path = html or Path("trace.html")
    if path.is_dir():
        raise ConfigError(f"--html={path} is a directory; name a file in it")
    loaded = _loaded(reference, root, uri)
    loaded.require_decoder("mill trace")
    traced = trace(loaded.model, loaded.tokenizer, text, answer=answer)
    Console().print(render_trace(traced))
    write_text(path, render_trace_html(traced))
    print(f"written to {path.absolute()}")


def _loaded(reference: str, root: Path, uri: str | None) -> LoadedModel:
    return load_model(reference, _root_of(reference, root), tracking=tracking_at(uri))


def _root_of(reference: str, root: Path) -> Path:
    """The root to look in; one that is not there is refused, or MLflow would make a store in it."""
    return existing_root(root) if reference.startswith("models:/") else root
