"""Other thresholds over a corpus that is there: who would stay, who would go, by which rule.

    measures.parquet + other steps -> verdicts -> Rejudged      no text is read, nothing is written

Documents that come back have not been compared with the others: deduplication follows when clean
runs with the new settings.
"""

import ast
import inspect
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import xxhash

from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.accounts import Amount
from pipeline.corpus.filters.base import Filter, Rewrite, Step
from pipeline.corpus.filters.judging import labels_of
from pipeline.corpus.languages.codes import UNDETERMINED
from pipeline.corpus.measured import KEPT, MeasuredPart, measured_parts
from pipeline.corpus.rejects import rejudge
from pipeline.store.errors import ArtifactError, ConfigError


@dataclass
class Change:
    """The same thing under the old and the new thresholds."""

    before: Amount = field(default_factory=Amount)
    after: Amount = field(default_factory=Amount)


@dataclass(frozen=True)
class Moved:
    """A document about which the verdicts differ."""

    doc_id: str
    source: str
    language: str
    bytes: int
    before: str
    """KEPT or the first reason."""
    after: str


@dataclass
class Rejudged:
    """A corpus under two lists of steps."""

    judged: Amount = field(default_factory=Amount)
    kept: Change = field(default_factory=Change)
    """By the filters alone; what left across parts counts as kept here."""
    rules: dict[str, Change] = field(default_factory=lambda: defaultdict(Change))
    """Turned away by each rule first."""
    by_source: dict[str, Change] = field(default_factory=lambda: defaultdict(Change))
    """Kept."""
    by_language: dict[str, Change] = field(default_factory=lambda: defaultdict(Change))
    returned: Amount = field(default_factory=Amount)
    lost: Amount = field(default_factory=Amount)
    other_reason: Amount = field(default_factory=Amount)
    examples: list[Moved] = field(default_factory=list)
    """Documents that came back or were lost, by a hash of their id."""


def compare(
    corpus: CleanedCorpus, before: Sequence[Step], after: Sequence[Step], *, examples: int = 20
) -> Rejudged:
    """Judge every stored document by `after`.

    ConfigError when `after` needs what `before` never measured, or measures it otherwise;
    ArtifactError for a corpus of an earlier version.
    """
    check_comparable(before, after)
    found = Rejudged()
    chosen: list[tuple[int, Moved]] = []
    for part in measured_parts(corpus):
        if "language" not in part.table.column_names:
            raise ArtifactError(
                f"{corpus.ref} was cleaned by an earlier version that kept less on record; run "
                "clean again"
            )
        reasons = [reason or KEPT for reason in rejudge(part.path, after).reasons]
        chosen = _smallest([*chosen, *_add(found, part, reasons)], examples)
    found.examples = [moved for _, moved in chosen]
    return found


def _add(
    found: Rejudged, part: MeasuredPart, reasons: Sequence[str]
) -> Iterable[tuple[int, Moved]]:
    rows = zip(
        part.doc_ids, part.sources, part.languages, part.num_bytes.tolist(),
        part.first_objections, reasons, strict=True,
    )  # fmt: skip
    for doc_id, source, language, size, first, after in rows:
        before = first or KEPT
        found.judged.add(1, size)
        for verdict, name in ((before, "before"), (after, "after")):
            changes = [found.rules[verdict]]
            if verdict == KEPT:
                groups = (found.by_source[source], found.by_language[language or UNDETERMINED])
                changes = [found.kept, *groups]
            for change in changes:
                getattr(change, name).add(1, size)
        if before == after:
            continue
        if KEPT not in (before, after):
            found.other_reason.add(1, size)
            continue
        (found.returned if after == KEPT else found.lost).add(1, size)
        moved = Moved(doc_id, source, language or UNDETERMINED, size, before, after)
        yield xxhash.xxh3_64_intdigest(doc_id.encode()), moved
    found.rules.pop(KEPT, None)


def _smallest(chosen: list[tuple[int, Moved]], count: int) -> list[tuple[int, Moved]]:
    """As many documents that came back as were lost, while there are both."""
    chosen.sort(key=lambda item: (item[0], item[1].doc_id))
    returned = [item for item in chosen if item[1].after == KEPT]
    lost = [item for item in chosen if item[1].after != KEPT]
    half = max(count // 2, count - min(len(returned), len(lost)))
    return [*returned[:half], *lost[: max(count - len(returned[:half]), 0)]]


def check_comparable(before: Sequence[Step], after: Sequence[Step]) -> None:
    """ConfigError unless the measures of `before` are those that `after` judges."""
    rewrites = [step for step in before if isinstance(step, Rewrite)]
    if rewrites != [step for step in after if isinstance(step, Rewrite)]:
        raise ConfigError(
            "the rewrites differ, and they change what the filters after them measure; run clean "
            "with these steps"
        )
    measured = _placed(before)
    for label, steps in _placed(after).items():
        if label not in measured:
            raise ConfigError(
                f"the filter {label!r} was never measured, only {', '.join(measured)}; run clean "
                "with it once"
            )
        for step, place in steps:
            _check_step(label, step, place, measured[label])


Placed = dict[str, list[tuple[Filter, int]]]


def _placed(steps: Sequence[Step]) -> Placed:
    """Filters by label, each with the number of rewrites before it."""
    found: Placed = defaultdict(list)
    rewrites = 0
    for step, label in zip(steps, labels_of(steps), strict=True):
        rewrites += isinstance(step, Rewrite)
        if isinstance(step, Filter):
            found[label].append((step, rewrites))
    return found


def _check_step(
    label: str, step: Filter, place: int, measured: Sequence[tuple[Filter, int]]
) -> None:
    if all(place != there for _, there in measured):
        raise ConfigError(
            f"the filter {label!r} stands elsewhere between the rewrites, so it would measure "
            "another text; run clean with these steps"
        )
    shaping = measuring_fields(type(step))
    for name in sorted(shaping):
        known = [getattr(earlier, name) for earlier, _ in measured]
        if getattr(step, name) not in known:
            raise ConfigError(
                f"{label}.{name} shapes what is measured, it is no threshold; run clean with "
                f"{name}={getattr(step, name)!r}"
            )


def measuring_fields(kind: type[Filter]) -> set[str]:
    """The fields that a filter's `measure` reads, itself or through its other methods.

    All of them when it hands itself on to something that cannot be followed.
    """
    fields = set(kind.model_fields) - set(Step.model_fields) - {"kind"}
    seen, waiting, read = set[str](), ["measure"], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        names = _names_of_self(kind, name)
        if names is None:
            return fields
        read |= names & fields
        waiting += [other for other in names - fields if callable(getattr(kind, other, None))]
        properties = [n for n in names - fields if isinstance(getattr(kind, n, None), property)]
        if properties:
            return fields
    return read


def _names_of_self(kind: type[Filter], method: str) -> set[str] | None:
    """`x` of every `self.x` in a method; None where `self` appears by itself."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(kind, method))))
    attributes = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    ]
    alone = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "self"]
    if len(alone) != len(attributes):
        return None
    return {node.attr for node in attributes}


def labelled_overrides(steps: Sequence[Step], overrides: Sequence[str]) -> list[str]:
    """`clean.steps.length.min_words=9` as `clean.steps.0.min_words=9`, once per step so named."""
    labels = labels_of(steps)
    found = []
    for override in overrides:
        name, separator, value = override.partition("=")
        keys = name.split(".")
        if keys[:2] != ["clean", "steps"] or len(keys) < 4 or keys[2].isdigit():
            found.append(override)
            continue
        numbers = [number for number, label in enumerate(labels) if label == keys[2]]
        if not numbers:
            there = ", ".join(dict.fromkeys(labels))
            raise ConfigError(f"{name}: no step is called {keys[2]!r}; there are {there}")
        for number in numbers:
            keys[2] = str(number)
            found.append(".".join(keys) + separator + value)
    return found


def written(steps: Sequence[Step]) -> list[Mapping[str, object]]:
    """Steps as a settings file has them."""
    return [step.model_dump(mode="json") for step in steps]
