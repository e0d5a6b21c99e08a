"""The one batch type of every objective, and what a model returns for it.

B batch rows, T positions. Objectives and fine-tuning differ in a batch's data, never in the loop.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

AttentionPattern = Literal["causal", "bidirectional", "prefix", "encoder-decoder"]


@dataclass(frozen=True)
class Source:
    """The encoder's side of an encoder-decoder batch."""

    inputs: Tensor  # (B, S) int64
    segment_ids: Tensor  # (B, S) int64, 0 = padding


@dataclass(frozen=True)
class Batch:
    """Rows of tokens and targets, already shifted: position t of `inputs` predicts `targets[t]`."""

    inputs: Tensor  # (B, T) int64
    targets: Tensor  # (B, T) int64
    loss_mask: Tensor  # (B, T) float32: 1 where the target is trained
    segment_ids: Tensor  # (B, T) int64: documents in a row are 1, 2, ...; 0 is padding
    positions: Tensor  # (B, T) int64, restart at 0 with every segment
    source: Source | None = None
    predicted: Tensor | None = (
        None  # (B, M) int64 positions that have a loss, -1 fills up; None: all
    )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """The same batch on another device."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        source = self.source
        if source is not None:
            source = Source(moved(source.inputs), moved(source.segment_ids))
        return Batch(
            moved(self.inputs), moved(self.targets), moved(self.loss_mask),
            moved(self.segment_ids), moved(self.positions), source,
            None if self.predicted is None else moved(self.predicted),
        )  # fmt: skip

    def rows(self, start: int, stop: int) -> "Batch":
        """Rows `start` to `stop` as a batch of their own (micro-batches)."""
        source = self.source
        if source is not None:
            source = Source(source.inputs[start:stop], source.segment_ids[start:stop])
        return Batch(
            self.inputs[start:stop], self.targets[start:stop], self.loss_mask[start:stop],
            self.segment_ids[start:stop], self.positions[start:stop], source,
            None if self.predicted is None else self.predicted[start:stop],
        )  # fmt: skip

    def at_predicted(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """hidden (B, T, D) -> (B, M, D), targets (B, M) and mask (B, M) of what is predicted.

        The dearest layer, the head, then sees no other position; shapes depend on no value.
        """
        if self.predicted is None:
            return hidden, self.targets, self.loss_mask
        index = self.predicted.clamp_min(0)
        mask = torch.where(self.predicted >= 0, self.loss_mask.gather(1, index), 0.0)
        width = hidden.shape[-1]
        chosen = hidden.gather(1, index.unsqueeze(-1).expand(-1, -1, width))
        return chosen, self.targets.gather(1, index), mask
