"""Where a loader stands: a few numbers, and what they are only valid with.

Position n means the same only for the same tokens, in the same order, cut the same way; so a state
names its corpus, tokenizer, length, rows and seed, and whoever resumes with others gets a table.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pipeline.store.errors import ConfigError

DIGITS = 16  # of a sha256 kept: enough to tell corpora apart, short enough to read


@dataclass(frozen=True)
class LoaderState:
    """How many samples of which sequence have been handed out; JSON of about 200 bytes."""

    corpus: str
    tokenizer: str
    context_length: int
    batching: str
    seed: int
    samples_seen: int = 0

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "LoaderState":
        """What `to_json` gave; ConfigError when it is something else."""
        kinds = {field.name: field.type for field in fields(cls)}
        wrong = sorted(set(saved) ^ set(kinds))
        wrong += [n for n in kinds if n not in wrong and type(saved[n]) is not kinds[n]]
        if wrong or saved["samples_seen"] < 0:
            raise ConfigError(
                f"{dict(saved)} is no state of a loader (wrong: "
                f"{', '.join(wrong) or 'samples_seen'}); use what LoaderState.to_json gave"
            )
        return cls(**saved)

    def require(self, now: "LoaderState") -> None:
        """ConfigError with a table of what changed unless `now` names the same sequence."""
        names = [field.name for field in fields(self) if field.name != "samples_seen"]
        rows = [(name, str(getattr(self, name)), str(getattr(now, name))) for name in names]
        changed = [row for row in rows if row[1] != row[2]]
        if not changed:
            return
        table = [("", "saved", "now"), *changed]
        widths = [max(len(row[i]) for row in table) for i in range(3)]
        lines = ["  ".join(v.ljust(w) for v, w in zip(r, widths, strict=True)) for r in table]
        raise ConfigError(
            f"position {self.samples_seen} is of another sequence of samples:\n  "
            + "\n  ".join(line.rstrip() for line in lines)
            + "\nresume with what was saved, or start from the beginning"
        )
