"""Tasks of the user's own, a JSONL file; the keys of a row say what kind of question it is.

{"task": "capitals", "question": "France?", "choices": ["Paris", "Rome"], "answer": 0}   choice
{"task": "agreement", "good": "The cats sleep.", "bad": "The cats sleeps."}               pair
{"task": "sums", "prompt": "2+2=", "answer": "4"}                                    generation

`"split": "shots"` makes a row a solved example that is never asked. Without any, the shots of a
question are other questions of its task, never one of the same text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.conversations.splits import unit_hash
from pipeline.evals.row_file import Row, read_row_file, read_rows
from pipeline.store.errors import DataError

Kind = Literal["choice", "pair", "generation"]


@dataclass(frozen=True)
class TaskItem:
    """One question, whatever its kind."""

    task: str
    kind: Kind
    question: str
    """What is asked; of a pair, nothing."""
    options: tuple[str, ...]
    """The choices; of a pair, the good and the bad sentence; of a generation, nothing."""
    answer: str
    """The right choice, the good sentence, or the text expected."""
    is_shot: bool = False

    @property
    def right(self) -> int:
        """Which option is right."""
        return self.options.index(self.answer)


def read_tasks(path: Path) -> list[TaskItem]:
    """The items of a file; DataError names the line of a bad one."""
    return _checked(read_row_file(path, _item), str(path))


def parse_tasks(data: bytes, name: str) -> list[TaskItem]:
    """The items of a file's content."""
    return _checked(read_rows(data, name, _item), name)


def choose_task_shots(
    item: TaskItem, pool: Sequence[TaskItem], count: int, *, seed: int
) -> list[TaskItem]:
    """`count` solved examples for `item`, in an order drawn by hash; never its own question.

    DataError where the task has fewer.
    """
    own = _normal(item.question)
    others = [other for other in pool if _normal(other.question) != own]
    others.sort(key=lambda other: unit_hash(seed, "shot", other.question, other.answer))
    if len(others) < count:
        raise DataError(
            f"task {item.task!r} has {len(others)} solved examples beside the question "
            f"{item.question!r:.60}, {count} are wanted; add rows or ask for fewer shots"
        )
    return others[:count]


def shot_pools(items: Sequence[TaskItem]) -> dict[str, list[TaskItem]]:
    """Where the shots of each task come from: its `shots` rows if it has any, else all its rows."""
    pools: dict[str, list[TaskItem]] = {}
    for item in items:
        pools.setdefault(item.task, []).append(item)
    return {task: [item for item in rows if item.is_shot] or rows for task, rows in pools.items()}


def _normal(text: str) -> str:
    return " ".join(text.split()).casefold()


def _item(row: Row) -> TaskItem:
    values = row.values
    shapes: dict[Kind, bool] = {
        "choice": "choices" in values,
        "pair": "good" in values or "bad" in values,
        "generation": "prompt" in values,
    }
    kinds = [kind for kind, present in shapes.items() if present]
    if len(kinds) != 1:
        raise row.error(
            "cannot tell the kind of question; a row has `question, choices, answer`, `good, bad` "
            "or `prompt, answer`"
        )
    task = row.text("task", "task")
    split = row.values.get("split", "test")
    if split not in ("test", "shots"):
        raise row.error(f"split must be test or shots, found {split!r}")
    is_shot = split == "shots"
    match kinds[0]:
        case "choice":
            row.only("task", "id", "split", "question", "choices", "answer")
            options = row.texts("choices", least=2)
            question = row.text("question")
            return TaskItem(task, "choice", question, options, _answer(row, options), is_shot)
        case "pair":
            row.only("task", "id", "split", "good", "bad")
            good, bad = row.text("good"), row.text("bad")
            if good == bad:
                raise row.error("good and bad are equal; nothing can be told from them")
            return TaskItem(task, "pair", "", (good, bad), good, is_shot)
        case _:
            row.only("task", "id", "split", "prompt", "answer")
            return TaskItem(task, "generation", row.text("prompt"), (), row.text("answer"), is_shot)


def _answer(row: Row, options: tuple[str, ...]) -> str:
    answer = row.values.get("answer")
    if isinstance(answer, str) and answer in options:
        return answer
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return options[answer]
    raise row.error(
        f"answer {answer!r:.60} is none of the choices; give its number from 0 to "
        f"{len(options) - 1}, or its text"
    )


def _checked(items: list[TaskItem], name: str) -> list[TaskItem]:
    kinds: dict[str, Kind] = {}
    for item in items:
        if kinds.setdefault(item.task, item.kind) != item.kind:
            raise DataError(
                f"{name}: task {item.task!r} mixes {kinds[item.task]} and {item.kind} rows; give "
                "each kind a task of its own"
            )
    for task in kinds:
        if all(item.is_shot for item in items if item.task == task):
            raise DataError(f"{name}: task {task!r} has solved examples only and asks nothing")
    return items
