"""The sections that judge: headline figures, the models beside what they must beat, the answers."""

from functools import partial
from typing import Any

from pipeline.artifacts import Checkpoint, EvalReport
from pipeline.reports.blocks import (
    Answer,
    Block,
    Figure,
    Figures,
    Picture,
    Question,
    Section,
    Table,
    Text,
    Tone,
)
from pipeline.reports.comparing import (
    Estimate,
    exact_match_difference,
    model_minus_baseline,
    read_answers,
)
from pipeline.reports.curves import bits_per_byte_png
from pipeline.reports.facts import RunFacts
from pipeline.reports.numbers import count, number, percent, seconds, short_count, signed, size
from pipeline.reports.tables import comparison_rows
from pipeline.store.files import read_json

SIZE_MATCHED = "ngram5_pruned"
QUESTIONS_PER_KIND = 2


def headline_section(run: RunFacts) -> Section | None:
    """The handful of numbers a reader wants first."""
    figures = []
    if run.corpus is not None:
        facts = run.corpus.facts
        detail = f"of {count(facts.get('documents_read'))} read"
        figures.append(Figure("documents kept", count(facts.get("documents_kept")), detail))
    if run.shards is not None:
        figures.append(Figure("training tokens", short_count(run.shards.num_tokens)))
    if run.base is not None:
        facts = run.base.facts
        detail = f"{short_count(facts.get('tokens'))} tokens in {seconds(facts.get('seconds'))}"
        figures.append(Figure("parameters", short_count(facts.get("num_parameters")), detail))
    if run.base_eval is not None:
        perplexity = read_json(run.base_eval.path / "report.json")["perplexity"]
        low, high = perplexity.get("bits_per_byte_low"), perplexity.get("bits_per_byte_high")
        detail = f"{number(low)} to {number(high)}" if low is not None else ""
        figures.append(
            Figure("bits per byte, base", number(perplexity["bits_per_byte"]), detail, _tone(run))
        )
    open_book = _open_book(run)
    if open_book is not None:
        figures.append(open_book)
    for entry in run.registrations:
        aliases = ", ".join(f"@{alias}" for alias in entry.get("aliases") or [])
        value = f"{entry.get('name')} v{entry.get('version')}"
        figures.append(Figure("registered", value, aliases))
    return Section("headline", "", (Figures(tuple(figures)),)) if figures else None


def _open_book(run: RunFacts) -> Figure | None:
    if run.tuned_eval is None:
        return None
    share = (read_json(run.tuned_eval.path / "report.json").get("sft") or {}).get("open_book") or {}
    if not share.get("total"):
        return None
    tone: Tone = "good" if share["rate"] > (share.get("baseline") or 0) else "bad"
    detail = f"baseline {percent(share.get('baseline'))}"
    return Figure("open-book answers right, tuned", percent(share["rate"]), detail, tone)


def _tone(run: RunFacts) -> Tone:
    difference = _against_ngram(run, clean=False)
    if difference is None:
        return "plain"
    return "good" if difference.value < 0 else "bad"


def _against_ngram(run: RunFacts, *, clean: bool) -> Estimate | None:
    if run.base_eval is None or run.baselines is None:
        return None
    return model_minus_baseline(run.base_eval, run.baselines, SIZE_MATCHED, clean=clean)


def baselines_section(run: RunFacts) -> Section | None:
    """Models and baselines on the same held-out text, and the verdict."""
    if run.baselines is None:
        return None
    rows = comparison_rows(run.baselines, _models(run))
    content = read_json(run.baselines.path / "baselines.json")
    blocks: list[Block] = [_explained(content), *_verdicts(run)]
    # Uniform is several times the rest and would push everything else into a corner.
    drawn = [row for row in rows if row["name"] != "uniform"] or rows
    blocks.append(
        Picture(
            "bpb", "Bits per byte of every model and baseline, on all and on clean documents",
            partial(bits_per_byte_png, drawn),
        )
    )  # fmt: skip
    blocks.append(
        Table(
            ("method", "bits/byte", "95 % interval", "clean", "size", "time", "note"),
            tuple(
                (
                    row["label"], number(row["value"]),
                    f"{number(row['low'])} to {number(row['high'])}" if "low" in row else "",
                    number(row["clean"]), size(row["bytes"]) if row["bytes"] else "-",
                    seconds(row["seconds"] or None), row["note"],
                )
                for row in rows
            ),
            right=frozenset({1, 2, 3, 4, 5}),
            strong=frozenset(i for i, row in enumerate(rows) if row["is_model"]),
            caption="Primed: after the training text. Size: of the parameters; of the n-gram file; "
            "for a primed compressor, of the training text in its own code, which it reads first.",
        )
    )  # fmt: skip
    return Section("baselines", "What the model must beat", tuple(blocks))


def _models(run: RunFacts) -> list[tuple[str, EvalReport, dict[str, Any]]]:
    models: list[tuple[str, EvalReport, dict[str, Any]]] = []
    pairs = (("base model", run.base_eval, run.base), ("tuned model", run.tuned_eval, run.tuned))
    for label, report, checkpoint in pairs:
        if report is not None:
            models.append((label, report, _cost(checkpoint)))
    return models


def _cost(checkpoint: Checkpoint | None) -> dict[str, Any]:
    facts = checkpoint.facts if checkpoint is not None else {}
    note = f"{short_count(facts.get('num_parameters'))} parameters"
    note += f", {short_count(facts.get('tokens'))} tokens"
    if facts.get("epochs") is not None:
        note += f", {number(facts['epochs'], 2)} epochs of the training text"
    return {"bytes": facts.get("parameter_bytes"), "seconds": facts.get("seconds"), "note": note}


def _explained(content: dict[str, Any]) -> Text:
    return Text(
        f"{count(content['documents_held_out'])} held-out documents hold "
        f"{size(content['bytes_held_out'])} of text. Clean are the "
        f"{count(content['documents_clean'])} ({size(content['bytes_clean'])}) of whose "
        f"{content['overlap_words']}-grams at most {percent(content['clean_overlap'], 0)} occur in "
        f"the training text, {size(content['training_bytes'])}, the same for every method. "
        "Compressors go on learning while they read held-out text; models and n-grams do not."
    )


def _verdicts(run: RunFacts) -> list[Block]:
    texts: list[Block] = []
    for clean, where in ((False, "all held-out documents"), (True, "the clean ones")):
        difference = _against_ngram(run, clean=clean)
        if difference is None or (clean and difference == _against_ngram(run, clean=False)):
            continue
        won = difference.value < 0
        sure = difference.high < 0 if won else difference.low > 0
        verb = "beats" if won else "LOSES TO"
        texts.append(
            Text(
                f"On {where} the base model {verb} the 5-gram of its own size by "
                f"{number(abs(difference.value))} bits per byte (difference "
                f"{signed(difference.value)}, 95 % {signed(difference.low)} to "
                f"{signed(difference.high)}, {difference.items} documents)"
                f"{'' if sure else '; other documents could turn this around'}.",
                "good" if won else "bad",
            )
        )
    if texts:
        texts.append(_standing(run))
    return texts


def _standing(run: RunFacts) -> Text:
    """Which baselines win against the base model: said, never hidden."""
    assert run.baselines is not None
    rows = comparison_rows(run.baselines, _models(run)[:1])
    model = next((row for row in rows if row["is_model"]), None)
    if model is None:
        return Text("")
    ahead = [row["label"] for row in rows if row["value"] < model["value"]]
    if not ahead:
        return Text("It needs fewer bits than every baseline.", "good")
    clean_ahead = [
        row["label"] for row in rows
        if row["clean"] is not None and model["clean"] is not None and row["clean"] < model["clean"]
    ]  # fmt: skip
    text = f"It loses to: {'; '.join(ahead)}."
    return Text(f"{text} On clean documents it loses to: {'; '.join(clean_ahead) or 'none'}.")


def answers_section(run: RunFacts) -> Section | None:
    """Exact match per kind and held-out questions answered by base and tuned model side by side."""
    if run.tuned_eval is None and run.base_eval is None:
        return None
    tuned = read_answers(run.tuned_eval) if run.tuned_eval else {}
    base = read_answers(run.base_eval) if run.base_eval else {}
    everything = tuned or base
    if not everything:
        return None
    blocks: list[Block] = list(_answer_verdicts(tuned, base))
    kinds = sorted({(not item["open_book"], item["kind"]) for item in everything.values()})
    rows = [_kind_row(kind, closed, tuned, base) for closed, kind in kinds]
    blocks.append(
        Table(
            ("questions", "asked", "baseline", "base", "tuned", "gain", "95 % interval"),
            tuple(rows), right=frozenset(range(1, 7)),
            caption="Exact match. The baseline copies from the prompt or takes the most frequent "
            "answer. Gain: tuned minus base, in points; the interval resamples the questions.",
        )
    )  # fmt: skip
    few = _few_shot_table(run)
    blocks += [few] if few is not None else []
    for _, kind in kinds:
        chosen = [key for key, item in everything.items() if item["kind"] == kind]
        # One the tuned model got right and one it got wrong, where there are both.
        chosen.sort(key=lambda key: not everything[key]["correct"])
        for key in dict.fromkeys([*chosen[:1], *chosen[-1:]][:QUESTIONS_PER_KIND]):
            blocks.append(_question(key, tuned, base))
    return Section("answers", "Held-out questions", tuple(blocks))


def _few_shot_table(run: RunFacts) -> Table | None:
    """Zero-shot beside few-shot: what a model learns from examples in the prompt alone."""
    rows = []
    for label, report in (("base", run.base_eval), ("tuned", run.tuned_eval)):
        sft = read_json(report.path / "report.json")["sft"] if report is not None else {}
        if "few_shot" not in sft:
            continue
        shots = max(sft["few_shot"]["shots"].values(), default=0)
        for shown, found in (("no example", sft), (f"{shots} solved before", sft["few_shot"])):
            for book in ("open_book", "closed_book"):
                if found[book]["total"]:
                    rows.append(
                        (
                            f"{label}, {book.replace('_', ' ')}, {shown}",
                            count(found[book]["total"]), percent(found[book]["rate"]),
                            percent(found[book]["token_f1"]),
                        )
                    )  # fmt: skip
    if not rows:
        return None
    return Table(
        ("in-context learning", "asked", "exactly right", "token F1"), tuple(rows),
        right=frozenset({1, 2, 3}),
        caption="Solved examples are training examples of the same kind, put before the question.",
    )  # fmt: skip


def _answer_verdicts(tuned: dict[str, Any], base: dict[str, Any]) -> list[Text]:
    texts = []
    if tuned and base:
        for against, other, name in (
            ("correct", base, "base model"),
            ("baseline_correct", tuned, "baseline"),
        ):
            gain = exact_match_difference(tuned, other, open_book=True, against=against)
            if gain is not None:
                won = gain.low > 0
                tone: Tone = "good" if won else "bad" if gain.value <= 0 else "plain"
                texts.append(
                    Text(
                        f"Open book, {gain.items} questions: exactly right answers of the tuned "
                        f"model minus the {name}'s: {signed(100 * gain.value, 1)} points "
                        f"(95 % {signed(100 * gain.low, 1)} to {signed(100 * gain.high, 1)}).",
                        tone,
                    )
                )
    return texts


def _kind_row(
    kind: str, closed: bool, tuned: dict[str, Any], base: dict[str, Any]
) -> tuple[str, ...]:
    asked = [item for item in (tuned or base).values() if item["kind"] == kind]
    baseline = sum(item["baseline_correct"] for item in asked) / len(asked)
    shares = []
    for answers in (base, tuned):
        items = [item for item in answers.values() if item["kind"] == kind]
        shares.append(percent(sum(i["correct"] for i in items) / len(items)) if items else "-")
    gain = exact_match_difference(tuned, base, kind=kind)
    difference = signed(100 * gain.value, 1) if gain else "-"
    interval = f"{signed(100 * gain.low, 1)} to {signed(100 * gain.high, 1)}" if gain else "-"
    label = f"{kind} ({'closed' if closed else 'open'} book)"
    return (label, count(len(asked)), percent(baseline), *shares, difference, interval)


def _question(key: str, tuned: dict[str, Any], base: dict[str, Any]) -> Question:
    item = (tuned or base)[key]
    answers = tuple(
        Answer(who, answered[key]["answer"], bool(answered[key]["correct"]))
        for who, answered in (("base", base), ("tuned", tuned))
        if key in answered
    )
    return Question(item["kind"], item["prompt"], item["expected"], answers)


def verdict(run: RunFacts) -> str | None:
    """One line for the terminal: whether the base model beats the 5-gram of its size."""
    texts = [block for block in _verdicts(run) if isinstance(block, Text)]
    return texts[0].text if texts else None
