"""What the tuned model learned from: which tokens were trained, how diverse the questions were."""

from functools import partial
from itertools import islice

from pipeline.artifacts import ExampleSet
from pipeline.conversations.example import Example, read_examples
from pipeline.evals.coverage import DIVERSITY
from pipeline.reports.blocks import Block, Picture, Section, Table, Text
from pipeline.reports.curves import coverage_png
from pipeline.reports.facts import RunFacts
from pipeline.reports.numbers import count, number, percent
from pipeline.reports.preview import preview, preview_block, trained_turns
from pipeline.store.files import read_json
from pipeline.tokens.tokenizer import Tokenizer

PREVIEWS = 3
LOOKED_AT = 2_000  # examples among which one of each kind is sought


def tuning_section(run: RunFacts) -> Section | None:
    """Examples with their trained tokens marked, distinct n-grams, clusters and the map."""
    if run.examples is None:
        return None
    blocks: list[Block] = [*_counts(run), *_left_out(run), *_diversity(run)]
    if run.tokenizer is not None and (run.examples.path / "train.jsonl").is_file():
        vocabulary = Tokenizer.load(run.tokenizer.path)
        blocks.append(Text("Only the marked tokens are trained; the rest is read, not learnt."))
        train_on = trained_turns(run.tuned)
        blocks += [
            preview_block(preview(one, vocabulary, train_on=train_on))
            for one in _one_of_each(run.examples)
        ]
    return Section("tuning", "What the tuned model learned from", tuple(blocks))


def _counts(run: RunFacts) -> list[Block]:
    assert run.examples is not None
    facts = run.examples.facts
    kinds = facts.get("kinds") or {}
    names = sorted({kind for split in kinds.values() for kind in split})
    splits = [split for split in ("train", "validation", "held_out") if split in kinds]
    rows = tuple((name, *(count(kinds[split].get(name, 0)) for split in splits)) for name in names)
    table = Table(
        ("kind", *(split.replace("_", " ") for split in splits)),
        rows,
        right=frozenset(range(1, len(splits) + 1)),
    )
    return [table] if rows else []


def _left_out(run: RunFacts) -> list[Block]:
    """The format of each file, every example that was not trained on, and how full the rows are."""
    assert run.examples is not None
    facts = run.examples.facts
    blocks: list[Block] = []
    formats = facts.get("formats") or {}
    if formats:
        blocks.append(Table(("file", "format of its rows"), tuple(sorted(formats.items()))))
    packed = (run.tuned.facts.get("examples") or {}).get("train", {}) if run.tuned else {}
    reasons = {
        "unusable row": facts.get("quarantined") or {},
        "not chosen": facts.get("removed") or {},
        "does not fit": packed.get("dropped") or {},
    }
    rows = [
        (where, reason.replace("_", " "), count(number_of))
        for where, found in reasons.items()
        for reason, number_of in sorted(found.items())
    ]
    if packed.get("truncated"):
        rows.append(("trained in part", "prompt or oldest turns cut", count(packed["truncated"])))
    if rows:
        table = Table(("left out", "why", "examples"), tuple(rows), frozenset({2}))
        blocks.append(table)
    if "efficiency" in packed:
        share = percent(1 - packed["efficiency"])
        trained, read = count(packed["target_tokens"]), count(packed["tokens"])
        blocks.append(
            Text(f"{trained} of {read} tokens are trained; {share} of the rows is padding.")
        )
    return blocks


def _diversity(run: RunFacts) -> list[Block]:
    assert run.examples is not None
    distinct = run.examples.facts.get("diversity") or {}
    rows = [(name.replace("_", " "), number(value, 3)) for name, value in distinct.items()]
    blocks: list[Block] = []
    path = run.tuned.path / DIVERSITY if run.tuned is not None else None
    if path is not None and path.is_file():
        found = read_json(path)
        rows.append(
            (
                f"effective clusters of {found['clusters']} in the base model's space",
                number(found["effective_clusters"], 1),
            )
        )
        rows.append(("share of the largest cluster", percent(found["largest_cluster"])))
        if "chosen" in found:
            rows.append(("examples chosen to cover the rest", count(found["chosen"])))
        described = "Each point is a prompt, where the base model sees it; colours are kinds"
        blocks.append(
            Picture(
                "coverage", described,
                partial(coverage_png, found["map"]),
            )
        )  # fmt: skip
    if rows:
        blocks.append(
            Table(
                ("diversity of the training examples", ""), tuple(rows), frozenset({1}),
                caption="Distinct n: different n-grams of words over all of them.",
            )
        )  # fmt: skip
    return blocks


def _one_of_each(examples: ExampleSet) -> list[Example]:
    """The first example of each kind, shortest first among kinds, PREVIEWS of them."""
    seen: dict[str, Example] = {}
    for example in islice(read_examples(examples.path / "train.jsonl"), LOOKED_AT):
        seen.setdefault(example.kind, example)
    return sorted(seen.values(), key=lambda e: (len(e.question) + len(e.expected), e.id))[:PREVIEWS]
