"""One step is the same step however the batch is split, and a bad one changes nothing at all."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.architectures import AnyModel, GPT2Config
from model.batch import Batch
from model.llama import LlamaConfig
from model.optim import AdamWConfig, MuonConfig, build_optimizer
from model.qwen3 import Qwen3Config
from pipeline.store.errors import ConfigError
from pipeline.training.data import local_batch
from pipeline.training.devices import World
from pipeline.training.parallel import Copies
from pipeline.training.step import Stepper, SummedLoss
from tests.training.worlds import MODEL

ROWS, TIME = 6, 16


def batch_with_unequal_answers() -> Batch:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, MODEL.vocab_size, (ROWS, TIME + 1), generator=generator)
    mask = torch.zeros(ROWS, TIME)
    for row in range(ROWS):
        mask[row, 2 : 4 + 2 * row] = 1.0  # 2, 4, ... 12 trained tokens
    segments = torch.ones(ROWS, TIME, dtype=torch.int64)
    positions = torch.arange(TIME).expand(ROWS, TIME)
    return Batch(ids[:, :-1], ids[:, 1:], mask, segments, positions)


SHAPE = {"vocab_size": 263, "context_length": 32, "width": 32, "layers": 2, "heads": 2}
EXACT = (
    GPT2Config(**SHAPE),
    LlamaConfig(**SHAPE, kv_heads=1),
    Qwen3Config(**SHAPE, kv_heads=2, head_width=16),
)


def stepper(micro_rows: int, *, double: AnyModel | None = None, optimizer=None) -> Stepper:
    model = (double or MODEL).build(seed=3)
    if double is not None:
        model.double()
        model.compute_dtype = torch.float64
    return Stepper(
        SummedLoss(model),
        build_optimizer(model, optimizer or AdamWConfig()),
        micro_rows=micro_rows,
        grad_clip=1.0,
        device=torch.device("cpu"),
        parallel=Copies(World()),
    )


def gradients(
    micro_rows: int, batch: Batch, *, exact: AnyModel | None = None
) -> tuple[float, list[torch.Tensor]]:
    one = stepper(micro_rows, double=exact)
    loss = one.gradients(batch, trained_tokens=float(batch.loss_mask.sum()))
    return float(loss), [p.grad for p in one.parameters]


def by_definition(batch: Batch, config: AnyModel) -> tuple[float, list[torch.Tensor]]:
    """Whole logits, every row alone, one division at the end."""
    model = stepper(ROWS, double=config).loss.model
    nats = torch.zeros((), dtype=torch.float64)
    for row in range(ROWS):
        one = batch.rows(row, row + 1)
        logits = model(one.inputs, one.positions, one.segment_ids)
        nll = -logits.log_softmax(-1).gather(-1, one.targets.unsqueeze(-1)).squeeze(-1)
        nats = nats + (nll * one.loss_mask).sum()
    loss = nats / batch.loss_mask.sum()
    loss.backward()
    return float(loss.detach()), [p.grad for p in model.parameters() if p.grad is not None]


def agree(one: tuple[float, list[torch.Tensor]], other: tuple[float, list[torch.Tensor]]) -> bool:
    apart = [float((a - b).abs().max()) for a, b in zip(one[1], other[1], strict=True)]
    return abs(one[0] - other[0]) < 1e-10 and max(apart) < 1e-10


@pytest.mark.parametrize("config", EXACT, ids=lambda config: config.kind)
def test_every_split_has_the_loss_and_gradient_of_the_definition(config: AnyModel) -> None:
    batch = batch_with_unequal_answers()
    expected = by_definition(batch, config)
    for micro_rows in (1, 2, 4, 5, ROWS):
        assert agree(gradients(micro_rows, batch, exact=config), expected), micro_rows


def test_split_changes_the_training_loss_by_rounding_only():
    batch = batch_with_unequal_answers()
    whole_loss, whole = gradients(ROWS, batch)
    for micro_rows in (1, 4):
        loss, split = gradients(micro_rows, batch)
        assert abs(loss - whole_loss) < 1e-6
        assert max(float((a - b).abs().max()) for a, b in zip(whole, split, strict=True)) < 1e-6


@pytest.mark.parametrize("config", EXACT, ids=lambda config: config.kind)
def test_padding_length_changes_neither_loss_nor_gradient(config: AnyModel) -> None:
    batch = batch_with_unequal_answers()
    more = 5
    pad = torch.zeros(ROWS, more, dtype=torch.int64)
    padded = Batch(
        torch.cat([batch.inputs, pad], 1), torch.cat([batch.targets, pad], 1),
        torch.cat([batch.loss_mask, pad.float()], 1), torch.cat([batch.segment_ids, pad], 1),
        torch.cat([batch.positions, pad], 1),
    )  # fmt: skip
    whole = gradients(ROWS, batch, exact=config)
    assert agree(gradients(ROWS, padded, exact=config), whole)


@pytest.mark.parametrize("optimizer", [AdamWConfig(), MuonConfig()])
@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_non_finite_step_leaves_weights_and_moments_bitwise_untouched(optimizer, poison):
    one = stepper(ROWS, optimizer=optimizer)
    batch = batch_with_unequal_answers()
    trained = float(batch.loss_mask.sum())
    assert bool(one.step(batch, trained_tokens=trained).applied)
    weights = [p.detach().clone() for p in one.parameters]
    moments = {name: t.clone() for name, t in one.optimizer.state_tensors().items()}

    poisoned = replace(batch, loss_mask=batch.loss_mask.clone())
    poisoned.loss_mask[0, 2] = poison
    assert not bool(one.step(poisoned, trained_tokens=trained).applied)

    assert all(torch.equal(a, p) for a, p in zip(weights, one.parameters, strict=True))
    after = one.optimizer.state_tensors()
    assert after.keys() == moments.keys()
    assert all(torch.equal(moments[name], after[name]) for name in moments)
    assert bool(one.step(batch, trained_tokens=trained).applied)


def test_gradient_norm_is_measured_before_clipping():
    one = stepper(ROWS)
    batch = batch_with_unequal_answers()
    result = one.step(batch, trained_tokens=float(batch.loss_mask.sum()) / 100)  # loss * 100
    clipped = torch.nn.utils.get_total_norm([p.grad for p in one.parameters])
    assert float(result.grad_norm) > 10.0
    assert abs(float(clipped) - 1.0) < 1e-3


def test_process_without_a_row_is_refused_before_the_others_wait_for_it():
    arrays = {"inputs": np.zeros((2, 4)), "loss_mask": np.ones((2, 4))}
    with pytest.raises(ConfigError, match="batch_rows=2 gives 3 processes"):
        local_batch(arrays, world=World(rank=2, size=3), device=torch.device("cpu"))


def test_step_goes_on_in_smaller_micro_batches_when_memory_runs_out(monkeypatch):
    batch = batch_with_unequal_answers()
    trained = float(batch.loss_mask.sum())
    whole, starved = stepper(ROWS), stepper(ROWS)
    compute = starved.loss.forward

    def with_room_for_two_rows(rows: Batch) -> torch.Tensor:
        if len(rows.inputs) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 12 bytes")
        return compute(rows)

    monkeypatch.setattr(starved.loss, "forward", with_room_for_two_rows)
    expected = whole.step(batch, trained_tokens=trained)
    found = starved.step(batch, trained_tokens=trained)
    assert starved.micro_rows == 2  # 6, 3, 2
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-6, atol=0)
    for one, other in zip(whole.parameters, starved.parameters, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_other_errors_of_the_runtime_are_not_taken_for_a_lack_of_memory(monkeypatch):
    made = stepper(ROWS)

    def broken(rows: Batch) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(made.loss, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        made.step(batch_with_unequal_answers(), trained_tokens=42.0)
    assert made.micro_rows == ROWS
