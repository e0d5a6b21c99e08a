"""Who may answer: a candidate replaces the champion only when it is measurably better.

    base    fewer bits per byte on the same held-out documents: the paired interval excludes zero
    tuned   fewer nats for the same answers: the paired interval excludes zero; and forgetting is
            bounded: bits per byte at most (1 + max_forgetting) times its own base model's, or no
            worse than the champion's
    both    in no source and no language more than max_worsening worse in bits per byte

The bound on forgetting keeps a champion from being replaced by ever more forgetful ones: each is
held to its base, not to the last champion. Different eval sets never promote.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.artifacts import EvalReport
from pipeline.evals.paired import DRAWS, GroupChange, changes_by_group, compare
from pipeline.evals.sft import read_responses
from pipeline.evals.statistics import bootstrap_ratio
from pipeline.store.files import read_json

SHOWN_GROUPS = 3
KINDS = ("masked", "targets", "classes")
"""Settings of reports that are not about bits per byte."""
ROUNDING = 1e-9  # two sums of the same nats may differ in the last place


@dataclass(frozen=True)
class Limits:
    """What a candidate must reach, and what it may lose."""

    confidence: float = 0.95
    """Of the paired interval that must exclude zero."""
    max_worsening: float | None = 0.01
    """Fraction by which any one source or language may be worse; None: not looked at."""
    max_forgetting: float = 0.10
    """Fraction by which a tuned model's bits per byte may exceed its base model's."""


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate becomes champion, and why, with the numbers."""

    promote: bool
    reason: str
    figures: Mapping[str, float] = field(default_factory=dict)
    """What it was decided by: `delta, low, high, win_rate, worst_group`, as far as known."""


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
        "accuracy": document.get("classes", {}).get("accuracy"),
        "macro_f1": document.get("classes", {}).get("macro_f1"),
        "target_nats_per_token": document.get("targets", {}).get("nats_per_token"),
    }
    return {
        name: float(value)
        for name, value in figures.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def comparable(one: EvalReport, other: EvalReport) -> bool:
    """Whether two reports measured in the same way: window stride and version of the stage."""
    first, second = one.manifest, other.manifest
    if any(first.config.get(name) != second.config.get(name) for name in KINDS):
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


def base_gate(candidate: EvalReport, champion: EvalReport, limits: Limits | None = None) -> Verdict:
    """Bits per byte, document by document; then every source and language."""
    limits = limits or Limits()
    if inputs_of(candidate, "eval_set") != inputs_of(champion, "eval_set"):
        return _other_eval_set(candidate, champion)
    ours, theirs = measured(candidate), measured(champion)
    if "bits_per_byte" not in ours:
        return Verdict(False, "its report has no finite bits_per_byte")
    if "bits_per_byte" not in theirs:
        return Verdict(True, "the champion's report has no finite bits_per_byte")
    found = compare(candidate, champion, confidence=limits.confidence)
    numbers = (
        f"{ours['bits_per_byte']:.4f} bits per byte against {theirs['bits_per_byte']:.4f}, "
        f"difference {found.delta:+.4f} ({100 * limits.confidence:.4g} % interval "
        f"{found.low:+.4f} to {found.high:+.4f}, {found.documents} documents)"
    )
    changes = changes_by_group(candidate, champion)
    figures = {
        "delta": found.delta, "low": found.low, "high": found.high, "win_rate": found.win_rate,
        **worst_of(changes),
    }  # fmt: skip
    if not found.better:
        return Verdict(False, f"not better than the champion beyond chance: {numbers}", figures)
    objection = worsened(changes, limits.max_worsening, "bits per byte")
    if objection is not None:
        return Verdict(False, f"{objection}, though better on the whole: {numbers}", figures)
    return Verdict(True, f"better than the champion: {numbers}", figures)


def tuned_gate(
    candidate: EvalReport,
    champion: EvalReport,
    base_bits_per_byte: float | None,
    limits: Limits | None = None,
) -> Verdict:
    """Nats per answer, answer by answer; then forgetting, then every source and language.

    `base_bits_per_byte` is the candidate's own base model's.
    """
    limits = limits or Limits()
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
    answers = _answers(candidate, champion, limits.confidence)
    if isinstance(answers, str):
        return Verdict(False, answers)
    losses, figures = answers
    if not figures["high"] < 0:
        return Verdict(False, f"not better than the champion beyond chance: {losses}", figures)
    champion_bits = theirs.get("bits_per_byte", math.inf)
    reference = champion_bits if base_bits_per_byte is None else base_bits_per_byte
    allowed = max((1 + limits.max_forgetting) * reference, champion_bits)
    whose = "the champion's" if base_bits_per_byte is None else "its base model's"
    bits = (
        f"{ours['bits_per_byte']:.4f} bits per byte, allowed {allowed:.4f} "
        f"({whose} {reference:.4f} plus {limits.max_forgetting:.0%}, or the champion's "
        f"{champion_bits:.4f})"
    )
    if ours["bits_per_byte"] > allowed:
        return Verdict(False, f"it forgot too much: {bits}; {losses}", figures)
    changes = changes_by_group(candidate, champion)
    figures |= worst_of(changes)
    objection = worsened(changes, limits.max_worsening, "bits per byte")
    if objection is not None:
        return Verdict(False, f"{objection}, though its answers are better: {losses}", figures)
    return Verdict(True, f"better than the champion: {losses}; {bits}", figures)


def worsened(
    changes: Sequence[GroupChange], limit: float | None, unit: str, *, things: str = "documents"
) -> str | None:
    """Which sources and languages are worse by more than `limit`, worst first; None if none is."""
    if limit is None:
        return None
    over = [change for change in changes if change.relative > limit + ROUNDING]
    if not over:
        return None
    over.sort(key=lambda change: -change.relative)
    told = "; ".join(
        f"{change.axis} {change.name}: {change.candidate:.4f} {unit} against "
        f"{change.champion:.4f} ({change.relative:+.2%}, {change.count} {things})"
        for change in over[:SHOWN_GROUPS]
    )
    more = f"; {len(over) - SHOWN_GROUPS} more" if len(over) > SHOWN_GROUPS else ""
    return f"worse than the champion by more than {limit:.2%} in {told}{more}"


def worst_of(changes: Sequence[GroupChange]) -> dict[str, float]:
    """The largest relative change among the groups, as a figure."""
    finite = [change.relative for change in changes if math.isfinite(change.relative)]
    return {"worst_group": max(finite)} if finite else {}


def _answers(
    candidate: EvalReport, champion: EvalReport, confidence: float
) -> tuple[str, dict[str, float]] | str:
    """What the answers say and the paired interval in nats per answer, or why they cannot.

    Nats per token alone depend on the tokenizer; nats per answer do not.
    """
    a, b = (read_responses(report.path / "responses.arrow") for report in (candidate, champion))
    if not a["id"].equals(b["id"]):
        return (
            f"its response loss counts {a.num_rows} answers, the champion's {b.num_rows} (those "
            "that do not fit a context are left out), and they are not the same: not comparable; "
            "only `mill registry promote` makes it champion"
        )
    difference = a["nats"].to_numpy() - b["nats"].to_numpy()
    count = len(difference)
    if count < 2:
        return (
            f"{count} held-out answers say nothing about others; only `mill registry promote` can"
        )
    interval = bootstrap_ratio(
        difference, np.ones(count), draws=DRAWS, seed=0, confidence=confidence
    )
    ours, theirs = (measured(report)["response_loss"] for report in (candidate, champion))
    tokens = ", other tokens" if not a["tokens"].equals(b["tokens"]) else ""
    losses = (
        f"response loss {ours:.4f} against {theirs:.4f}{tokens}, difference "
        f"{difference.mean():+.4f} nats per answer ({100 * confidence:.4g} % interval "
        f"{interval.low:+.4f} to {interval.high:+.4f}, {count} answers)"
    )
    wins = (difference < 0).sum() + 0.5 * (difference == 0).sum()
    figures = {
        "delta": float(difference.mean()), "low": interval.low, "high": interval.high,
        "win_rate": float(wins / count),
    }  # fmt: skip
    return losses, figures


def _other_eval_set(candidate: EvalReport, champion: EvalReport) -> Verdict:
    return Verdict(
        False,
        f"measured on {', '.join(inputs_of(candidate, 'eval_set'))}, the champion on "
        f"{', '.join(inputs_of(champion, 'eval_set'))}: different eval sets never promote",
    )
