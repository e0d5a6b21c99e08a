"""Rows of figures, one dict per line: for Prefect's tables and for the tables of the report."""

from collections.abc import Iterator
from typing import Any

from pipeline.artifacts import BaselineReport, Checkpoint, CleanedCorpus, EvalReport
from pipeline.reports.comparing import Estimate, clean_documents, subset_bits_per_byte
from pipeline.reports.numbers import number, percent
from pipeline.reports.reading import read_lines
from pipeline.store.files import read_json

BASELINE_LABELS = {
    "xz": "xz, unprimed",
    "xz_primed": "xz, primed",
    "ppmd8_primed": "PPMd order 8, primed",
    "ppmd16_primed": "PPMd order 16, primed",
    "ngram5": "5-gram, whole",
    "ngram5_pruned": "5-gram, model's size",
    "uniform": "uniform",
}


def funnel_rows(corpus: CleanedCorpus) -> list[dict[str, Any]]:
    """`step, documents, share`: read, minus each reason, most frequent first, then kept."""
    return [
        {"step": row["step"], "documents": row["documents"], "share": round(float(row["share"]), 4)}
        for row in corpus.facts.get("funnel", [])
    ]


def source_rows(corpus: CleanedCorpus) -> list[dict[str, Any]]:
    """Per source: documents and bytes read and kept, records quarantined."""
    names = ("documents_read", "documents_kept", "bytes_read", "bytes_kept", "quarantined")
    by_source = corpus.facts.get("by_source", {})
    return [
        {"source": source, **{name: tally.get(name) for name in names}}
        for source, tally in by_source.items()
    ]


def evaluation_rows(report: EvalReport) -> list[dict[str, Any]]:
    """`measure, value, interval, baseline, counted` of one evaluated checkpoint."""
    content = read_json(report.path / "report.json")
    if "masked" in content:
        return list(_masked_rows(content["masked"]))
    if "classes" in content:
        return list(_class_rows(content["classes"]))
    if "targets" in content:
        return list(_target_rows(content["targets"]))
    return [*_perplexity_rows(content["perplexity"]), *_answer_rows(content.get("sft") or {})]


def _perplexity_rows(section: dict[str, Any]) -> Iterator[dict[str, Any]]:
    scored = f"{section['tokens']:,} tokens, {section['bytes']:,} bytes"
    low, high = section.get("bits_per_byte_low"), section.get("bits_per_byte_high")
    yield _measure(
        "bits per byte", number(section["bits_per_byte"]), _interval(low, high), "", scored
    )
    yield _measure("token perplexity", number(section["token_perplexity"], 1), "", "", scored)
    for source, row in (section.get("per_source") or {}).items():
        counted = f"{row['tokens']:,} tokens, {row['bytes']:,} bytes"
        interval = _interval(row.get("bits_per_byte_low"), row.get("bits_per_byte_high"))
        yield _measure(
            f"bits per byte, {source}", number(row["bits_per_byte"]), interval, "", counted
        )


def _masked_rows(section: dict[str, Any]) -> Iterator[dict[str, Any]]:
    counted = f"{section['places']:,} of {section['tokens_in_all']:,} tokens, hidden one at a time"
    low, high = section["nats_per_token_low"], section["nats_per_token_high"]
    yield _measure(
        "nats per hidden token", number(section["nats_per_token"]), _interval(low, high), "",
        counted,
    )  # fmt: skip
    yield _measure(
        "pseudo-perplexity (not comparable with perplexity)",
        number(section["pseudo_perplexity"], 1), "", "", counted,
    )  # fmt: skip
    yield _measure("hidden tokens found at once", percent(section["accuracy"]), "", "", counted)


def _target_rows(section: dict[str, Any]) -> Iterator[dict[str, Any]]:
    counted = f"{section['tokens']:,} tokens of {section['targets']:,} targets"
    low, high = section["nats_per_token_low"], section["nats_per_token_high"]
    yield _measure(
        "nats per target token (not comparable with bits per byte)",
        number(section["nats_per_token"]), _interval(low, high), "", counted,
    )  # fmt: skip
    yield _measure("nats per target", number(section["nats_per_target"], 1), "", "", counted)
    if "exact_match" in section:
        yield _measure("targets written to the letter", percent(section["exact_match"]), "", "", "")
    yield _measure("target tokens found at once", percent(section["accuracy"]), "", "", counted)


def _class_rows(section: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Accuracy and macro F1 beside always saying the commonest label."""
    counted = (
        f"{section['targets']:,} held-out {section['level']}s, {len(section['labels'])} labels"
    )
    for name, title in (("accuracy", "accuracy"), ("macro_f1", "macro F1")):
        interval = f"{percent(section[f'{name}_low'])} to {percent(section[f'{name}_high'])}"
        yield _measure(
            title, percent(section[name]), interval, percent(section["majority"][name]), counted
        )


def _answer_rows(section: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if section.get("response_loss") is not None:
        counted = f"{section.get('response_tokens') or 0:,} answer tokens"
        yield _measure("response loss", number(section["response_loss"]), "", "", counted)
    for kind, row in (section.get("exact_match") or {}).items():
        yield _measure(
            f"exact match, {kind}", percent(row["rate"]),
            f"{percent(row['low'])} to {percent(row['high'])}", percent(row.get("baseline")),
            f"{row['correct']} of {row['total']}",
        )  # fmt: skip


def _measure(
    measure: str, value: str, interval: str, baseline: str, counted: str
) -> dict[str, Any]:
    return {
        "measure": measure, "value": value, "interval": interval, "baseline": baseline,
        "counted": counted,
    }  # fmt: skip


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def comparison_rows(
    baselines: BaselineReport, models: list[tuple[str, EvalReport, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Models and baselines on the held-out text, the fewest bits first.

    `models` are (label, report, {"bytes", "seconds", "note"}). Each row has `label, is_model,
    value, clean, bytes, seconds, note`, a model's also `low, high`.
    """
    content = read_json(baselines.path / "baselines.json")
    clean = clean_documents(baselines)
    rows: list[dict[str, Any]] = []
    for label, report, facts in models:
        everything = subset_bits_per_byte(report)
        if everything is None:
            continue
        on_clean: Estimate | None = subset_bits_per_byte(report, clean) if clean else None
        rows.append({
            "name": label, "label": label, "is_model": True, "value": everything.value,
            "low": everything.low, "high": everything.high,
            "clean": on_clean.value if on_clean else None, **facts,
        })  # fmt: skip
    for row in content["rows"]:
        rows.append({
            "name": row["name"], "label": BASELINE_LABELS.get(row["name"], row["name"]),
            "is_model": False, "value": row["bits_per_byte"], "clean": row["bits_per_byte_clean"],
            "bytes": row["bytes"], "seconds": row["seconds"], "note": row["note"],
        })  # fmt: skip
    return sorted(rows, key=lambda row: float(row["value"]))


def samples(checkpoint: Checkpoint) -> dict[str, list[tuple[str, str]]]:
    """Prompt -> (moment, text), as the checkpoint wrote them while it learned."""
    prompts: dict[str, list[tuple[str, str]]] = {}
    for row in read_lines(checkpoint.path / "samples.jsonl"):
        prompts.setdefault(row["prompt"], []).append((row["when"], row["text"]))
    return prompts
