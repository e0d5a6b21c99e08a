"""The identity of an artifact: sha256 over canonical JSON of what determines its content.

Inputs enter by content hash, never by path or time; a value without a stable identity is refused
rather than turned into a string that changes from run to run.
"""

import dataclasses
import enum
import hashlib
import json
import math
from collections.abc import Mapping, Sequence, Set
from typing import Any

from pipeline.store.errors import ConfigError

SHORT_DIGITS = 12
MLFLOW_DIGITS = 32  # MLflow refuses dataset digests longer than 36 characters


def plain(value: Any, *, where: str = "config") -> Any:
    """Return `value` as JSON-able data, or raise ConfigError where it has no stable identity.

    Accepts JSON scalars, lists, tuples, string-keyed mappings, enums, dataclasses and pydantic
    models. Refused: paths, sets, NaN, functions, anything whose text form holds an address.
    """
    if value is None or isinstance(value, bool | int | str):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ConfigError(f"{where}={value} has no stable identity; use a finite number")
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value, where=where)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return plain(fields, where=where)
    if hasattr(value, "model_dump") and not isinstance(value, type):
        # pydantic is absent from the training path: recognised by its method, never imported.
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        return plain(fields, where=where)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{where} has the key {key!r}; keys must be strings")
        return {key: plain(item, where=f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item, where=f"{where}[{i}]") for i, item in enumerate(value)]
    kind = "a set has no order; use a list" if isinstance(value, Set) else "use plain data"
    raise ConfigError(f"{where} is a {type(value).__name__}, which has no stable identity; {kind}")


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces: equal values give equal bytes."""
    text = json.dumps(
        plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8", "surrogatepass")


def digest(value: Any) -> str:
    """Hex sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def short(fingerprint: str) -> str:
    """The 12 hex digits shown to people and used in directory names."""
    return fingerprint[:SHORT_DIGITS]
