"""Settings files: YAML as a person means it, with `a.b=value` overrides on top.

`3e-4` is a number, a duplicate key is an error; everything else is YAML's safe subset.
"""

import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.store.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads YAML 1.2 floats and refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                raise ConfigError(f"the key {key!r} is no name (line {line}); write `name: value`")
            if key in seen:
                raise ConfigError(f"the key {key!r} appears twice (line {line}); keep one")
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
        r"|[0-9][0-9_]*[eE][-+]?[0-9]+|\.(?:inf|Inf|INF)|[-+]\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


MOST_VALUES = 100_000  # settings hold some hundred


def parse_yaml(text: str, *, where: str) -> Any:
    """Parse one YAML document; ConfigError names `where` and the line."""
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with two rules more
        _refuse_bomb(value)
        return value
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML{_fault(error)}") from error
    except RecursionError as error:
        raise ConfigError(f"{where} is nested too deeply, or holds itself") from error
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _fault(error: yaml.YAMLError) -> str:
    """` in line 3, column 5: what is wrong there`, on one line."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    return f"{place}: {problem or ' '.join(str(error).split())}"


def _refuse_bomb(value: Any) -> None:
    """ConfigError where aliases of aliases make a few lines more than anybody could write."""
    waiting, left = [value], MOST_VALUES
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict | list):
            left -= len(here)
            if left < 0:
                raise ConfigError(f"more than {MOST_VALUES} values; aliases are multiplying them")
            waiting += here.values() if isinstance(here, dict) else here


def read_settings(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping in a YAML file with `a.b=value` overrides applied; values are read as YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist; try flows/configs/pydocs.yaml") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    settings = parse_yaml(text, where=str(path))
    if not isinstance(settings, dict):
        raise ConfigError(f"{path} holds no sections; see flows/configs/pydocs.yaml for an example")
    for override in overrides:
        apply_override(settings, override)
    return settings


def apply_override(settings: dict[str, Any], override: str) -> None:
    """Set one `a.b=value` in place; a list index is a number: `clean.sources.0.name=mine`."""
    name, separator, text = override.partition("=")
    if not separator or not name:
        raise ConfigError(f"{override!r} is not an override; write section.key=value")
    place: Any = settings
    *parents, last = name.split(".")
    for key in parents:
        if isinstance(place, list) and key.isdigit() and int(key) < len(place):
            place = place[int(key)]
        elif isinstance(place, dict):
            place = place.setdefault(key, {})
            if place is None:
                raise ConfigError(f"{name}: {key} holds nothing to set a value in")
        else:
            raise ConfigError(f"{name}: there is no {key} to set a value in")
    value = parse_yaml(text, where=f"the value of {name}") if text else None
    if isinstance(place, list) and last.isdigit() and int(last) < len(place):
        place[int(last)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise ConfigError(f"{name}: there is no {last} to set")
