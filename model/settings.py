"""Settings of models, optimisers and schedules: frozen stdlib dataclasses that check themselves.

`setting(default, "what it is", ge=1)` declares a field; pydantic reads the same metadata when it is
there, `check(self)` in `__post_init__` enforces it when it is not. `settings_from_dict` is the way
back from JSON.
"""

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

FORBID_EXTRA = {"extra": "forbid"}
_LIMITS = {
    "ge": (lambda value, limit: value >= limit, "at least"),
    "gt": (lambda value, limit: value > limit, "greater than"),
    "le": (lambda value, limit: value <= limit, "at most"),
    "lt": (lambda value, limit: value < limit, "less than"),
}


def setting(default: Any, description: str, **limits: Any) -> Any:
    """A dataclass field with a description and limits (`ge`, `gt`, `le`, `lt`; `item_ge`...)."""
    return dataclasses.field(default=default, metadata={"description": description, **limits})


def check(config: Any) -> None:
    """Raise ValueError naming the first field whose type or limits its value violates."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        where = f"{type(config).__name__}.{field.name}={value!r}"
        if not _fits(value, field.type):
            raise ValueError(f"{where} is not of the type {_name(field.type)}")
        if value is None:
            continue
        if isinstance(value, tuple):
            # Limits on a tuple's items have names of their own: pydantic would compare the tuple.
            limits = {k.removeprefix("item_"): v for k, v in field.metadata.items() if "item_" in k}
            for item in value:
                _check_limits(where, item, limits)
        else:
            _check_limits(where, value, field.metadata)


def _check_limits(where: str, value: Any, metadata: Mapping[str, Any]) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is not a finite number")
    for key, (holds, words) in _LIMITS.items():
        if key in metadata and not holds(value, metadata[key]):
            raise ValueError(f"{where} must be {words} {metadata[key]}")


def _fits(value: Any, kind: Any) -> bool:
    """Whether `value` is of the annotated type; an int passes for a float, a bool for nothing."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in arguments
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return all(_fits(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is type(None) or kind is None:
        return value is None
    return isinstance(value, kind)


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", None) if isinstance(kind, type) else str(kind)  # type: ignore[return-value]


def settings_to_dict(config: Any) -> dict[str, Any]:
    """The JSON form: nested dicts, lists for tuples; `settings_from_dict` reads it back."""
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return settings_to_dict(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def settings_from_dict(kinds: tuple[type, ...], values: Mapping[str, Any]) -> Any:
    """The member of `kinds` named by `values["kind"]`, built from the remaining keys.

    With a single member the key `kind` may be absent. Raises ValueError for an unknown kind or key,
    naming the known ones.
    """
    by_kind = {getattr(cls, "kind", cls.__name__): cls for cls in kinds}
    cls = kinds[0] if len(kinds) == 1 else by_kind.get(values.get("kind", ""))
    if cls is None:
        raise ValueError(f"kind={values.get('kind')!r} is unknown; use one of {sorted(by_kind)}")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ValueError(
            f"{cls.__name__} has no setting {', '.join(unknown)}; it has {', '.join(fields)}"
        )
    return cls(**{name: _rebuilt(value, fields[name].type) for name, value in values.items()})


def _rebuilt(value: Any, kind: Any) -> Any:
    """Undo `_plain` for one annotated value."""
    if isinstance(value, list):
        return tuple(_rebuilt(item, None) for item in value)
    if isinstance(value, Mapping):
        options = tuple(t for t in (kind, *get_args(kind)) if dataclasses.is_dataclass(t))
        if options:
            return settings_from_dict(options, value)  # type: ignore[arg-type]
    return value
