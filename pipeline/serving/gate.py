"""Who may answer: a candidate replaces the champion only when it is measurably better.

    base    bits per byte on the same held-out documents; the paired 95 % interval must exclude zero
    tuned   lower response loss over the same answers (nats per answer, so that tokenizers may
            differ), and forgetting is bounded: bits per byte at most (1 + max_forgetting) times
            its own base model's, or no worse than the champion's

The second half of the tuned rule keeps a champion from being replaced by ever more forgetful ones:
each is held to its base, not to the last champion. Different eval sets never promote.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.artifacts import EvalReport
from pipeline.evals.paired import compare
from pipeline.store.files import read_json


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate becomes champion, and why, with the numbers."""

    promote: bool
    reason: str


def measured(report: EvalReport) -> dict[str, float]:
    """The figures the gates need; one that is missing or not finite is left out."""
    document = read_json(report.path / "report.json")
    perplexity: Mapping[str, Any] = document.get("perplexity", {})
    figures = {
        "bits_per_byte": perplexity.get("bits_per_byte"),
        "bits_per_byte_low": perplexity.get("bits_per_byte_low"),
        "bits_per_byte_high": perplexity.get("bits_per_byte_high"),
        "response_loss": document.get("sft", {}).get("response_loss"),
        "masked_nats_per_token": document.get("masked", {}).get("nats_per_token"),
    }
    return {
        name: float(value)
        for name, value in figures.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


@dataclass(frozen=True)
class Answers:
    """What a response loss was summed over; nats per token alone depend on the tokenizer."""

    examples: int
    tokens: int
    nats_per_answer: float


def answers_scored(report: EvalReport) -> Answers | None:
    """The answers behind the report's `response_loss`; None where it scored none."""
    sft: Mapping[str, Any] = read_json(report.path / "report.json").get("sft", {})
    scored: Mapping[str, Any] = sft.get(sft.get("split", ""), {})
    examples, tokens = scored.get("examples", 0), scored.get("response_tokens", 0)
    loss = measured(report).get("response_loss")
    if not examples or not tokens or loss is None:
        return None
    return Answers(examples, tokens, loss * tokens / examples)


def comparable(one: EvalReport, other: EvalReport) -> bool:
    """Whether two reports measured in the same way: window stride and version of the stage."""
    first, second = one.manifest, other.manifest
    if first.config.get("masked") != second.config.get("masked"):
        return False
    same_stride = first.config.get("stride") == second.config.get("stride")
    return same_stride and first.stage_version == second.stage_version


def inputs_of(report: EvalReport, stage: str) -> tuple[str, ...]:
    """What of `stage` the report was measured on, as `stage@<12 digits>`."""
    return tuple(ref for ref in report.manifest.inputs if ref.startswith(f"{stage}@"))


def first_champion(report: EvalReport, needed: str) -> Verdict:
    """With no champion any model with a finite score is better than none."""
    value = measured(report).get(needed)
    if value is None:
        return Verdict(False, f"its report has no finite {needed}")
    return Verdict(True, f"there was no champion; {needed} {value:.4f}")


def base_gate(candidate: EvalReport, champion: EvalReport) -> Verdict:
    """Bits per byte, document by document."""
    if inputs_of(candidate, "eval_set") != inputs_of(champion, "eval_set"):
        return _other_eval_set(candidate, champion)
    ours, theirs = measured(candidate), measured(champion)
    if "bits_per_byte" not in ours:
        return Verdict(False, "its report has no finite bits_per_byte")
    if "bits_per_byte" not in theirs:
        return Verdict(True, "the champion's report has no finite bits_per_byte")
    found = compare(candidate, champion)
    numbers = (
        f"{ours['bits_per_byte']:.4f} bits per byte against {theirs['bits_per_byte']:.4f}, "
        f"difference {found.delta:+.4f} (95 % interval {found.low:+.4f} to {found.high:+.4f}, "
        f"{found.documents} documents)"
    )
    if found.better:
        return Verdict(True, f"better than the champion: {numbers}")
    return Verdict(False, f"not better than the champion beyond chance: {numbers}")


def tuned_gate(
    candidate: EvalReport,
    champion: EvalReport,
    base_bits_per_byte: float | None,
    *,
    max_forgetting: float,
) -> Verdict:
    """Response loss, then forgetting; `base_bits_per_byte` is the candidate's own base model's."""
    if inputs_of(candidate, "eval_set") != inputs_of(champion, "eval_set"):
        return _other_eval_set(candidate, champion)
    if inputs_of(candidate, "examples") != inputs_of(champion, "examples"):
        return Verdict(
            False,
            "its answers were measured on other questions "
            f"({', '.join(inputs_of(candidate, 'examples'))}) than the champion's "
            f"({', '.join(inputs_of(champion, 'examples'))}); not comparable",
        )
    ours, theirs = measured(candidate), measured(champion)
    missing = [name for name in ("response_loss", "bits_per_byte") if name not in ours]
    if missing:
        return Verdict(False, f"its report has no finite {' and no finite '.join(missing)}")
    if "response_loss" not in theirs:
        return Verdict(True, "the champion's report has no finite response_loss")
    losses = f"response loss {ours['response_loss']:.4f} against {theirs['response_loss']:.4f}"
    lower = ours["response_loss"] < theirs["response_loss"]
    mine, before = answers_scored(candidate), answers_scored(champion)
    if mine is not None and before is not None:
        if mine.examples != before.examples:
            return Verdict(
                False,
                f"its response loss counts {mine.examples} answers, the champion's "
                f"{before.examples} (longer ones do not fit the shorter context): not comparable; "
                "only `registry promote` makes it champion",
            )
        lower = mine.nats_per_answer < before.nats_per_answer
        if mine.tokens != before.tokens:
            losses += (
                f" in other tokens, {mine.nats_per_answer:.3f} nats per answer against "
                f"{before.nats_per_answer:.3f}"
            )
    if not lower:
        return Verdict(False, f"not better than the champion: {losses}")
    champion_bits = theirs.get("bits_per_byte", math.inf)
    reference = champion_bits if base_bits_per_byte is None else base_bits_per_byte
    allowed = max((1 + max_forgetting) * reference, champion_bits)
    whose = "the champion's" if base_bits_per_byte is None else "its base model's"
    bits = (
        f"{ours['bits_per_byte']:.4f} bits per byte, allowed {allowed:.4f} "
        f"({whose} {reference:.4f} plus {max_forgetting:.0%}, or the champion's "
        f"{champion_bits:.4f})"
    )
    if ours["bits_per_byte"] > allowed:
        return Verdict(False, f"it forgot too much: {bits}; {losses}")
    return Verdict(True, f"better than the champion: {losses}; {bits}")


def _other_eval_set(candidate: EvalReport, champion: EvalReport) -> Verdict:
    return Verdict(
        False,
        f"measured on {', '.join(inputs_of(candidate, 'eval_set'))}, the champion on "
        f"{', '.join(inputs_of(champion, 'eval_set'))}: different eval sets never promote",
    )
