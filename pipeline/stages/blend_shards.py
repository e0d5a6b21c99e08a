"""New text with a share of old text: what a model that learns every night is trained on.

    shards of new text (all of it) + documents drawn from the shards of old text -> TokenShards

The new parts are referred to where they lie; the drawn documents are copied into one part of their
own. Old text in every night's training is what keeps the model from forgetting it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from model.schedule import AnySchedule, WarmupStableDecaySchedule
from pipeline.artifacts import TokenShards, TrainedTokenizer
from pipeline.store.building import ArtifactKey, Outcome, artifact_key, build
from pipeline.store.errors import ConfigError
from pipeline.store.fingerprint import short
from pipeline.store.manifest import read_manifest
from pipeline.store.runtime import Runtime
from pipeline.tokens.shard_writer import TokenRow, write_shard
from pipeline.tokens.shards import SPLITS, Shards, Split, shard_paths
from pipeline.tokens.slices import add_up
from pipeline.tokens.tokenizer import Tokenizer

VERSION = 1
PART_STAGE = "replay_part"
PART_VERSION = 1
SHARD_TOKENS = 1 << 22  # of the drawn documents; bounds the memory of writing them


class ContinuationConfig(BaseModel):
    """How a champion is trained further on new text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    replay: float = Field(
        # Ibrahim et al. 2024 ("Simple and scalable strategies to continually pre-train"): 5 % for
        # text like the old one (section 6.2), 25 % where it is another language (section 6.1).
        0.25,
        ge=0.0,
        lt=1.0,
        title="Share of old text",
        description="Of the trained tokens; against forgetting. 0: new text only.",
    )
    epochs: float = Field(
        1.0, gt=0.0, le=100.0, title="Passes", description="Over the new text and its replay."
    )
    learning_rate_factor: float = Field(
        0.3,  # guess; the full rate (1.0) learns new text faster and forgets more: same paper, 6.1
        gt=0.0,
        le=10.0,
        title="Learning rate",
        description="Peak after re-warming, as a multiple of pretrain.optimizer's.",
    )
    schedule: AnySchedule = Field(
        WarmupStableDecaySchedule(warmup_fraction=0.1, decay_fraction=0.5),
        discriminator="kind",
        title="Course of the learning rate",
        description="Of each night: from 0 up to the peak and down again.",
    )
    min_new_tokens: int = Field(
        4096,
        ge=1,
        title="Least new text",
        description="Tokens; less waits for the next night, for a step needs whole rows.",
    )
    seed: int = Field(
        0, ge=0, lt=1 << 63, title="Seed", description="Which old documents are drawn."
    )


def blend_shards(
    config: ContinuationConfig,
    new: Sequence[TokenShards],
    old: Sequence[TokenShards],
    tokenizer: TrainedTokenizer,
    *,
    root: Path,
    runtime: Runtime,
) -> TokenShards:
    """All of `new`, and documents of `old` so that they make up `config.replay` of the tokens.

    Every document of `old` is taken at most once: where there is too little of it, the share is
    smaller, and a warning says so. ConfigError for shards of another tokenizer.
    """
    vocabulary = Tokenizer.load(tokenizer.path)
    for shards in (*new, *old):
        if shards.facts["tokenizer_sha256"] != vocabulary.sha256:
            raise ConfigError(f"{shards.ref} was not made with {tokenizer.ref}; tokenize it again")
    drawn = _Drawn.plan(config, new, old, tokenizer)
    settings = {"replay": config.replay, "seed": config.seed}
    inputs = [*(s.key for s in new), tokenizer.key, *(s.key for s in old)]
    key = artifact_key("blend", VERSION, {**settings, "new": len(new)}, inputs)

    def work(_directory: Path) -> Outcome:
        parts = [part for shards in new for part in shards.part_paths()]
        if drawn is not None:
            place = root / "parts" / "replay" / short(drawn.key.fingerprint)
            parts.append(
                build(
                    drawn.key, place, lambda into: drawn.write(into, vocabulary),
                    root=root, runtime=runtime, quiet=True,
                )
            )  # fmt: skip
        facts = _facts(parts, new, drawn)
        _warn_if_short(facts, config, runtime)
        return Outcome(facts, tuple(str(part.relative_to(root)) for part in parts))

    directory = root / "blend" / short(key.fingerprint)
    path = build(key, directory, work, root=root, runtime=runtime)
    return TokenShards(path, key.fingerprint)


@dataclass(frozen=True)
class _Drawn:
    """Which documents of the old shards are trained again."""

    key: ArtifactKey
    old: tuple[TokenShards, ...]
    share: float
    """Of each split's tokens, the new ones' count given."""
    new_tokens: dict[Split, int]

    @classmethod
    def plan(
        cls, config: ContinuationConfig, new: Sequence[TokenShards], old: Sequence[TokenShards],
        tokenizer: TrainedTokenizer,
    ) -> "_Drawn | None":  # fmt: skip
        """None where nothing is drawn."""
        if not old or not config.replay:
            return None
        counts: dict[Split, int] = {
            split: sum(int(shards.facts[f"{split}_tokens"]) for shards in new) for split in SPLITS
        }
        settings = {"replay": config.replay, "seed": config.seed, "new_tokens": counts}
        inputs = [tokenizer.key, *(shards.key for shards in old)]
        key = artifact_key(PART_STAGE, PART_VERSION, settings, inputs)
        return cls(key, tuple(old), config.replay, counts)

    def write(self, directory: Path, tokenizer: Tokenizer) -> Outcome:
        """Copy the drawn documents; `train` and `validation` each from their own kind."""
        rng = np.random.default_rng(int(self.key.fingerprint[:16], 16))
        facts = []
        for split in SPLITS:
            paths = [path for shards in self.old for path in shard_paths(shards, split)]
            if paths and self.new_tokens[split]:
                budget = round(self.new_tokens[split] * self.share / (1 - self.share))
                opened = Shards.open(paths)
                chosen = choose_documents(opened.document_lengths(), budget, rng)
                facts += list(_copied(opened, chosen, split, directory, tokenizer))
        return Outcome(add_up(facts))


def choose_documents(
    lengths: npt.NDArray[np.int64], budget: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Places of documents drawn without repetition until `budget` tokens are reached, ascending.

    The document that reaches the budget is taken where that comes nearer to it than leaving it.
    """
    order = rng.permutation(len(lengths))
    ends = np.cumsum(lengths[order])
    count = int(np.searchsorted(ends, budget))
    if count < len(ends):
        before = int(ends[count - 1]) if count else 0
        count += int(ends[count]) - budget < budget - before
    return np.sort(order[:count])


def _copied(
    opened: Shards, chosen: npt.NDArray[np.int64], split: Split, directory: Path,
    tokenizer: Tokenizer,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Write the chosen documents as shards of about SHARD_TOKENS; the facts of each."""
    rows: list[TokenRow] = []
    held = number = 0
    for i, place in enumerate(chosen.tolist()):
        doc_id, source, tokens = opened.document(place)
        rows.append(TokenRow(doc_id, source, tokens[1:-1]))  # the writer adds bos and eos again
        held += len(tokens)
        if held >= SHARD_TOKENS or i == len(chosen) - 1:
            write_shard(directory / f"{split}-{number:05}.arrow", rows, tokenizer)
            yield _shard_facts(rows, split, tokenizer)
            rows, held, number = [], 0, number + 1


def _shard_facts(rows: Sequence[TokenRow], split: Split, tokenizer: Tokenizer) -> dict[str, Any]:
    facts: dict[str, Any] = {"shards": 1, "sources": {}}
    num_bytes = np.array([len(piece) for piece in tokenizer.table], np.int64)
    for name in SPLITS:
        for what in ("tokens", "documents", "bytes"):
            facts[f"{name}_{what}"] = 0
    for row in rows:
        size = int(num_bytes[row.ids].sum())
        counts = {"documents": 1, "bytes": size, "tokens": len(row.ids) + 2}
        sums = facts["sources"].setdefault(row.source, dict.fromkeys(counts, 0))
        for what, count in counts.items():
            sums[what] += count
            facts[f"{split}_{what}"] += count
    return facts


def _facts(
    parts: Sequence[Path], new: Sequence[TokenShards], drawn: _Drawn | None
) -> dict[str, Any]:
    """The counts of all parts as `tokenize` writes them, and how much of them is new."""
    of_parts = [dict(read_manifest(part).facts) for part in parts]
    facts = add_up(of_parts)
    fresh = add_up(of_parts[: len(of_parts) - (drawn is not None)])
    documents = facts["train_documents"] + facts["validation_documents"]
    size = facts["train_bytes"] + facts["validation_bytes"]
    tokens = facts["train_tokens"] + facts["validation_tokens"]
    like = new[0].facts
    return {
        **facts,
        "documents": documents,
        "bytes": size,
        "bytes_per_token": round(size / max(1, tokens - 2 * documents), 4),
        "vocab_size": like["vocab_size"],
        "tokenizer_sha256": like["tokenizer_sha256"],
        "dtype": like["dtype"],
        "new_tokens": fresh["train_tokens"],
        "replayed_tokens": facts["train_tokens"] - fresh["train_tokens"],
        "replayed_share": 1 - fresh["train_tokens"] / max(1, facts["train_tokens"]),
    }


def _warn_if_short(facts: dict[str, Any], config: ContinuationConfig, runtime: Runtime) -> None:
    if facts["replayed_share"] < config.replay / 2:
        message = (
            f"only {facts['replayed_share']:.1%} of the trained tokens are old text, wanted "
            f"{config.replay:.1%}: there is no more of it"
        )
        runtime.progress.event("warning", {"message": message})
