"""Validation loss on fixed rows, and the turning point after which it only rose.

The loss counts the trained targets: all tokens in pre-training, answer and eos in fine-tuning.
"""

from collections.abc import Sequence

import torch
import torch.distributed

from model.batch import Batch
from pipeline.training.checkpoint import TrainingState
from pipeline.training.devices import World
from pipeline.training.step import SummedLoss


@torch.no_grad()
def validation_loss(
    loss: SummedLoss,
    batches: Sequence[Batch],
    *,
    device: torch.device,
    world: World,
) -> float | None:
    """Mean nats per trained target over all processes' batches; None without any target."""
    sums = torch.zeros(2, dtype=torch.float64, device=device)  # nats, targets
    was_training = loss.training
    loss.eval()
    try:
        for rows in batches:
            batch = rows.to(device)
            sums[0] += loss(batch)
            sums[1] += batch.loss_mask.sum(dtype=torch.float64)
    finally:
        loss.train(was_training)
    if world.size > 1:
        torch.distributed.all_reduce(sums)
    nats, targets = sums.tolist()
    return nats / targets if targets else None


def note_validation(state: TrainingState, loss: float) -> bool:
    """Count one validation into `state`; whether it is the best so far (NaN never is)."""
    if loss == loss and (state.best_loss is None or loss < state.best_loss):
        state.best_loss, state.best_step = loss, state.step
        state.validations_since_best = 0
        return True
    state.validations_since_best += 1
    return False
