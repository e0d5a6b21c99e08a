"""A user's own SFT rows in one of four shapes, told by the first row's keys or by the settings.

    pair      {"prompt", "answer"}                     also "group", "kind", "id"
    messages  {"messages": [{"role", "content"}]}
    alpaca    {"instruction", "input"?, "output"}
    sharegpt  {"conversations": [{"from", "value"}]}

A row that cannot be used is quarantined with file, line and reason; a row of another shape, or one
that looks misspelt, stops the run and is shown, for there the *file* is wrong, not the row.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.conversations.example import ROLES, Example, Message
from pipeline.conversations.row_files import BadRow, raw_rows
from pipeline.store.errors import DataError
from pipeline.store.files import sha256_bytes

Shape = Literal["pair", "messages", "alpaca", "sharegpt"]
SHAPES: dict[Shape, tuple[frozenset[str], frozenset[str]]] = {
    # name: (keys that must be there, keys that may be there)
    "pair": (frozenset({"prompt", "answer"}), frozenset({"open_book", "copy_baseline"})),
    "messages": (frozenset({"messages"}), frozenset()),
    "alpaca": (frozenset({"instruction", "output"}), frozenset({"input"})),
    "sharegpt": (frozenset({"conversations"}), frozenset()),
}
COMMON_KEYS = frozenset({"id", "group", "kind"})
SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}


@dataclass
class ReadReport:
    """What reading found: shape by file, rows read, rows quarantined."""

    shapes: dict[str, str] = field(default_factory=dict)
    read: int = 0
    quarantined: list[dict[str, Any]] = field(default_factory=list)

    def reasons(self) -> dict[str, int]:
        """How many rows were quarantined for which reason."""
        return dict(sorted(Counter(item["reason"] for item in self.quarantined).items()))


@dataclass(frozen=True)
class Limits:
    """Longest prompt and answer that are read, in UTF-8 bytes."""

    prompt_bytes: int
    answer_bytes: int


def detect_shape(row: Mapping[str, Any], *, where: str) -> Shape:
    """The name of the shape whose keys `row` has; DataError shows a row that has none or two.

    A null counts as a missing key, unless no shape is left then: a column is there in every row.
    """
    filled = {key for key, value in row.items() if value is not None}
    for keys in (filled, set(row)):
        matches = [name for name, (needed, _) in SHAPES.items() if needed <= keys]
        if matches:
            break
    if len(matches) != 1:
        known = "; ".join(
            f"{name}: {', '.join(sorted(needed))}" for name, (needed, _) in SHAPES.items()
        )
        problem = f"fits {' and '.join(matches)}" if matches else "fits no known shape"
        raise DataError(f"{where} {problem}: {_shown(row)}; name the keys as one of: {known}")
    return matches[0]


def data_file(path: str) -> Path:
    """The file a person names, `~` included; DataError if it is none."""
    file = Path(path).expanduser()
    if not file.is_file():
        problem = "is a directory" if file.is_dir() else "does not exist"
        raise DataError(f"{path} {problem}; examples.source.paths must name JSONL or Parquet files")
    return file


@dataclass(frozen=True)
class Reading:
    """How the rows of a file are to be understood."""

    shape: Shape | None = None
    """None: told by the first row."""
    group_field: str | None = None
    ignored_keys: frozenset[str] = frozenset()
    origin: int = 0
    """Number of the file."""
    name: str = ""
    """What the file is called in ids and reports; empty: its own name."""


def read_rows(
    path: Path, *, limits: Limits, report: ReadReport, reading: Reading | None = None
) -> Iterator[Example]:
    """The usable examples of one `.jsonl`, `.jsonl.gz`, `.parquet` or `.arrow` file.

    `report` collects the rest. A null is a key that is not there, but for one that must be.
    """
    path = data_file(str(path))
    reading = reading or Reading()
    shape = reading.shape
    name = reading.name or path.name
    if shape is not None:
        report.shapes[name] = shape
    ignored = reading.ignored_keys - {reading.group_field}
    for number, raw in raw_rows(path):
        where = f"{path}:{number}"
        try:
            if isinstance(raw, BadRow):
                raise raw
            row = _without(raw, ignored)
            if shape is None:
                shape = report.shapes[name] = detect_shape(row, where=where)
            row = _checked_keys(row, shape, reading.group_field, where)
            example = _READERS[shape](row)
            example = _named(example, row, f"{name}:{number}", reading.group_field)
            _check(example, limits)
        except BadRow as bad:
            report.quarantined.append({"file": name, "position": number, "reason": str(bad)})
            continue
        report.read += 1
        yield replace(example, origin=reading.origin)


def _without(row: Mapping[str, Any], ignored: frozenset[str | None]) -> dict[str, Any]:
    """The row without the keys, its messages without them too."""
    if not ignored:
        return dict(row)
    kept = {key: value for key, value in row.items() if key not in ignored}
    for key, value in kept.items():
        if isinstance(value, list):
            kept[key] = [
                {k: v for k, v in turn.items() if k not in ignored}
                if isinstance(turn, dict)
                else turn
                for turn in value
            ]
    return kept


def _checked_keys(
    row: Mapping[str, Any], shape: Shape, group_field: str | None, where: str
) -> dict[str, Any]:
    """The row without its nulls; DataError for keys of another shape, BadRow for a needed null."""
    needed, optional = SHAPES[shape]
    filled = {key: value for key, value in row.items() if value is not None}
    known = needed | optional | COMMON_KEYS
    unknown = set(filled) - known - {group_field}
    missing = sorted(needed - set(row))
    if missing:
        raise DataError(
            f"{where} is not of shape {shape}: {_shown(row)}; it lacks {missing[0]!r}; "
            "split the file by shape"
        )
    if unknown:
        raise DataError(
            f"{where} has the unknown key {sorted(unknown)[0]!r} in shape {shape}: {_shown(row)}; "
            f"known: {', '.join(sorted(known))}; name others in ignored_keys"
        )
    empty = sorted(needed - set(filled))
    if empty:
        raise BadRow(f"{empty[0]} is null")
    return filled


def _check(example: Example, limits: Limits) -> None:
    pair = (Message("user", example.prompt), Message("assistant", example.answer))
    empty = {turn.role for turn in example.messages or pair if _blank(turn.content)}
    if "assistant" in empty:
        raise BadRow("empty answer")
    if "user" in empty:
        raise BadRow("empty prompt")
    try:
        prompt, answer = len(example.question.encode()), len(example.expected.encode())
        for name in (example.id, example.group, example.kind, example.copy_baseline or ""):
            name.encode()
    except UnicodeEncodeError:
        raise BadRow("lone surrogate") from None
    if prompt > limits.prompt_bytes:
        raise BadRow(f"prompt longer than {limits.prompt_bytes} bytes")
    if answer > limits.answer_bytes:
        raise BadRow(f"answer longer than {limits.answer_bytes} bytes")


def _blank(text: str) -> bool:
    """Nothing of it can be seen: white space, control and format characters."""
    return all(c.isspace() or unicodedata.category(c) in ("Cc", "Cf") for c in text)


def _named(
    example: Example, row: Mapping[str, Any], position: str, group_field: str | None
) -> Example:
    group = _name(row, group_field or "group")
    if group_field and not group:
        raise DataError(f"{position} lacks the group field {group_field!r}: {_shown(row)}")
    kind, baseline = row.get("kind", example.kind), row.get("copy_baseline")
    open_book = row.get("open_book", False)
    if not isinstance(open_book, bool):
        raise BadRow("open_book is not true or false")
    return replace(
        example,
        id=_name(row, "id") or position,
        group=group or sha256_bytes(example.question.encode("utf-8", "replace"))[:16],
        kind=_text(kind, "kind") or example.kind,
        open_book=open_book,
        copy_baseline=None if baseline is None else _text(baseline, "copy_baseline"),
    )


def _name(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key, "")
    if not isinstance(value, str | int | float):
        raise BadRow(f"{key} is neither text nor a number")
    return str(value)


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise BadRow(f"{key} is not text")
    return value


def _pair(row: Mapping[str, Any]) -> Example:
    return Example(
        id="", prompt=_text(row["prompt"], "prompt"), answer=_text(row["answer"], "answer")
    )


def _alpaca(row: Mapping[str, Any]) -> Example:
    instruction, given = (
        _text(row["instruction"], "instruction"),
        _text(row.get("input", ""), "input"),
    )
    prompt = f"{instruction}\n\n{given}" if given.strip() else instruction
    return Example(id="", prompt=prompt, answer=_text(row["output"], "output"), kind="instruction")


def _conversation(row: Mapping[str, Any]) -> Example:
    turns = _turns(row["messages"], "role", "content", {role: role for role in ROLES})
    return Example(id="", prompt="", answer="", kind="chat", messages=turns)


def _sharegpt(row: Mapping[str, Any]) -> Example:
    turns = _turns(row["conversations"], "from", "value", SHAREGPT_ROLES)
    return Example(id="", prompt="", answer="", kind="chat", messages=turns)


def _turns(
    value: Any, role_key: str, text_key: str, roles: Mapping[str, str]
) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise BadRow("the messages are not a list")
    if not value:
        raise BadRow("no messages")
    turns = []
    for turn in value:
        if not isinstance(turn, dict) or role_key not in turn or text_key not in turn:
            raise BadRow(f"a message lacks {role_key} or {text_key}")
        unknown = sorted(
            key for key in turn if key not in (role_key, text_key) and turn[key] is not None
        )
        if unknown:  # a weight, a tool call: left out, it would change what the turn means
            raise BadRow(f"a message has the unknown key {unknown[0][:20]!r}")
        role = _text(turn[role_key], role_key)
        if role not in roles:
            raise BadRow(f"unknown role {role[:20]!r}")
        turns.append(Message(roles[role], _text(turn[text_key], text_key)))
    spoken = [turn.role for turn in turns if turn.role != "system"]
    if spoken and spoken[0] == "assistant":
        raise BadRow("the conversation starts with the assistant")
    if turns[-1].role != "assistant":
        raise BadRow("the last message is not the assistant's")
    return tuple(turns)


_READERS: dict[Shape, Callable[[Mapping[str, Any]], Example]] = {
    "pair": _pair, "messages": _conversation, "alpaca": _alpaca, "sharegpt": _sharegpt,
}  # fmt: skip


def _shown(row: Mapping[str, Any]) -> str:
    return repr(dict(row))[:200]
