"""Which version an alias points to, asked again and again without the registry's lock."""

import re
from pathlib import Path

from pipeline.store.errors import ConfigError
from pipeline.tracking.config import TrackingConfig, tracking_uri
from pipeline.tracking.referring import tracking_of
from pipeline.tracking.registry import Registry
from pipeline.tracking.store import UNAVAILABLE, Store, open_client
from pipeline.tracking.versions import Version

_ALIAS = re.compile(r"models:/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)@(?P<alias>[\w.-]+)")


def is_alias(reference: str) -> bool:
    """Whether it is `models:/NAME@ALIAS`, which may mean another version tomorrow."""
    return _ALIAS.fullmatch(reference) is not None


class AliasReader:
    """Reads one alias; it only reads, so it needs no lock and disturbs no registration."""

    def __init__(self, reference: str, root: Path, tracking: TrackingConfig | None = None) -> None:
        """ConfigError unless `reference` is `models:/NAME@ALIAS`."""
        found = _ALIAS.fullmatch(reference)
        if found is None:
            raise ConfigError(f"{reference!r} is no alias; follow models:/NAME@champion")
        self._name, self._alias = found["name"], found["alias"]
        self._root = root.resolve()
        self._uri = tracking_uri(tracking_of(self._root, self._name, tracking), self._root)
        self._registry: Registry | None = None

    def version(self) -> Version | None:
        """The version of now, or None; raises one of `store.UNAVAILABLE` where nobody answers."""
        try:
            if self._registry is None:
                client = open_client(self._uri, self._root)
                self._registry = Registry(Store(self._uri, client, ""), self._root)
            return self._registry.at(self._name, self._alias)
        except UNAVAILABLE:
            self._registry = None  # a database that was replaced is opened anew
            raise
