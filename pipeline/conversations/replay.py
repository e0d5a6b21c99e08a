"""Rows of the pretraining text between the examples, so that tuning does not forget it.

token shards -> windows drawn by seed -> rows in the form of packed examples, every token trained

Replaying a few per cent of the old data is the plainest remedy against forgetting (Scialom et al.
2022, "Fine-tuned language models are continual learners"; Ibrahim et al. 2024).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.store.errors import ConfigError
from pipeline.tokens.batches import WindowBatches


@dataclass(frozen=True)
class Replay:
    """Pretraining text to mix in."""

    paths: Sequence[Path]
    """Token shards of the training split."""
    share: float
    """Of all trained tokens, the share that comes from this text; 0 to below 1."""
    seed: int

    def num_tokens(self, target_tokens: int) -> int:
        """Trained tokens to replay beside `target_tokens` of examples."""
        return round(target_tokens * self.share / (1 - self.share))


def replay_rows(
    replay: Replay, *, target_tokens: int, context_length: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(ids, trainable, segment) of context_length + 1 entries each, as packed rows have them.

    As many as it takes to reach the share beside `target_tokens`; of the last row only the first
    tokens are trained, so that the share is met exactly. ConfigError when the text is too short to
    give them without repeating itself.
    """
    wanted = replay.num_tokens(target_tokens)
    source = WindowBatches(replay.paths, context_length=context_length, rows=1, seed=replay.seed)
    given = 0
    for step in range(source.num_samples):
        if given >= wanted:
            return
        batch = source.batch(step)
        ids = np.append(batch["inputs"][0], batch["targets"][0, -1:])
        trainable = np.concatenate([[0], batch["loss_mask"][0] > 0])
        trainable[np.flatnonzero(trainable)[wanted - given :]] = 0
        segment = np.append(batch["segment_ids"][0], batch["segment_ids"][0, -1:])
        given += int(trainable.sum())
        yield ids.astype(np.uint32), trainable.astype(np.uint8), segment.astype(np.uint32)
    if given < wanted:
        raise ConfigError(
            f"finetune.replay={replay.share:g} asks for {wanted} tokens of pretraining text beside "
            f"{target_tokens} of examples, the shards have {given}; lower it"
        )
