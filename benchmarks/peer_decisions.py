"""What datatrove thinks of documents, filter by filter; runs in the peer's environment.

    python peer_decisions.py IN.jsonl OUT.json

For each `{"id", "text"}`: the reason of every filter alone (null keeps), the text C4 leaves, the
first reason of the chain, the text after personal data, the words. Needs datatrove and nothing of
this project.
"""

import json
import sys
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.utils.text import split_into_sentences, split_into_words

FILTERS = {
    "gopher_repetition": GopherRepetitionFilter(),
    "gopher_quality": GopherQualityFilter(),
    "c4": C4QualityFilter(filter_no_terminal_punct=False),
    "fineweb": FineWebQualityFilter(),
}
FEW = 100  # words worth storing one by one


def decisions(identity: str, text: str) -> dict[str, Any]:
    """Everything about one document."""
    alone: dict[str, str | None] = {}
    for name, rule in FILTERS.items():
        alone[name] = reason_of(rule.filter(Document(text=text, id=identity)))
    document = Document(text=text, id=identity)
    first = None
    for name, rule in FILTERS.items():
        reason = reason_of(rule.filter(document))
        if reason is not None:
            first = f"{name}: {reason}"
            break
    words = split_into_words(text)
    return {
        "id": identity,
        "alone": alone,
        "first": first,
        "kept_text": PIIFormatter().format(document.text) if first is None else None,
        "num_words": len(words),
        "words": words if len(words) < FEW else None,
        "sentences": len(split_into_sentences(text)) if text else 0,
    }


def reason_of(verdict: object) -> str | None:
    """The reason of a filter's answer; None where it keeps."""
    if verdict is True:
        return None
    return verdict[1] if isinstance(verdict, tuple) else "dropped"


def main(source: str, out: str) -> None:
    """One object per line of `source`, as a JSON list."""
    with open(source, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    found = [decisions(row["id"], row["text"]) for row in rows]
    with open(out, "w", encoding="utf-8") as file:
        lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in found)
        file.write(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
