"""A user's own SFT rows: JSONL or Parquet in one of four shapes, told by the first row's keys.

    pair      {"prompt", "answer"}                     also "group", "kind", "id"
    messages  {"messages": [{"role", "content"}]}
    alpaca    {"instruction", "input"?, "output"}
    sharegpt  {"conversations": [{"from", "value"}]}

A row that cannot be used is quarantined with file, line and reason; a row of another shape, or one
that looks misspelt, stops the run and is shown, for there the *file* is wrong, not the row.
"""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.conversations.example import ROLES, Example, Message
from pipeline.store.errors import DataError
from pipeline.store.files import sha256_bytes

MAX_LINE_BYTES = 8 << 20  # guess; the longest conversation in public SFT sets is below 1 MB
TABLE_ROWS = 1_000  # read at once
TABLES = (".parquet", ".arrow")
SHAPES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
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


class BadRow(Exception):
    """A row to quarantine; the text is the reason."""


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


def detect_shape(row: Mapping[str, Any], *, where: str) -> str:
    """The name of the shape whose keys `row` has; DataError shows a row that has none or two."""
    keys = set(row)
    matches = [name for name, (needed, _) in SHAPES.items() if needed <= keys]
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


def read_rows(
    path: Path,
    *,
    limits: Limits,
    report: ReadReport,
    group_field: str | None = None,
    origin: int = 0,
) -> Iterator[Example]:
    """The usable examples of one `.jsonl`, `.jsonl.gz`, `.parquet` or `.arrow` file.

    `report` collects the rest. A null in a column is a key that is not there.
    """
    path = data_file(str(path))
    shape: str | None = None
    name = path.name
    for number, raw in _lines(path) if path.suffix not in TABLES else _table_rows(path):
        where = f"{path}:{number}"
        try:
            row = raw if isinstance(raw, dict) else _parse(raw)
            if shape is None:
                shape = report.shapes[name] = detect_shape(row, where=where)
            _check_keys(row, shape, group_field, where)
            example = _READERS[shape](row)
            _check_sizes(example, limits)
        except BadRow as bad:
            report.quarantined.append({"file": name, "position": number, "reason": str(bad)})
            continue
        report.read += 1
        yield replace(_named(example, row, f"{name}:{number}", group_field), origin=origin)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without blank ones; a line above the bound is cut there and so is not JSON."""
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as handle:
        number = 0
        try:
            while line := handle.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    _skip_line(handle)
                if line.strip():
                    yield number, line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"{path} is damaged after line {number} ({error}); fetch it again"
            ) from error


def _table_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered rows, counted from 1, without their nulls; a batch in memory at a time."""
    number = 0
    try:
        for batch in _batches(path):
            for row in batch.to_pylist():
                number += 1
                yield number, {key: value for key, value in row.items() if value is not None}
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"{path} is damaged after row {number} ({error}); fetch it again"
        ) from error


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=TABLE_ROWS)
        return
    with pa.OSFile(str(path)) as handle:
        try:
            reader = pa.ipc.open_stream(handle)  # what `datasets` writes
        except pa.ArrowInvalid:
            handle.seek(0)
            file = pa.ipc.open_file(handle)
            yield from (file.get_batch(i) for i in range(file.num_record_batches))
        else:
            yield from reader


def _skip_line(handle: BinaryIO) -> None:
    while (piece := handle.readline(1 << 20)) and not piece.endswith(b"\n"):
        pass


def _parse(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise BadRow(f"line longer than {MAX_LINE_BYTES} bytes")
    try:
        row = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_unique)
    except UnicodeDecodeError:
        raise BadRow("invalid UTF-8") from None
    except RecursionError:
        raise BadRow("nested too deeply") from None
    except ValueError:
        raise BadRow("not JSON") from None
    if not isinstance(row, dict):
        raise BadRow("not a JSON object")
    return row


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise BadRow("a key occurs twice")
    return row


def _check_keys(row: Mapping[str, Any], shape: str, group_field: str | None, where: str) -> None:
    needed, optional = SHAPES[shape]
    if not needed <= set(row):
        raise DataError(
            f"{where} is not of shape {shape} as the rows before it: {_shown(row)}; "
            f"it lacks {sorted(needed - set(row))[0]!r}; split the file by shape"
        )
    unknown = set(row) - needed - optional - COMMON_KEYS - {group_field}
    if unknown:
        raise DataError(
            f"{where} has the unknown key {sorted(unknown)[0]!r} in shape {shape}: {_shown(row)}; "
            f"known: {', '.join(sorted(needed | optional | COMMON_KEYS))}"
        )


def _check_sizes(example: Example, limits: Limits) -> None:
    if not example.expected.strip():
        raise BadRow("empty answer")
    if not example.question.strip():
        raise BadRow("empty prompt")
    try:
        prompt, answer = len(example.question.encode()), len(example.expected.encode())
    except UnicodeEncodeError:
        raise BadRow("lone surrogate") from None
    if prompt > limits.prompt_bytes:
        raise BadRow(f"prompt longer than {limits.prompt_bytes} bytes")
    if answer > limits.answer_bytes:
        raise BadRow(f"answer longer than {limits.answer_bytes} bytes")


def _named(
    example: Example, row: Mapping[str, Any], position: str, group_field: str | None
) -> Example:
    group = row.get(group_field or "group")
    if group_field and group is None:
        raise DataError(f"{position} lacks the group field {group_field!r}: {_shown(row)}")
    prompt = example.question
    return Example(
        id=str(row.get("id", position)), prompt=example.prompt, answer=example.answer,
        group=str(group) if group is not None else sha256_bytes(prompt.encode())[:16],
        kind=str(row.get("kind", example.kind)), open_book=bool(row.get("open_book", False)),
        copy_baseline=row.get("copy_baseline"), messages=example.messages,
    )  # fmt: skip


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
    if not isinstance(value, list) or not value:
        raise BadRow("no messages")
    turns = []
    for turn in value:
        if not isinstance(turn, dict) or role_key not in turn or text_key not in turn:
            raise BadRow(f"a message lacks {role_key} or {text_key}")
        if turn[role_key] not in roles:
            raise BadRow(f"unknown role {str(turn[role_key])[:20]!r}")
        turns.append(Message(roles[turn[role_key]], _text(turn[text_key], text_key)))
    spoken = [turn.role for turn in turns if turn.role != "system"]
    if spoken and spoken[0] == "assistant":
        raise BadRow("the conversation starts with the assistant")
    if turns[-1].role != "assistant":
        raise BadRow("the last message is not the assistant's")
    return tuple(turns)


_READERS: dict[str, Callable[[Mapping[str, Any]], Example]] = {
    "pair": _pair, "messages": _conversation, "alpaca": _alpaca, "sharegpt": _sharegpt,
}  # fmt: skip


def _shown(row: Mapping[str, Any]) -> str:
    return repr(dict(row))[:200]
