from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.tokens.batches import WindowBatches
from pipeline.training.data import local_batch
from pipeline.training.devices import World
from tests.tokens.byte_shards import copied, mixed_shards


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_batch_on_the_device_is_its_own_whatever_the_loader_writes_next(tmp_path: Path) -> None:
    """The copy is asynchronous, behind long work; the loader's arrays are overwritten at once."""
    lengths = {"s": np.random.default_rng(0).integers(0, 900, 300).tolist()}
    batches = WindowBatches(mixed_shards(tmp_path, lengths), context_length=512, rows=8)
    device = torch.device("cuda")
    busy = torch.randn(4096, 4096, device=device)
    for step in range(20):
        expected = copied(batches.batch(step))
        for _ in range(20):
            busy = busy @ busy / busy.norm()
        moved = local_batch(batches.batch(step), world=World(), device=device).local
        batches.batch(step + 1)
        assert np.array_equal(moved.inputs.cpu().numpy(), expected["inputs"])
        assert np.array_equal(moved.positions.cpu().numpy(), expected["positions"])
