"""SFT pairs from Python documentation, of kinds a model of a few million parameters can learn.

    parameters  a signature    -> the names of its parameters   baseline: copy what is in ()
    summary     a docstring    -> its first sentence            baseline: copy the docstring
    lookup      a listing      -> the name that does ...        baseline: the first name
    describe    only the name  -> what it does (closed book)    baseline: commonest answer

In the open-book kinds the answer's characters stand in the prompt where they tokenise as they do
in the answer (at the start of a line, or after a comma), so that answering is copying with care.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.conversations.example import Example
from pipeline.conversations.formats import Limits
from pipeline.conversations.splits import (
    SPLITS,
    Pairs,
    Split,
    normalised,
    unit_hash,
    without_repeats,
)

PairKind = Literal["parameters", "summary", "lookup", "describe"]
CLOSED_BOOK = frozenset({"describe"})
SUMMARY_BYTES = (12, 56)  # a sentence; at most about 16 tokens of a 4,096 vocabulary
DOCSTRING_BYTES = 160  # about 45 tokens: four pairs fit a context of 256
SIGNATURE_BYTES = 160
MAX_PARAMETERS = 6
LISTED = 4  # names per listing; chance is a quarter
RULED = re.compile(r"[~=*#-]{4}")  # a heading underlined, not a sentence
LISTED_SUMMARY_BYTES = (12, 44)


class PydocsPairs(BaseModel):
    """Pairs from the signatures and docstrings of the corpus's Python packages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["pydocs"] = Field(
        "pydocs", title="Kind", description="pairs from Python documentation"
    )
    kinds: tuple[PairKind, ...] = Field(
        ("parameters", "summary", "lookup", "describe"), title="Kinds of question",
        description="which questions are made", min_length=1,
    )  # fmt: skip
    max_per_kind: int = Field(
        3_000,
        title="Pairs per kind",
        description="training and validation pairs of each open-book kind, at most",
        ge=1,
    )
    max_closed_book: int = Field(
        400,
        title="Closed-book pairs",
        description="training and validation pairs that ask from memory, at most: a small model "
        "cannot learn them, and their loss drowns that of the others",
        ge=1,
    )
    max_held_out_per_kind: int = Field(
        100,
        title="Held-out pairs per kind",
        description="held-out pairs of each kind, at most",
        ge=1,
    )
    validation_fraction: float = Field(
        0.03, title="Validation share", description="of the objects not held out", ge=0, lt=1
    )


@dataclass(frozen=True)
class DocObject:
    """One row of `objects.arrow`: a documented class, function or method."""

    qualified_name: str
    doc_id: str
    kind: str
    name: str
    signature: str
    parameters: tuple[str, ...]
    docstring: str
    summary: str

    @property
    def owner(self) -> str:
        """The module or class it belongs to."""
        return self.qualified_name.rpartition(".")[0]


def make_pairs(
    objects: Iterable[DocObject],
    held_out_documents: frozenset[str],
    lines_of_training_text: Callable[[frozenset[str]], set[str]],
    *,
    config: PydocsPairs,
    limits: Limits,
    seed: int,
) -> Pairs:
    """All pairs, split by object: held out are the objects of `held_out_documents`.

    `lines_of_training_text(wanted)` says which lines occur in the text the base model reads.
    A held-out object whose docstring or summary occurs there or among the other objects is removed.
    """
    pairs = Pairs()
    inside, outside = _divide(objects, held_out_documents, seed)
    inside = _unseen(inside, outside, lines_of_training_text, pairs.removed)
    seen: set[str] = set()
    for kind in config.kinds:
        held = _take(
            _MAKERS[kind](inside, seed), config.max_held_out_per_kind, limits, seen, pairs.removed
        )
        cap = config.max_closed_book if kind in CLOSED_BOOK else config.max_per_kind
        rest = _take(_MAKERS[kind](outside, seed), cap, limits, seen, pairs.removed)
        pairs.held_out += held
        for example in rest:
            share = unit_hash(seed, "validation", example.group)
            split: Split = "validation" if share < config.validation_fraction else "train"
            pairs.of(split).append(example)
    frequent = _most_frequent(pairs.train)
    for split in SPLITS:
        members = pairs.of(split)
        members[:] = [_with_baseline(example, frequent) for example in members]
    return pairs


def _divide(
    objects: Iterable[DocObject], held_out_documents: frozenset[str], seed: int
) -> tuple[list[DocObject], list[DocObject]]:
    """Objects inside and outside the held-out documents, each in an order given by hash."""
    inside: list[DocObject] = []
    outside: list[DocObject] = []
    for item in objects:
        (inside if item.doc_id in held_out_documents else outside).append(item)

    def place(item: DocObject) -> tuple[float, str]:
        return unit_hash(seed, "order", item.qualified_name), item.qualified_name

    return sorted(inside, key=place), sorted(outside, key=place)


def _unseen(
    inside: Sequence[DocObject],
    outside: Sequence[DocObject],
    lines_of_training_text: Callable[[frozenset[str]], set[str]],
    removed: Counter[str],
) -> list[DocObject]:
    """The held-out objects whose words the model cannot have read in training."""
    # Normalising every docstring of a large corpus takes seconds; few begin as a held-out one does.
    beginnings = {_beginning(item.docstring) for item in inside}
    alike = [item for item in outside if _beginning(item.docstring) in beginnings]
    docstrings = {normalised(item.docstring) for item in alike if item.docstring}
    summaries = {normalised(item.summary) for item in outside if item.summary}
    wanted = frozenset(line for item in inside for line in _telling_lines(item))
    in_text = lines_of_training_text(wanted)
    kept = []
    for item in inside:
        if item.docstring and normalised(item.docstring) in docstrings:
            removed["held_out_docstring_in_train_objects"] += 1
        elif item.summary and normalised(item.summary) in summaries:
            removed["held_out_summary_in_train_objects"] += 1
        elif any(line in in_text for line in _telling_lines(item)):
            removed["held_out_text_in_training_text"] += 1
        else:
            kept.append(item)
    return kept


def _beginning(text: str) -> str:
    return " ".join(text.split(None, 3)[:3]).lower()


def _telling_lines(item: DocObject) -> list[str]:
    """The first line of the docstring and the summary, if it stands on one line."""
    first = item.docstring.strip().partition("\n")[0].strip()
    return [line for line in {first, item.summary.strip()} if line and "\n" not in line]


def _take(
    candidates: Iterator[Example], cap: int, limits: Limits, seen: set[str], removed: Counter[str]
) -> list[Example]:
    taken: list[Example] = []
    for example in candidates:
        if len(taken) == cap:
            break
        too_long = (
            len(example.prompt.encode()) > limits.prompt_bytes
            or len(example.answer.encode()) > limits.answer_bytes
        )
        if too_long:
            removed["too_long"] += 1
        else:
            taken += without_repeats([example], seen, removed)
    return taken


def _parameters(objects: Sequence[DocObject], seed: int) -> Iterator[Example]:
    for item in objects:
        names = item.parameters
        inner = _between_parentheses(item.signature)
        if not inner or not 1 <= len(names) <= MAX_PARAMETERS or len(inner) > SIGNATURE_BYTES:
            continue
        prompt = f"Parameters of\n{item.name}(\n{inner})\n"
        yield _example(item, "parameters", prompt, ", ".join(names), baseline=inner)


def _summary(objects: Sequence[DocObject], seed: int) -> Iterator[Example]:
    for item in objects:
        summary = flat(item.summary)
        shown = cut_at_word(flat(item.docstring), DOCSTRING_BYTES)
        if _fits(summary, SUMMARY_BYTES) and shown.startswith(summary):
            yield _example(item, "summary", f"Summary of\n{shown}\n", summary, baseline=shown)


def _lookup(objects: Sequence[DocObject], seed: int) -> Iterator[Example]:
    """One question on each listing of a module's functions or a class's methods, then a second."""
    by_owner: dict[str, list[DocObject]] = defaultdict(list)
    for item in objects:
        callable_ = item.kind in ("function", "method") and not item.name.startswith("_")
        if callable_ and _fits(flat(item.summary), LISTED_SUMMARY_BYTES):
            by_owner[item.owner].append(item)
    listings: list[list[DocObject]] = []
    for owner in sorted(by_owner, key=lambda owner: (unit_hash(seed, "owner", owner), owner)):
        members = _distinct_summaries(by_owner[owner])
        starts = range(0, len(members) - LISTED + 1, LISTED)
        listings += [members[start : start + LISTED] for start in starts]
    for turn in range(LISTED):
        for listed in listings:
            offset = int(unit_hash(seed, "asked", listed[0].qualified_name) * LISTED)
            asked = listed[(offset + turn) % LISTED]
            listing = "".join(f"{flat(item.summary)}\n{item.name}\n" for item in listed)
            prompt = f"{listing}Which one?\n{flat(asked.summary)}\n"
            yield _example(asked, "lookup", prompt, asked.name, baseline=listed[0].name)


def _describe(objects: Sequence[DocObject], seed: int) -> Iterator[Example]:
    for item in objects:
        summary = flat(item.summary)
        if _fits(summary, SUMMARY_BYTES):
            prompt = f"What does `{item.qualified_name}` do?\n"
            yield _example(item, "describe", prompt, summary, baseline=None)


_MAKERS: dict[str, Callable[[Sequence[DocObject], int], Iterator[Example]]] = {
    "parameters": _parameters, "summary": _summary, "lookup": _lookup, "describe": _describe,
}  # fmt: skip


def _example(
    item: DocObject, kind: PairKind, prompt: str, answer: str, baseline: str | None
) -> Example:
    return Example(
        id=f"{kind}/{item.qualified_name}", prompt=prompt, answer=answer, group=item.qualified_name,
        kind=kind, open_book=kind not in CLOSED_BOOK, copy_baseline=baseline,
    )  # fmt: skip


def _distinct_summaries(members: Sequence[DocObject]) -> list[DocObject]:
    by_summary: dict[str, DocObject] = {}
    names: set[str] = set()
    for item in members:
        if item.name not in names:
            names.add(item.name)
            by_summary.setdefault(flat(item.summary), item)
    return list(by_summary.values())


def _most_frequent(train: Sequence[Example]) -> dict[str, str]:
    """The commonest training answer of each kind; of equals, the first in the alphabet."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        counts[example.kind][example.answer] += 1
    return {kind: min(c, key=lambda answer: (-c[answer], answer)) for kind, c in counts.items()}


def _with_baseline(example: Example, frequent: dict[str, str]) -> Example:
    if example.copy_baseline is not None:
        return example
    return replace(example, copy_baseline=frequent.get(example.kind, ""))


def flat(text: str) -> str:
    """`text` on one line, single spaces."""
    return " ".join(text.split())


def cut_at_word(text: str, max_bytes: int) -> str:
    """The longest run of whole words of `text` within `max_bytes` of UTF-8."""
    data = text.encode()
    if len(data) <= max_bytes:
        return text
    return data[: max_bytes + 1].decode("utf-8", "ignore").rpartition(" ")[0]


def _fits(text: str, bounds: tuple[int, int]) -> bool:
    return bounds[0] <= len(text.encode()) <= bounds[1] and not RULED.search(text)


def _between_parentheses(signature: str) -> str:
    """What stands between the first parenthesis and its partner, without a leading self or cls."""
    start = signature.find("(")
    depth = 0
    for i in range(start, len(signature)) if start >= 0 else ():
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(signature[i], 0)
        if depth == 0:
            inner = flat(signature[start + 1 : i])
            return re.sub(r"^(self|cls)\s*(,\s*|$)", "", inner)
    return ""
