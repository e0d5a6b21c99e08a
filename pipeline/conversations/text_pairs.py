"""SFT pairs from the corpus's own text, in whatever language it is written.

    next        four sentences       -> the one after a given one   baseline: the second one
    option      four options         -> the one that does ...       baseline: the first one
    summary     a page's beginning   -> its one-line summary        baseline: the whole beginning
    section     a paragraph          -> the heading it stands under baseline: commonest answer
    describe    only the name        -> what it does (closed book)  baseline: commonest answer

`next` works on any text; the others need the structure of manual pages. In the open-book kinds the
answer stands in the prompt right after what is asked for, so that answering is copying with care.
Training pairs are made of the corpus, held-out pairs of the frozen evaluation documents, which no
model has read.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.conversations.example import Example
from pipeline.conversations.formats import Limits
from pipeline.conversations.pages import Page, read_page, sentences
from pipeline.conversations.splits import SPLITS, Pairs, unit_hash, without_repeats

TextKind = Literal["next", "option", "summary", "section", "describe"]
CLOSED_BOOK = frozenset({"section", "describe"})
LISTED = 4  # sentences or options per question; chance is a third, a quarter
LISTED_BYTES = (12, 75)  # of each, 4 to 25 Han; all and the question take some 120 tokens
SUMMARY_BYTES = (9, 90)
BEGINNING_BYTES = 300
PARAGRAPH_BYTES = (60, 360)
PER_PAGE = 12  # questions of one kind on one page
COMMON_HEADING = 5  # training pages that must share a heading before it is asked for; a guess
WORDING = {
    "zh": {
        "next": "{listing}\n下一句是什么？\n{asked}\n",
        "option": "{listing}\n哪个选项？\n{asked}\n",
        "summary": "{asked}\n一句话概括：\n",
        "section": "{asked}\n\n这段话属于哪一节？\n",
        "describe": "{asked} 是什么？\n",
    },
    "en": {
        "next": "{listing}\nWhat comes after this?\n{asked}\n",
        "option": "{listing}\nWhich option?\n{asked}\n",
        "summary": "{asked}\nIn one line:\n",
        "section": "{asked}\n\nWhich section is this from?\n",
        "describe": "What is {asked}?\n",
    },
}  # fmt: skip


class TextPairs(BaseModel):
    """Pairs from the sentences, options and sections of the corpus's own documents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["text"] = Field("text", title="Kind", description="pairs from the corpus's text")
    kinds: tuple[TextKind, ...] = Field(
        ("next", "option", "summary", "section", "describe"), title="Kinds of question",
        description="which questions are made; all but next need text in the form of manual pages",
        min_length=1,
    )  # fmt: skip
    wording: Literal["en", "zh"] = Field(
        "en", title="Wording", description="language in which the questions are put"
    )
    max_documents: int = Field(
        20_000, title="Documents", description="of the corpus, chosen by hash, at most", ge=1
    )
    max_per_kind: int = Field(
        3_000, title="Pairs per kind", ge=1,
        description="training and validation pairs of each open-book kind, at most",
    )  # fmt: skip
    max_closed_book: int = Field(
        400, title="Closed-book pairs", ge=1,
        description="training and validation pairs of each kind whose answer is not in the prompt",
    )  # fmt: skip
    max_held_out_per_kind: int = Field(
        100, title="Held-out pairs per kind", description="of each kind, at most", ge=1
    )
    validation_fraction: float = Field(
        0.03, title="Validation share", description="of the documents not held out", ge=0, lt=1
    )


Documents = Iterable[tuple[str, str]]
"""(doc_id, text) of each."""


def pairs_from_text(
    corpus: Documents, held_out: Documents, *, config: TextPairs, limits: Limits, seed: int
) -> Pairs:
    """All pairs, split by document; the documents of `held_out` give the held-out ones."""
    outside = _pages(corpus, config.max_documents, seed)
    inside = _pages(held_out, config.max_documents, seed)
    headings = _common_headings(outside)
    pairs = Pairs()
    seen: set[str] = set()
    for kind in dict.fromkeys(config.kinds):
        cap = config.max_closed_book if kind in CLOSED_BOOK else config.max_per_kind
        for pages, most in ((inside, config.max_held_out_per_kind), (outside, cap)):
            made = (
                example
                for page in pages
                for example in _some(_MAKERS[kind](page, headings), kind, page, config, seed)
            )
            for example in _fitting(made, most, limits, seen, pairs.removed):
                share = unit_hash(seed, "validation", example.group)
                if pages is inside:
                    pairs.held_out.append(example)
                elif share < config.validation_fraction:
                    pairs.validation.append(example)
                else:
                    pairs.train.append(example)
    return _with_baselines(pairs)


def _pages(documents: Documents, most: int, seed: int) -> list[Page]:
    """Pages in an order given by hash; of a large corpus only the first `most` are held."""

    def place(document: tuple[str, str]) -> tuple[float, str]:
        return unit_hash(seed, "order", document[0]), document[0]

    return [read_page(*document) for document in heapq.nsmallest(most, documents, key=place)]


def _common_headings(pages: Sequence[Page]) -> frozenset[str]:
    counts = Counter(heading for page in pages for heading in {s.heading for s in page.sections})
    return frozenset(heading for heading, count in counts.items() if count >= COMMON_HEADING)


Question = tuple[str, str, str, str | None]
"""(listing, what is asked, answer, baseline)."""


def _some(
    questions: Iterator[Question], kind: TextKind, page: Page, config: TextPairs, seed: int
) -> list[Example]:
    """The page's first PER_PAGE questions of a kind in an order given by hash."""
    numbered = sorted(
        enumerate(questions), key=lambda item: unit_hash(seed, kind, page.doc_id, str(item[0]))
    )
    return [
        Example(
            id=f"{kind}/{page.doc_id}/{number}",
            prompt=WORDING[config.wording][kind].format(listing=listing, asked=asked),
            answer=answer,
            group=page.doc_id,
            kind=kind,
            open_book=kind not in CLOSED_BOOK,
            copy_baseline=baseline,
        )
        for number, (listing, asked, answer, baseline) in numbered[:PER_PAGE]
    ]


def _next(page: Page, headings: frozenset[str]) -> Iterator[Question]:
    usable = list(dict.fromkeys(s for s in sentences(page.text) if _fits(s, LISTED_BYTES)))
    for start in range(0, len(usable) - LISTED + 1, LISTED):
        listed = usable[start : start + LISTED]
        for asked, answer in pairwise(listed):
            yield "\n".join(listed), asked, answer, listed[1]


def _option(page: Page, headings: frozenset[str]) -> Iterator[Question]:
    usable = [o for o in page.options if _fits(o.meaning, LISTED_BYTES) and len(o.flags) <= 40]
    for start in range(0, len(usable) - LISTED + 1, LISTED):
        listed = usable[start : start + LISTED]
        if len({o.flags for o in listed}) < LISTED or len({o.meaning for o in listed}) < LISTED:
            continue
        listing = "\n".join(f"{option.meaning}\n{option.flags}" for option in listed)
        for asked in listed:
            yield listing, asked.meaning, asked.flags, listed[0].flags


def _summary(page: Page, headings: frozenset[str]) -> Iterator[Question]:
    if page.name and _fits(page.summary, SUMMARY_BYTES):
        start = page.text.find(page.summary)
        end = page.text.find("\n", start + len(page.summary) + 60)
        beginning = page.text[start : end if end >= 0 else None].strip()
        if start >= 0 and len(beginning.encode()) <= BEGINNING_BYTES:
            yield "", beginning, page.summary, beginning


def _section(page: Page, headings: frozenset[str]) -> Iterator[Question]:
    for section in page.sections[1:]:  # the first holds the name
        for paragraph in section.paragraphs:
            if section.heading in headings and _fits(paragraph, PARAGRAPH_BYTES):
                yield "", paragraph, section.heading, None


def _describe(page: Page, headings: frozenset[str]) -> Iterator[Question]:
    if page.name and _fits(page.summary, SUMMARY_BYTES):
        yield "", page.name, page.summary, None


_MAKERS: dict[TextKind, Callable[[Page, frozenset[str]], Iterator[Question]]] = {
    "next": _next, "option": _option, "summary": _summary, "section": _section,
    "describe": _describe,
}  # fmt: skip


def _fitting(
    candidates: Iterable[Example], most: int, limits: Limits, seen: set[str], removed: Counter[str]
) -> list[Example]:
    taken: list[Example] = []
    for example in candidates:
        if len(taken) == most:
            break
        if (
            len(example.prompt.encode()) > limits.prompt_bytes
            or len(example.answer.encode()) > limits.answer_bytes
        ):
            removed["too_long"] += 1
        else:
            taken += without_repeats([example], seen, removed)
    return taken


def _with_baselines(pairs: Pairs) -> Pairs:
    """Closed-book questions are compared with their kind's commonest training answer."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for example in pairs.train:
        counts[example.kind][example.answer] += 1
    frequent = {kind: min(c, key=lambda a: (-c[a], a)) for kind, c in counts.items()}
    for split in SPLITS:
        members = pairs.of(split)
        members[:] = [
            example
            if example.copy_baseline is not None
            else replace(example, copy_baseline=frequent.get(example.kind, ""))
            for example in members
        ]
    return pairs


def _fits(text: str, bounds: tuple[int, int]) -> bool:
    return bounds[0] <= len(text.encode()) <= bounds[1]
