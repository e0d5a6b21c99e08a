"""One SFT example and the JSONL file it travels in: a prompt and an answer, or a conversation.

{"id", "group", "kind", "open_book", "prompt", "answer", "copy_baseline"?}
{"id", "group", "kind", "open_book", "messages": [{"role", "content"}, ...]}
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.store.errors import DataError
from pipeline.store.files import replacing

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; `role` is one of ROLES."""

    role: str
    content: str


@dataclass(frozen=True)
class Example:
    """A prompt with its answer; `messages`, when present, replaces both in training."""

    id: str
    prompt: str
    answer: str
    group: str = ""
    """What the example is about; a group never straddles a split."""
    kind: str = "pair"
    open_book: bool = False
    """The answer can be read off the prompt."""
    copy_baseline: str | None = None
    """What a rule without understanding answers: copy, first or most frequent."""
    messages: tuple[Message, ...] = ()
    origin: int = 0
    """Number of the file it was read from, while the split is made; not stored."""

    def row(self) -> dict[str, Any]:
        """The JSON object of this example."""
        row: dict[str, Any] = {
            "id": self.id, "group": self.group, "kind": self.kind, "open_book": self.open_book,
        }  # fmt: skip
        if self.messages:
            row["messages"] = [{"role": m.role, "content": m.content} for m in self.messages]
        else:
            row |= {"prompt": self.prompt, "answer": self.answer}
        if self.copy_baseline is not None:
            row["copy_baseline"] = self.copy_baseline
        return row

    @property
    def question(self) -> str:
        """The prompt; of a conversation, everything up to its last answer, one turn per line."""
        if not self.messages:
            return self.prompt
        return "\n".join(f"{m.role}: {m.content}" for m in self.asked)

    @property
    def asked(self) -> tuple[Message, ...]:
        """The turns before the last assistant turn (all turns if there is none)."""
        last = self._last_assistant
        return self.messages if last is None else self.messages[:last]

    @property
    def expected(self) -> str:
        """The answer; of a conversation, its last assistant turn ("" if there is none)."""
        last = self._last_assistant
        if not self.messages:
            return self.answer
        return "" if last is None else self.messages[last].content

    @property
    def _last_assistant(self) -> int | None:
        turns = [i for i, message in enumerate(self.messages) if message.role == "assistant"]
        return turns[-1] if turns else None


def example_from_row(row: Mapping[str, Any], *, where: str = "row") -> Example:
    """The Example of a JSON object in the form of `Example.row`; DataError shows a bad one."""
    try:
        messages = tuple(Message(m["role"], m["content"]) for m in row.get("messages", ()))
        return Example(
            id=str(row.get("id", "")),
            prompt="" if messages else row["prompt"],
            answer="" if messages else row["answer"],
            group=str(row.get("group", "")),
            kind=str(row.get("kind", "chat" if messages else "pair")),
            open_book=bool(row.get("open_book", False)),
            copy_baseline=row.get("copy_baseline"),
            messages=messages,
        )
    except (KeyError, TypeError, AttributeError) as error:
        shown = repr(row)[:200]
        raise DataError(
            f"{where} is not an example ({type(error).__name__}: {error}): {shown}; expected "
            '{"prompt": ..., "answer": ...} or {"messages": [{"role": ..., "content": ...}]}'
        ) from error


def write_examples(path: Path, examples: Iterable[Example]) -> int:
    """Write one JSON object per line, atomically; how many were written."""
    count = 0
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        for example in examples:
            handle.write(json.dumps(example.row(), ensure_ascii=False, sort_keys=True) + "\n")
            count += 1
    return count


def read_examples(path: Path) -> Iterator[Example]:
    """The examples of a file written by `write_examples`; DataError names a broken line."""
    with open(path, encoding="utf-8") as handle:
        for number, line in enumerate(handle, start=1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number} is not JSON: {error}") from error
            yield example_from_row(row, where=f"{path}:{number}")
