"""Labels that the Python documentation brings with it: real ones, of both levels.

    library     a sentence -> the package whose documentation it is from
    code_words  a sentence -> for each word whether its author marked it as code

The answer is taken out of the text: a sentence that names a package is left out, and the markup
that says what is code is stripped. Held out are the sentences of the frozen eval set, which
neither the encoder nor the classifier has read.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from model.bert_classifier import Level
from pipeline.conversations.splits import Split, unit_hash
from pipeline.labels.example import Labelled
from pipeline.labels.sentences import Sentence, sentences_of
from pipeline.store.errors import DataError

Document = tuple[str, str]
"""doc_id, text."""
_Found = tuple[str, Sentence]
SAME_LIBRARY = {"topics": "python"}
ALIASES = {
    "numpy": ("np",), "pandas": ("pd", "dataframe"), "matplotlib": ("plt", "mpl", "pyplot"),
    "torch": ("pytorch",), "sklearn": ("scikit-learn", "scikit"), "transformers": ("hugging face",),
    "huggingface_hub": ("hugging face",), "sqlalchemy": ("alchemy",), "networkx": ("nx",),
}  # fmt: skip
"""What else names a package: its usual abbreviations, and its name in prose."""
CODE, PROSE = "code", "prose"


class PydocsLabels(BaseModel):
    """Labels from the documentation of Python and of installed packages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["pydocs"] = Field("pydocs", title="Kind", description="labels of documentation")
    task: Literal["library", "code_words"] = Field(
        "library", title="Task",
        description="which package a sentence is from, or which of its words are code",
    )  # fmt: skip
    libraries: int = Field(
        6, ge=2, le=100, title="Packages",
        description="those with the most sentences to learn from and to be measured on",
    )  # fmt: skip
    max_per_label: int = Field(
        600, ge=1, title="Sentences per package",
        description="to train and validate on, at most; code_words takes as many for each package",
    )  # fmt: skip
    max_held_out_per_label: int = Field(
        300, ge=1, title="Held-out sentences per package", description="at most"
    )
    validation_fraction: float = Field(
        0.1, ge=0, lt=1, title="Validation share", description="of the documents not held out"
    )

    @property
    def level(self) -> Level:
        """What has a label."""
        return "text" if self.task == "library" else "word"


def pydocs_rows(
    source: PydocsLabels,
    documents: Iterable[Document],
    held_out: Iterable[Document],
    *,
    seed: int,
) -> Iterator[tuple[Labelled, Split]]:
    """Labelled sentences of `documents`, and of `held_out`; DataError for another corpus."""
    inside = _by_library(held_out, seed)
    outside = _by_library(documents, seed)
    if len(outside) < 2:
        raise DataError(
            "classify.*.labels.source.kind=pydocs needs the documents of a pydocs source (python/, "
            f"torch/, ...), this corpus has {', '.join(outside) or 'none'}; add {{kind: pydocs}} "
            "to clean.sources, or give your own labels as {kind: jsonl, paths: [...]}"
        )
    sizes = Counter({name: min(len(rows), len(inside[name])) for name, rows in outside.items()})
    libraries = [name for name, _ in sizes.most_common(source.libraries)]
    for rows_by_library, most in (
        (inside, source.max_held_out_per_label),
        (outside, source.max_per_label),
    ):
        for library in libraries:
            taken = _taken(source, library, libraries, rows_by_library[library], most)
            for one in taken:
                share = unit_hash(seed, "validation", one.group)
                split: Split = "validation" if share < source.validation_fraction else "train"
                yield one, "held_out" if rows_by_library is inside else split


def _by_library(documents: Iterable[Document], seed: int) -> defaultdict[str, list[_Found]]:
    """Sentences of every package in an order given by hash, each once per package."""
    found: defaultdict[str, dict[str, _Found]] = defaultdict(dict)
    for doc_id, text in documents:
        library, slash, _ = doc_id.partition("/")
        library = SAME_LIBRARY.get(library, library)
        for sentence in sentences_of(text) if slash else ():
            found[library].setdefault(sentence.text, (doc_id, sentence))
    return defaultdict(list, {
        library: sorted(rows.values(), key=lambda row: unit_hash(seed, "sentence", row[1].text))
        for library, rows in found.items()
    })  # fmt: skip


def _taken(
    source: PydocsLabels, library: str, libraries: Sequence[str], rows: Sequence[_Found], most: int
) -> Iterator[Labelled]:
    telling = _names(libraries)
    count = 0
    for doc_id, sentence in rows:
        if count == most:
            return
        if source.task == "library":
            if telling.search(sentence.text):
                continue
            units: tuple[str, ...] = (sentence.text,)
            labels: tuple[str, ...] = (library,)
        else:
            if not any(sentence.code):
                continue
            units, labels = _words(sentence)
            if len(set(labels)) < 2:
                continue
        count += 1
        yield Labelled(f"{doc_id}#{count}", units, labels, doc_id)


def _names(libraries: Sequence[str]) -> re.Pattern[str]:
    """What names one of the packages, or Python, which any of them may do for itself."""
    names = {name for library in libraries for name in (library, *ALIASES.get(library, ()))}
    long = sorted(re.escape(name) for name in names if len(name) > 3)
    short = sorted(re.escape(name) for name in names if len(name) <= 3)
    parts = [*long, *(rf"\b{name}\b" for name in short)]
    return re.compile("|".join(parts), re.IGNORECASE)


def _words(sentence: Sentence) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Words between spaces; one with a marked character is code."""
    words: list[str] = []
    labels: list[str] = []
    at = 0
    for word in sentence.text.split(" "):
        marked = any(sentence.code[at : at + len(word)])
        if word:
            words.append(word)
            labels.append(CODE if marked else PROSE)
        at += len(word) + 1
    return tuple(words), tuple(labels)
