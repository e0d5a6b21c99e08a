"""Our own record of the registry: which versions were made, which alias points where, what waits.

root/journal/registry.jsonl      append-only; the registry is filled from it when its database
                                 was deleted or the tree was moved; it counts the uses of eval sets
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.tracking.config import default_uri
from pipeline.tracking.journal import FileJournal, read_all

DEFAULT_STORE = "default"


@dataclass(frozen=True)
class Entry:
    """One registered version, by the fingerprint of its export."""

    name: str
    fingerprint: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Judgement:
    """One look of the gate at a candidate."""

    name: str
    export: str
    """Fingerprint of the candidate's export."""
    eval_set: str
    """Fingerprint of the frozen eval set."""
    eval_set_name: str
    report: str
    champion_report: str | None
    promoted: bool
    reason: str


@dataclass(frozen=True)
class LedgerState:
    """What the ledger says about one store."""

    versions: tuple[Entry, ...] = ()
    """In the order they were registered."""
    aliases: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(name, alias) -> fingerprint of the export."""
    pending: tuple[Mapping[str, Any], ...] = ()
    """Registrations that found no server."""


class Ledger:
    """Appends decisions about one store and reads them back."""

    def __init__(self, root: Path, uri: str) -> None:
        self.path = root / "journal" / "registry.jsonl"
        # The default store is named, not located: the ledger stays true when the tree is moved.
        self._store = DEFAULT_STORE if uri == default_uri(root) else uri

    def version(self, entry: Entry) -> None:
        """A version exists with these tags (a later line for the same export replaces them)."""
        self._append(
            "version",
            {"name": entry.name, "fingerprint": entry.fingerprint, "tags": dict(entry.tags)},
        )

    def alias(self, name: str, alias: str, fingerprint: str | None) -> None:
        """`alias` of `name` points to the version of this export; None: to nothing."""
        self._append("alias", {"name": name, "alias": alias, "fingerprint": fingerprint})

    def pending(self, facts: Mapping[str, Any]) -> None:
        """A registration could not reach the server."""
        self._append("pending", facts)

    def settled(self, export: str) -> None:
        """What was pending for this export is done."""
        self._append("settled", {"export": export})

    def judged(self, judgement: Judgement) -> None:
        """The gate looked at a candidate on a frozen eval set."""
        self._append("judged", asdict(judgement))

    def judgements(self, eval_set: str | None = None) -> tuple[Judgement, ...]:
        """What the gate decided, in every store, oldest first; of one eval set by fingerprint."""
        found = [
            Judgement(**{k: v for k, v in record.facts.items() if k != "store"})
            for record in read_all(self.path).records
            if record.event == "judged" and record.facts is not None
        ]
        return tuple(one for one in found if eval_set in (None, one.eval_set))

    def uses(self, eval_set: str) -> int:
        """How many different candidates were judged on the eval set with this fingerprint."""
        return len({(one.name, one.export) for one in self.judgements(eval_set)})

    def stores(self) -> tuple[str, ...]:
        """Every store with a registered version, by URI; the root's own is not among them."""
        found = {
            str(record.facts["store"])
            for record in read_all(self.path).records
            if record.event == "version" and record.facts is not None
        }
        return tuple(sorted(found - {DEFAULT_STORE}))

    def store_of(self, name: str) -> str | None:
        """Where `name` was changed last: a URI, or DEFAULT_STORE; None for a name nobody knows."""
        found = [
            str(record.facts["store"])
            for record in read_all(self.path).records
            if record.event in ("version", "alias")
            and record.facts is not None
            and record.facts.get("name") == name
        ]
        return found[-1] if found else None

    def state(self) -> LedgerState:
        """Everything the ledger says about this store."""
        versions: dict[tuple[str, str], Entry] = {}
        aliases: dict[tuple[str, str], str] = {}
        pending: dict[str, Mapping[str, Any]] = {}
        for record in read_all(self.path).records:
            facts = record.facts or {}
            if facts.get("store") != self._store:
                continue
            if record.event == "version":
                entry = Entry(facts["name"], facts["fingerprint"], facts["tags"])
                versions[entry.name, entry.fingerprint] = entry
            elif record.event == "alias":
                key = (facts["name"], facts["alias"])
                if facts["fingerprint"] is None:
                    aliases.pop(key, None)
                else:
                    aliases[key] = facts["fingerprint"]
            elif record.event == "pending":
                pending[facts["export"]] = facts
            elif record.event == "settled":
                pending.pop(facts["export"], None)
        return LedgerState(tuple(versions.values()), aliases, tuple(pending.values()))

    def _append(self, event: str, facts: Mapping[str, Any]) -> None:
        journal = FileJournal(self.path)
        journal.event(event, {"store": self._store, **facts})
        journal.close()
