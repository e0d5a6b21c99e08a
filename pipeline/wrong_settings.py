"""What is wrong with settings, in words: pydantic's problems as lines that name key and remedy.

ValidationError -> the branches of unions that were meant -> "pretrain.heads=3: ..."
"""

import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import ValidationError

from pipeline.store.secrets import redacted


def explained(error: ValidationError, settings: type, *, where: str) -> str:
    """One line per problem: the key, the value, what is wrong, and the nearest known key.

    `settings` is the class that was to be filled.
    """
    lines = []
    for problem in _of_the_meant_branches(_causes(error.errors(include_url=False))):
        keys, fields, deeper = _walk(problem["loc"], settings)
        value = problem.get("input")
        shown = (
            "" if isinstance(value, dict | list) or problem["type"] == "missing" else f"={value!r}"
        )
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "tuple_type":
            message = "must be a list: write [a, b]"
        if problem["type"] == "union_tag_not_found":
            message = "names no `kind`; give it one"
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            message = "no such setting" + _nearest(keys[-1], fields, deeper)
        lines.append(f"{'.'.join(keys)}{shown}: {message}")
    head = f"{where} has {len(lines)} wrong setting{'s' if len(lines) > 1 else ''}"
    return redacted(head + "\n  " + "\n  ".join(lines))


def _causes(problems: Sequence[Any]) -> list[Any]:
    """Without "too short" for a list whose members are wrong: pydantic counts only right ones."""
    return [
        problem
        for problem in problems
        if problem["type"] != "too_short"
        or not any(
            len(other["loc"]) > len(problem["loc"])
            and other["loc"][: len(problem["loc"])] == problem["loc"]
            for other in problems
        )
    ]


def _of_the_meant_branches(problems: Sequence[Any]) -> list[Any]:
    """Where a value fits no member of a union pydantic reports all; keep the one that was meant.

    That is one whose `kind` is right, and of several the one with the fewest problems.
    """
    branches: dict[tuple[Any, ...], dict[Any, list[Any]]] = {}
    for problem in problems:
        place = problem["loc"]
        cut = next((i for i, part in enumerate(place) if _is_class_name(part)), None)
        if cut is None:
            branches.setdefault((*place, problem["type"]), {}).setdefault("", []).append(problem)
        else:
            branches.setdefault(place[:cut], {}).setdefault(place[cut], []).append(problem)
    kept: list[Any] = []
    for members in branches.values():
        kept += min(members.values(), key=_misfit)
    return kept


def _misfit(problems: Iterable[Any]) -> tuple[bool, int]:
    """How far a member of a union is from what was meant: wrong kind first, then problems."""
    found = list(problems)
    return any(problem["loc"][-1:] == ("kind",) for problem in found), len(found)


def _is_class_name(part: int | str) -> bool:
    return isinstance(part, str) and part[:1].isupper()


def _walk(location: tuple[int | str, ...], kind: Any) -> tuple[list[str], list[str], list[str]]:
    """The keys as a person wrote them (no names of union members) and the fields known there.

    And where the last key is known one level deeper: `optimizer.learning_rate`.
    """
    keys: list[str] = []
    fields: list[str] = []
    deeper: list[str] = []
    for part in location:
        members = _members(kind)
        chosen = [m for m in members if part in (m.__name__, _kind_of(m))]
        if chosen:
            kind = chosen[0]
            continue
        keys.append(str(part))
        fields = sorted({name for m in members for name in _fields(m)})
        inner = [(name, m) for one in members for name, m in _fields(one).items()]
        known = {name for name, m in inner if any(part in _fields(one) for one in _members(m))}
        deeper = sorted(f"{name}.{part}" for name in known)
        kind = next((_fields(m)[part] for m in members if part in _fields(m)), kind)
    return keys, fields, deeper


def _members(kind: Any) -> list[Any]:
    """The classes with fields that an annotation allows."""
    if isinstance(kind, type) and _fields(kind):
        return [kind]
    return [member for argument in get_args(kind) for member in _members(argument)]


def _fields(kind: Any) -> dict[Any, Any]:
    if hasattr(kind, "model_fields"):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    if dataclasses.is_dataclass(kind):
        return {field.name: field.type for field in dataclasses.fields(kind)}
    return {}


def _kind_of(kind: Any) -> Any:
    field = getattr(kind, "model_fields", {}).get("kind")
    return field.default if field is not None else getattr(kind, "kind", None)


def _nearest(key: str, names: Sequence[str], deeper: Sequence[str]) -> str:
    """`; did you mean X?` for a key misspelt or of a section below, else what is known there."""
    close = [*deeper[:1], *difflib.get_close_matches(key, names, n=1)]
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known here: {', '.join(names)}" if names else ""
