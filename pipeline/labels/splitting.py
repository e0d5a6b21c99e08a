"""From labelled rows to splits that can be trained and measured on, or an error that says why not.

rows -> known labels -> no contradictions, no repeats -> no rare labels -> splits
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pipeline.conversations.splits import SPLITS, Split, unit_hash
from pipeline.labels.example import Labelled
from pipeline.store.errors import DataError

SHOWN = 5


@dataclass
class LabelSplits:
    """Examples by split, the labels in their order, and what was left out."""

    labels: tuple[str, ...]
    train: list[Labelled] = field(default_factory=list)
    validation: list[Labelled] = field(default_factory=list)
    held_out: list[Labelled] = field(default_factory=list)
    removed: Counter[str] = field(default_factory=Counter)

    def of(self, split: Split) -> list[Labelled]:
        """The list of one split."""
        if split == "train":
            return self.train
        return self.validation if split == "validation" else self.held_out


def drawn_split(group: str, *, seed: int, validation: float, held_out: float) -> Split:
    """The split of a group, by hash: adding examples moves no other one."""
    share = unit_hash(seed, "labels", group)
    if share < held_out:
        return "held_out"
    return "validation" if share < held_out + validation else "train"


def split_labelled(
    rows: Iterable[tuple[Labelled, Split]], *, allowed: Sequence[str] | None, min_per_label: int
) -> LabelSplits:
    """The splits of `rows`; DataError where they leave no question to learn or to measure.

    A text that occurs with different labels is left out altogether, one that is repeated stays
    once: in the held-out split, where it is in that and another.
    """
    removed: Counter[str] = Counter()
    examples: dict[str, tuple[Labelled, Split]] = {}
    contradicted: set[str] = set()
    order = {"held_out": 0, "validation": 1, "train": 2}
    seen = 0
    for one, split in sorted(rows, key=lambda row: order[row[1]]):
        seen += 1
        if allowed is not None and not set(one.labels) <= set(allowed):
            removed["unknown_label"] += 1
            continue
        first = examples.setdefault(one.key, (one, split))
        if first[0] is not one:
            same = first[0].labels == one.labels
            removed["repeated" if same else "contradiction"] += 1
            if not same:
                contradicted.add(one.key)
    for key in contradicted:
        removed["contradiction"] += 1
        del examples[key]
    kept = _without_rare(list(examples.values()), min_per_label, removed)
    if not kept:
        raise DataError(_nothing_left(seen, removed, min_per_label))
    found = sorted({label for one, _ in kept for label in one.labels})
    labels = tuple(label for label in allowed if label in found) if allowed else tuple(found)
    splits = LabelSplits(labels, removed=removed)
    for one, split in kept:
        splits.of(split).append(one)
    _check(splits)
    return splits


def _without_rare(
    kept: list[tuple[Labelled, Split]], least: int, removed: Counter[str]
) -> list[tuple[Labelled, Split]]:
    """Without labels in fewer than `least` examples, or in none of the training split.

    An example lost with a rare word's label may make another label rare: until nothing changes.
    """
    while True:
        counts = Counter(label for one, _ in kept for label in set(one.labels))
        trained = {label for one, split in kept if split == "train" for label in one.labels}
        left = [
            (one, split)
            for one, split in kept
            if all(counts[label] >= least and label in trained for label in one.labels)
        ]
        removed["rare_label"] += len(kept) - len(left)
        if len(left) == len(kept):
            return left
        kept = left


def _nothing_left(seen: int, removed: Counter[str], least: int) -> str:
    told = {reason: count for reason, count in sorted(removed.items()) if count}
    return (
        f"none of {seen} labelled examples can be used (left out: {told}): every label must occur "
        f"in {least} of them (min_per_label) and in the training split; a label is the name of a "
        "class, not of the example"
    )


def _check(splits: LabelSplits) -> None:
    counts = label_counts(splits.train)
    if len(splits.labels) < 2:
        raise DataError(
            f"all {sum(map(len, map(splits.of, SPLITS)))} usable examples have the label "
            f"{splits.labels[0]!r}; give examples of a second class"
            + (f" (left out: {dict(splits.removed)})" if splits.removed.total() else "")
        )
    if not splits.held_out:
        raise DataError(
            f"{len(splits.train)} examples to train on, none held out; add examples, or raise "
            "held_out_fraction"
        )
    held = {label for one in splits.held_out for label in one.labels}
    if len(held) < 2:
        shown = ", ".join(f"{label} {count}" for label, count in counts.most_common(SHOWN))
        raise DataError(
            f"the {len(splits.held_out)} held-out examples have one label only, {held.pop()!r} "
            f"(in training: {shown}): accuracy would say nothing; add examples"
        )


def label_counts(examples: Iterable[Labelled]) -> Counter[str]:
    """How many texts, or words, have each label."""
    return Counter(label for one in examples for label in one.labels)
