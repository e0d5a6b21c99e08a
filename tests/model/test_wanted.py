"""Where few positions are wanted the last block computes those alone: same values and gradients."""

import pytest
import torch
from torch import Tensor

from model.architectures import BertConfig, GPT2Config, LanguageModel, Qwen3Config
from model.batch import Batch
from pipeline.training.step import SummedLoss, few_trained

ROWS, TIME = 3, 24
GPT2 = GPT2Config(vocab_size=97, context_length=32, width=32, layers=2, heads=2)
BERT = BertConfig(vocab_size=97, context_length=32, width=32, layers=2, heads=2, hidden_width=64)
QWEN3 = Qwen3Config(
    vocab_size=97, context_length=32, width=32, layers=2, heads=2, kv_heads=1, head_width=16,
    hidden_width=48,
)  # fmt: skip


def packed() -> tuple[Tensor, Tensor, Tensor]:
    """Ids, segments and wanted positions: several documents to a row, one row with padding."""
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(0, 97, (ROWS, TIME), generator=generator)
    segments = torch.ones(ROWS, TIME, dtype=torch.int64)
    segments[0, 9:], segments[1, 4:17], segments[1, 17:] = 2, 2, 3
    segments[2, 20:] = 0
    return ids, segments, torch.tensor([3, 8, 30, 41, 47, 60])


def hidden_and_gradients(
    model: LanguageModel, *, picked_early: bool
) -> tuple[Tensor, list[Tensor | None]]:
    ids, segments, wanted = packed()
    model.zero_grad()
    if picked_early:
        hidden = model.hidden(ids, segment_ids=segments, wanted=wanted)
    else:
        hidden = model.hidden(ids, segment_ids=segments).reshape(ROWS * TIME, -1)[wanted]
    weights = torch.linspace(-1, 1, hidden.numel(), dtype=hidden.dtype).view_as(hidden)
    (hidden * weights).sum().backward()
    return hidden.detach(), [p.grad for p in model.parameters()]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("config", [GPT2, BERT], ids=["norm first", "norm last"])
def test_wanted_positions_and_gradients_equal_the_full_pass(
    config: GPT2Config | BertConfig, recompute: bool
) -> None:
    model = config.build(seed=2).double()
    model.compute_dtype = torch.float64
    model.recompute = recompute
    full, full_gradients = hidden_and_gradients(model, picked_early=False)
    few, few_gradients = hidden_and_gradients(model, picked_early=True)
    assert few.shape == (6, 32)
    assert torch.allclose(few, full, rtol=0, atol=1e-12)
    for one, other in zip(few_gradients, full_gradients, strict=True):
        assert (one is None) == (other is None)
        assert one is None or other is None or torch.allclose(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotated_heads_in_every_compute_dtype_agree(dtype: torch.dtype) -> None:
    model = QWEN3.build(seed=2)
    model.compute_dtype = dtype
    full, _ = hidden_and_gradients(model, picked_early=False)
    few, _ = hidden_and_gradients(model, picked_early=True)
    assert torch.allclose(few.float(), full.float(), atol=1e-5 if dtype == torch.float32 else 0.05)


def test_loss_of_few_trained_tokens_is_the_loss_over_all_positions() -> None:
    ids, segments, wanted = packed()
    mask = torch.zeros(ROWS * TIME)
    mask[wanted] = 1.0
    mask = mask.view(ROWS, TIME)
    positions = torch.arange(TIME).expand(ROWS, TIME)
    model = QWEN3.build(seed=2)
    batch = Batch(ids, ids.roll(-1, 1), mask, segments, positions)
    loss = float(SummedLoss(model)(batch).detach())
    logits = model(ids, positions, segments)
    nll = -logits.log_softmax(-1).gather(-1, batch.targets.unsqueeze(-1)).squeeze(-1)
    assert loss == pytest.approx(float((nll * mask).sum()), abs=1e-4)


def test_few_is_some_but_not_most_and_never_none() -> None:
    mask = torch.zeros(2, 8)
    assert few_trained(mask) is None
    mask[1, 2] = 0.5  # a weight is a target too
    found = few_trained(mask)
    assert found is not None and found.tolist() == [10]
    assert few_trained(torch.ones(2, 8)) is None
