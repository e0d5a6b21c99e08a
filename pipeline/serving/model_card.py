"""The model card: README.md of an exported model, written from manifests and the report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline.serving.forms import PromptForm

SHOWN_FACTS = (
    "documents", "documents_kept", "bytes_kept", "train_tokens", "validation_tokens", "bytes",
    "vocab_size", "bytes_per_token", "examples",
)  # fmt: skip
CPU_WATTS = 100.0  # guess: a server's share of two cores lies below, a whole socket above
GPU_WATTS = 700.0  # NVIDIA H200 SXM, largest board power in its data sheet
SHOWN_REASONS, SHOWN_GROUPS = 12, 12


@dataclass(frozen=True)
class Training:
    """One training run behind the weights."""

    reference: str
    seconds: float
    processes: int
    device: str


def kilowatt_hours(trainings: Sequence[Training], watts: float | None) -> float:
    """Power x time, summed: watts per process (assumed by device where not given) x seconds."""
    joules = 0.0
    for one in trainings:
        assumed = GPU_WATTS if one.device.startswith("cuda") else CPU_WATTS
        joules += (watts if watts is not None else assumed) * one.processes * one.seconds
    return joules / 3.6e6


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
    licences: Mapping[str, str]
    """Source -> licence, as configured."""
    steps: Sequence[str]
    """The filters and rewrites the text went through, in order."""
    trainings: Sequence[Training]
    watts: float | None
    """Mean power per process, as configured."""
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
        "pipeline_tag": {"fill": "fill-mask", "rewrite": "text2text-generation", **_tags(card)}.get(
            form, "text-generation"
        ),
        "tags": ["gristmill"],
    }
    kind = {"answer": "answers prompts", "continue": "continues text",
            "fill": "finds masked tokens", "classify": "names the class of a text or its words",
            "rewrite": "writes a target for a source"}[form]  # fmt: skip
    what = {"fill": "An encoder", "classify": "An encoder", "rewrite": "An encoder-decoder"}.get(
        form, "A decoder"
    )
    sections = [
        f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---",
        f"# {card.name}{'-base' if form == 'continue' else ''}\n\n"
        f"{what} of {card.num_parameters:,} parameters that {kind}; made from `{card.checkpoint}`.",
        f"## Use\n\n```python\n{_example(card, form)}```",
        "## Data\n\n" + "\n".join(_data(card)),
        "## Training\n\n" + "\n".join(_training(card)),
        "## Measured\n\n" + "\n".join(_measured(card)),
        "## Limits\n\n" + "\n".join(_limits(card)),
        f"## Lineage\n\n{_lineage(card)}",
        f"## Licence\n\n`{card.license}`",
    ]
    return "\n\n".join(sections) + "\n"


def _tags(card: CardFacts) -> dict[str, str]:
    """What the hub calls a classifier."""
    words = card.architecture.get("level") == "word"
    return {"classify": "token-classification" if words else "text-classification"}


def _classify_example(card: CardFacts) -> str:
    return (
        "from transformers import pipeline\n\n"
        f'classify = pipeline("{_tags(card)["classify"]}", model=".")\n'
        'print(classify("Return the first item of the list."))\n'
    )


_FILL_EXAMPLE = (
    "from transformers import pipeline\n\n"
    'fill = pipeline("fill-mask", model=".")\n'
    'for found in fill("Return the <|mask|> of the list."):\n'
    '    print(found["token_str"], found["score"])\n'
)


_REWRITE_EXAMPLE = (
    "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer\n\n"
    'model = AutoModelForSeq2SeqLM.from_pretrained(".")\n'
    'tokenizer = AutoTokenizer.from_pretrained(".")\n'
    'source = tokenizer("Return the <extra_id_0> of the list.", return_tensors="pt")\n'
    "target = model.generate(source.input_ids)[0]\n"
    "print(tokenizer.decode(target))\n"
)


def _example(card: CardFacts, form: PromptForm) -> str:
    if form == "fill":
        return _FILL_EXAMPLE
    if form == "classify":
        return _classify_example(card)
    if form == "rewrite":
        return _REWRITE_EXAMPLE
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
    """Sources with their licences, what was filtered out and why, and where the counts stand."""
    if not card.ancestors:
        yield "Not under the root this was exported from."
        return
    corpus = card.ancestors.get("clean", {})
    sources: Mapping[str, Mapping[str, Any]] = corpus.get("by_source") or {}
    if sources:
        yield "| source | licence | documents read | kept | text kept, bytes |"
        yield "|---|---|---|---|---|"
    for name, tally in sources.items():
        yield (
            f"| {_cell(name)} | {_cell(card.licences.get(name, 'not stated'))} | "
            f"{_text(tally.get('documents_read'))} | {_text(tally.get('documents_kept'))} | "
            f"{_text(tally.get('bytes_kept'))} |"
        )
    if card.steps:
        yield f"\nFiltered and rewritten by, in order: {', '.join(card.steps)}."
    dropped = sorted((corpus.get("dropped") or {}).items(), key=lambda row: (-row[1], row[0]))
    if dropped:
        told = ", ".join(f"{name} {_text(count)}" for name, count in dropped[:SHOWN_REASONS])
        rest = sum(count for _, count in dropped[SHOWN_REASONS:])
        more = f", other reasons {_text(rest)}" if rest else ""
        yield f"\nDropped, documents by reason: {told}{more}."
    languages: Mapping[str, Mapping[str, Any]] = corpus.get("by_language") or {}
    if languages:
        told = ", ".join(
            f"{name} {_text(row.get('bytes_kept'))}" for name, row in languages.items()
        )
        yield f"\nLanguages, bytes kept: {told} (und: not determined).\n"
    for stage, facts in sorted(card.ancestors.items()):
        shown = [f"{name}: {_text(facts[name])}" for name in SHOWN_FACTS if name in facts]
        yield f"- `{facts['ref']}` ({stage})" + (": " + "; ".join(shown) if shown else "")


def _energy(card: CardFacts) -> Iterator[str]:
    """What training took, by a formula that is stated."""
    if not card.trainings:
        return
    per_run = "; ".join(
        f"`{one.reference}` {_text(one.seconds)} s on {one.processes} x {one.device}"
        for one in card.trainings
    )
    if card.watts is not None:
        power = f"{_text(card.watts)} W, as configured"
    else:
        power = f"assumed: {CPU_WATTS:.0f} W on a CPU, {GPU_WATTS:.0f} W on a GPU; not measured"
    yield (
        f"- energy, estimated: {_text(kilowatt_hours(card.trainings, card.watts))} kWh = power per "
        f"process x processes x seconds / 3,600,000, summed over the runs ({per_run}); power "
        f"{power}. Cleaning, evaluation, cooling and making the machine are not in it."
    )


def _limits(card: CardFacts) -> Iterator[str]:
    """What was configured, and what follows from the figures."""
    yield card.limits
    context = card.architecture.get("context_length")
    yield (
        f"\n- it reads at most {_text(context)} tokens at once\n"
        f"- meant for the languages {', '.join(card.language)}; others were not looked at\n"
        "- not tested for harmful, biased or personal output beyond the figures above, and not "
        "trained to refuse anything"
    )
    recited = card.report.get("memorisation", {}).get("training", {}).get("share")
    if recited:
        yield f"- it recites {recited:.1%} of the openings of training documents it was given"


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
    yield from _energy(card)
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
        yield from _groups(perplexity)
    yield from _recited(card.report.get("memorisation", {}))
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
    targets = card.report.get("targets", {})
    if targets:
        yield (
            f"- {_text(targets.get('nats_per_token'))} nats per target token on spans cut out of "
            f"held-out text (95 % interval {_text(targets.get('nats_per_token_low'))} to "
            f"{_text(targets.get('nats_per_token_high'))}; {_text(targets.get('tokens'))} tokens "
            f"of {_text(targets.get('targets'))} targets, window {_text(targets.get('window'))})"
        )
        yield f"- target tokens found at once: {_text(targets.get('accuracy'))}"
        yield "- the source is given: not comparable with bits per byte or perplexity"
    yield from _classes(card.report.get("classes", {}))
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


def _classes(section: Mapping[str, Any]) -> Iterator[str]:
    """How often a classifier is right, beside always saying the commonest label."""
    if not section:
        return
    majority = section["majority"]
    for name, title in (("accuracy", "accuracy"), ("macro_f1", "macro F1")):
        yield (
            f"- {title} on {_text(section['targets'])} held-out {section['level']}s: "
            f"{_text(section[name])} (95 % interval {_text(section[f'{name}_low'])} to "
            f"{_text(section[f'{name}_high'])}); always `{majority['label']}`: "
            f"{_text(majority[name])}"
        )
    yield "\n| label | targets | precision | recall | F1 |\n|---|---|---|---|---|"
    for label, row in section["per_label"].items():
        yield (
            f"| {_cell(label)} | {_text(row['targets'])} | {_text(row['precision'])} | "
            f"{_text(row['recall'])} | {_text(row['f1'])} |"
        )


def _groups(perplexity: Mapping[str, Any]) -> Iterator[str]:
    """Bits per byte of every source and language, with intervals."""
    for axis in ("source", "language"):
        groups: Mapping[str, Mapping[str, Any]] = perplexity.get(f"per_{axis}") or {}
        if len(groups) < 2:
            continue
        yield f"\n| {axis} | documents | bits per byte | 95 % interval |"
        yield "|---|---|---|---|"
        for name, row in list(groups.items())[:SHOWN_GROUPS]:
            yield (
                f"| {_cell(name)} | {_text(row.get('documents'))} | "
                f"{_text(row.get('bits_per_byte'))} | {_text(row.get('bits_per_byte_low'))} to "
                f"{_text(row.get('bits_per_byte_high'))} |"
            )
        if len(groups) > SHOWN_GROUPS:
            yield f"| {len(groups) - SHOWN_GROUPS} more | | | |"
        yield ""


def _recited(section: Mapping[str, Any]) -> Iterator[str]:
    excess: Mapping[str, Any] | None = section.get("excess")
    if excess:
        yield (
            f"- verbatim continuations of training text beyond those of held-out text: "
            f"{_text(excess.get('share'))} of the openings (95 % interval "
            f"{_text(excess.get('low'))} to {_text(excess.get('high'))})"
        )


def _lineage(card: CardFacts) -> str:
    """From the weights back to the documents."""
    names = [f"`{card.checkpoint}`"]
    names += [f"`{facts['ref']}`" for facts in card.ancestors.values()]
    return (
        f"{', '.join(names)}, measured by `{card.report_ref}`: each has a manifest with its "
        "inputs, settings, counts and the sha256 of its files."
    )


def _cell(text: str) -> str:
    """Text from outside in a table's cell."""
    return " ".join(str(text).split()).replace("|", "\\|")


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
