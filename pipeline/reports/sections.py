"""What a report says, section by section; what a run lacks leaves its section out."""

from functools import partial
from pathlib import Path
from typing import Any

from pipeline.artifacts import Artifact, CleanedCorpus
from pipeline.reports.blocks import Block, Code, Continuations, Picture, Section, Table, Text
from pipeline.reports.classes import classes_section
from pipeline.reports.curves import funnel_png, loss_curves_png
from pipeline.reports.evaluation_sections import run_sections
from pipeline.reports.facts import RunFacts
from pipeline.reports.masked import masked_section
from pipeline.reports.measured import answers_section, baselines_section, headline_section
from pipeline.reports.numbers import count, number, percent, seconds, short_count, size
from pipeline.reports.tables import funnel_rows, samples, source_rows
from pipeline.reports.tuning import tuning_section

MAX_SAMPLE_PROMPTS = 6


def report_sections(run: RunFacts) -> list[Section]:
    """Every section there is something to say in; made once per run, pictures take a second."""
    # A cached_property by hand: RunFacts lies below this module and cannot name it.
    cache = run.__dict__
    if "_sections" not in cache:
        cache["_sections"] = _make_sections(run)
    sections: list[Section] = cache["_sections"]
    return sections


def _make_sections(run: RunFacts) -> list[Section]:
    results = (
        headline_section, corpus_section, tokens_section, learning_section, samples_section,
        baselines_section, masked_section, classes_section, tuning_section, answers_section,
    )  # fmt: skip
    records = (registry_section, stages_section, provenance_section)
    sections = [
        *(make(run) for make in results), *run_sections(run), *(make(run) for make in records)
    ]  # fmt: skip
    return [section for section in sections if section is not None and section.blocks]


def corpus_section(run: RunFacts) -> Section | None:
    """Documents kept and dropped by reason, near-duplicates, decontamination."""
    if run.corpus is None:
        return None
    rows = funnel_rows(run.corpus)
    table = Table(
        ("step", "documents", "share"),
        tuple((str(r["step"]), count(r["documents"]), percent(abs(r["share"]))) for r in rows),
        right=frozenset({1, 2}),
        strong=frozenset(i for i, r in enumerate(rows) if r["step"] in ("read", "kept")),
    )
    pictures: list[Block] = []
    if rows:
        pictures = [
            Picture(
                "funnel", "Documents read, dropped by reason, and kept",
                partial(funnel_png, rows),
            )
        ]  # fmt: skip
    blocks: list[Block] = [*pictures, table]
    facts = run.corpus.facts
    if facts.get("bytes_kept") is not None:
        kept = f"{size(facts['bytes_kept'])} of {size(facts.get('bytes_read'))} of text were kept."
        lost = facts.get("quarantined") or 0
        blocks.insert(0, Text(f"{kept} {count(lost)} unreadable records were quarantined."))
    blocks += _protection(run.corpus)
    sources = source_rows(run.corpus)
    if len(sources) > 1:
        blocks.append(
            Table(
                ("source", "read", "kept", "kept text", "quarantined"),
                tuple(
                    (
                        str(r["source"]), count(r["documents_read"]), count(r["documents_kept"]),
                        size(r["bytes_kept"]), count(r["quarantined"]),
                    )
                    for r in sources
                ),
                right=frozenset({1, 2, 3, 4}),
            )
        )  # fmt: skip
    return Section("corpus", "From raw text to training text", tuple(blocks))


def _protection(corpus: CleanedCorpus) -> list[Block]:
    """How far the held-out text is kept out of the training text."""
    facts = corpus.facts
    blocks: list[Block] = []
    held = facts.get("decontamination") or {}
    if held.get("held_out_documents"):
        before, after = held.get("share_seen_before"), held.get("share_seen_after")
        text = (
            f"{count(held['held_out_documents'])} documents with "
            f"{count(held.get('held_out_13grams'))} different 13-grams were held out before any "
            "filter."
        )
        if before is not None and after is not None:
            text += (
                f" The rest repeated {percent(before)} of their 13-grams; without near copies and "
                f"overlapping documents, {percent(after)}."
            )
        blocks.append(Text(text))
    counts = facts.get("deduplication") or {}
    rows = [(name.replace("_", " "), count(value)) for name, value in counts.items() if value]
    if rows:
        blocks.append(
            Table(
                ("duplicates and overlap with held-out text", "count"), tuple(rows), frozenset({1})
            )
        )
    return blocks


def tokens_section(run: RunFacts) -> Section | None:
    """The tokenizer and the shards."""
    rows: list[tuple[str, str]] = []
    if run.tokenizer is not None:
        rows.append(
            ("ids in the vocabulary, special tokens included", count(run.tokenizer.vocab_size))
        )
        per_token = run.tokenizer.facts.get("bytes_per_token")
        rows += [("bytes per token", number(per_token, 2))] if per_token else []
    if run.shards is not None:
        facts = run.shards.facts
        labels = {
            "train_tokens": "training tokens", "validation_tokens": "validation tokens",
            "documents": "documents", "bytes": "bytes of text",
        }  # fmt: skip
        rows += [(label, count(facts[name])) for name, label in labels.items() if name in facts]
    if run.examples is not None:
        by_split = run.examples.facts.get("examples") or {}
        rows += [
            (f"question pairs, {str(split).replace('_', '-')}", count(n))
            for split, n in by_split.items()
        ]
    if not rows:
        return None
    return Section(
        "tokens", "Tokens and examples", (Table(("", "count"), tuple(rows), frozenset({1})),)
    )


def learning_section(run: RunFacts) -> Section | None:
    """Loss curves and what training cost."""
    named = [("Pre-training", run.base), ("Fine-tuning", run.tuned)]
    checkpoints = [(title, c) for title, c in named if c is not None]
    if not checkpoints:
        return None
    facts = [c.facts for _, c in checkpoints]
    picture = Picture(
        "curve", "Training and validation loss against tokens, validation's turning point marked",
        partial(loss_curves_png, checkpoints),
    )  # fmt: skip
    rows = [
        ("parameters", [short_count(f.get("num_parameters")) for f in facts]),
        ("steps", [count(f.get("steps")) for f in facts]),
        ("tokens", [short_count(f.get("tokens")) for f in facts]),
        ("epochs", [number(f.get("epochs"), 2) for f in facts]),
        ("final training loss", [number(f.get("final_train_loss")) for f in facts]),
        ("best validation loss", [number(f.get("best_validation_loss")) for f in facts]),
        ("at step", [count(f.get("best_step")) for f in facts]),
        ("validation turned", [_turned(f) for f in facts]),
        ("training time", [seconds(f.get("seconds")) for f in facts]),
        ("tokens per second", [count(f.get("tokens_per_second")) for f in facts]),
    ]
    table = Table(
        ("", *(title for title, _ in checkpoints)),
        tuple((label, *values) for label, values in rows),
        right=frozenset(range(1, len(checkpoints) + 1)),
    )
    return Section("learning", "Learning", (picture, table))


def _turned(facts: dict[str, Any]) -> str:
    turning = facts.get("turning_point")
    if facts.get("best_validation_loss") is None:
        return "never validated"
    return f"at step {count(turning)}" if turning is not None else "no, still falling"


def samples_section(run: RunFacts) -> Section | None:
    """The same prompts continued by the untrained model, while it learned, and at the end."""
    if run.base is None:
        return None
    prompts = list(samples(run.base).items())[:MAX_SAMPLE_PROMPTS]
    blocks = [Continuations(prompt, tuple(entries)) for prompt, entries in prompts]
    return Section("samples", "The same prompt, as the model learned", tuple(blocks))


def registry_section(run: RunFacts) -> Section | None:
    """Where the models are and how to load them."""
    blocks: list[Block] = []
    for entry in run.registrations:
        aliases = ", ".join(f"@{alias}" for alias in entry.get("aliases") or []) or "no alias"
        text = f"{entry.get('name')}, version {entry.get('version')}, {aliases}"
        reason = entry.get("reason")
        blocks.append(Text(f"{text}. {reason}" if reason else text))
        if entry.get("one_liner"):
            blocks.append(Code(str(entry["one_liner"])))
    return Section("registry", "Where the model is", tuple(blocks)) if blocks else None


def stages_section(run: RunFacts) -> Section | None:
    """What was built, what was reused, how long it took, and what the plan had said."""
    if not run.stages:
        return None
    foretold = {str(p.get("title", p.get("stage"))): p.get("seconds") for p in run.predictions}
    columns = ("stage", "outcome", "time", *(("planned",) if foretold else ()), "artifact")
    rows = []
    for record in run.stages:
        title = str(record.get("title") or record.get("stage"))
        planned = (seconds(foretold.get(title)),) if foretold else ()
        rows.append((
            title, str(record.get("outcome", "")), seconds(record.get("seconds")), *planned,
            str(record.get("ref", "")),
        ))  # fmt: skip
    total = sum(float(record.get("seconds") or 0) for record in run.stages)
    planned_total = (seconds(sum(v for v in foretold.values() if v)),) if foretold else ()
    rows.append(("together", "", seconds(total), *planned_total, ""))
    right = frozenset({2, 3}) if foretold else frozenset({2})
    table = Table(
        columns, tuple(rows), right, frozenset({len(rows) - 1}), frozenset({len(columns) - 1})
    )
    return Section("stages", "Stages", (table,))


def provenance_section(run: RunFacts) -> Section | None:
    """Code, machine, and the fingerprint of everything."""
    artifacts = list(run.artifacts())
    if not artifacts:
        return None
    newest = max(
        (a for _, a in artifacts), key=lambda a: str(a.manifest.provenance.get("ended", ""))
    )
    made = newest.manifest.provenance
    versions = made.get("versions") or {}
    facts = (
        ("run", run.run_id),
        ("commit", _commit(made)),
        ("machine", f"{made.get('platform', '-')}, {made.get('device', '-')}"),
        ("python", str(made.get("python", "-"))),
        ("packages", ", ".join(f"{name} {v}" for name, v in versions.items() if v)),
    )
    about = Table(("", ""), facts)
    table = Table(
        ("artifact", "fingerprint", "where"),
        tuple((name.replace("_", " "), a.ref, _where(a)) for name, a in artifacts),
        code=frozenset({1, 2}),
    )
    return Section("provenance", "Provenance", (about, table))


def _commit(made: Any) -> str:
    commit = made.get("git_commit")
    if not commit:
        return "not in a git checkout"
    return f"{commit}{', with local changes' if made.get('git_dirty') else ''}"


def _where(artifact: Artifact) -> str:
    return Path(artifact.path.parent.name, artifact.path.name).as_posix()
