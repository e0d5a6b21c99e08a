"""The model card: README.md of an exported model, written from manifests and the report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline.serving.forms import PromptForm

SHOWN_FACTS = (
    "documents", "documents_kept", "documents_dropped", "train_tokens", "validation_tokens",
    "bytes", "vocab_size", "examples", "removed", "dropped",
)  # fmt: skip


@dataclass(frozen=True)
class CardFacts:
    """Everything the card is written from."""

    name: str
    license: str
    language: Sequence[str]
    limits: str
    checkpoint: str
    facts: Mapping[str, Any]
    training: Any
    architecture: Mapping[str, Any]
    provenance: Mapping[str, Any]
    ancestors: Mapping[str, Mapping[str, Any]]
    """Stage -> reference and facts of what the model was made from."""
    report: Mapping[str, Any]
    report_ref: str
    num_parameters: int
    vocab_size: int


def model_card(card: CardFacts, form: PromptForm) -> str:
    """The card as Markdown with its YAML header."""
    header = {
        "license": card.license,
        "language": list(card.language),
        "library_name": "transformers",
        "pipeline_tag": "fill-mask" if form == "fill" else "text-generation",
        "tags": ["gristmill"],
    }
    kind = {"answer": "answers prompts", "continue": "continues text",
            "fill": "finds masked tokens"}[form]  # fmt: skip
    sections = [
        f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---",
        f"# {card.name}{'-base' if form == 'continue' else ''}\n\n"
        f"{'An encoder' if form == 'fill' else 'A decoder'} of "
        f"{card.num_parameters:,} parameters that {kind}; made from `{card.checkpoint}`.",
        f"## Use\n\n```python\n{_example(form)}```",
        "## Data\n\n" + "\n".join(_data(card)),
        "## Training\n\n" + "\n".join(_training(card)),
        "## Measured\n\n" + "\n".join(_measured(card)),
        f"## Limits\n\n{card.limits}",
        f"## Licence\n\n`{card.license}`",
    ]
    return "\n\n".join(sections) + "\n"


_FILL_EXAMPLE = (
    "from transformers import pipeline\n\n"
    'fill = pipeline("fill-mask", model=".")\n'
    'for found in fill("Return the <|mask|> of the list."):\n'
    '    print(found["token_str"], found["score"])\n'
)


def _example(form: PromptForm) -> str:
    if form == "fill":
        return _FILL_EXAMPLE
    text = "What does it do?" if form == "answer" else "Return the"
    encoded, bos = "words.input_ids", "[tokenizer.bos_token_id]"
    ids = f"{encoded} + {bos}" if form == "answer" else f"{bos} + {encoded}"
    return (
        "import torch\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained(".")\n'
        'tokenizer = AutoTokenizer.from_pretrained(".")\n'
        f'words = tokenizer("{text}", split_special_tokens=True)\n'
        f"ids = {ids}\n"
        "answer = model.generate(torch.tensor([ids]))[0, len(ids):]\n"
        "print(tokenizer.decode(answer, skip_special_tokens=True))\n"
    )


def _data(card: CardFacts) -> Iterator[str]:
    """One line per ancestor with its counts, filters and their drops included."""
    if not card.ancestors:
        yield "Not under the root this was exported from."
    for stage, facts in sorted(card.ancestors.items()):
        shown = [f"{name}: {_text(facts[name])}" for name in SHOWN_FACTS if name in facts]
        yield f"- `{facts['ref']}` ({stage})" + (": " + "; ".join(shown) if shown else "")


def _training(card: CardFacts) -> Iterator[str]:
    facts = card.facts
    made = card.provenance
    versions = made.get("versions", {})
    architecture = ", ".join(f"{k} {_text(v)}" for k, v in card.architecture.items())
    yield f"- architecture: {architecture}"
    for name in ("steps", "tokens", "seconds", "tokens_per_second", "final_train_loss",
                 "best_validation_loss", "best_step"):  # fmt: skip
        if facts.get(name) is not None:
            yield f"- {name.replace('_', ' ')}: {_text(facts[name])}"
    yield f"- hardware: {made.get('device')} on {made.get('platform')}"
    yield f"- software: python {made.get('python')}, torch {versions.get('torch')}"
    yield f"- code: {made.get('git_commit')}{' (changed files)' if made.get('git_dirty') else ''}"
    yield "- settings:\n\n```yaml"
    yield yaml.safe_dump(card.training, sort_keys=True, allow_unicode=True).rstrip() + "\n```"


def _measured(card: CardFacts) -> Iterator[str]:
    perplexity = card.report.get("perplexity", {})
    if perplexity:
        yield (
            f"- bits per byte on held-out text: {_text(perplexity.get('bits_per_byte'))} "
            f"(95 % interval {_text(perplexity.get('bits_per_byte_low'))} to "
            f"{_text(perplexity.get('bits_per_byte_high'))}; {_text(perplexity.get('documents'))} "
            f"documents, {_text(perplexity.get('bytes'))} bytes, window "
            f"{_text(perplexity.get('window'))}, stride {_text(perplexity.get('stride'))})"
        )
        yield (
            f"- token perplexity {_text(perplexity.get('token_perplexity'))} with this vocabulary "
            f"of {card.vocab_size:,}: not comparable across vocabularies"
        )
    masked = card.report.get("masked", {})
    if masked:
        yield (
            f"- pseudo-perplexity on held-out text: {_text(masked.get('pseudo_perplexity'))} "
            f"({_text(masked.get('nats_per_token'))} nats per token, 95 % interval "
            f"{_text(masked.get('nats_per_token_low'))} to "
            f"{_text(masked.get('nats_per_token_high'))}; {_text(masked.get('places'))} of "
            f"{_text(masked.get('tokens_in_all'))} tokens hidden one at a time, window "
            f"{_text(masked.get('window'))})"
        )
        yield f"- hidden tokens found at once: {_text(masked.get('accuracy'))}"
        yield "- pseudo-perplexity sees both sides of a token: not comparable with perplexity"
    sft = card.report.get("sft", {})
    if sft.get("response_loss") is not None:
        yield (
            f"- response loss {_text(sft['response_loss'])} nats per answer token "
            f"({_text(sft.get('response_tokens'))} tokens)"
        )
    matches: Mapping[str, Mapping[str, Any]] = sft.get("exact_match") or {}
    if matches:
        yield "\n| question | right | of | rate | 95 % interval | baseline |"
        yield "|---|---|---|---|---|---|"
    for kind, row in matches.items():
        yield (
            f"| {kind} | {_text(row.get('correct'))} | {_text(row.get('total'))} | "
            f"{_text(row.get('rate'))} | {_text(row.get('low'))} to {_text(row.get('high'))} | "
            f"{_text(row.get('baseline'))} |"
        )
    yield f"\nFrom `{card.report_ref}`."


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    return str(value)
