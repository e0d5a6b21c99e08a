"""The model floor runs where everything but torch, safetensors and numpy is absent."""

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = """
import importlib, importlib.abc, pkgutil, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"prefect", "mlflow", "pydantic", "datasets", "pyarrow", "typer",
                                  "transformers", "pipeline", "flows"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
import model
names = [m.name for m in pkgutil.walk_packages(model.__path__, "model.")]
for name in names:
    importlib.import_module(name)
import torch
from model.architectures import Qwen3Config
from model.generate import generate
from model.loss import nll_sum
from model.optim import MuonConfig, build_optimizer
torch.set_num_threads(1)
net = Qwen3Config(vocab_size=64, context_length=32, width=32, layers=1, heads=2, kv_heads=1,
                  head_width=16, hidden_width=64).build()
optimizer = build_optimizer(net, MuonConfig())
ids = torch.arange(32).unsqueeze(0)
for _ in range(3):
    total, count = nll_sum(net.hidden(ids[:, :-1]), net.head_weight, ids[:, 1:], torch.ones(1, 31))
    (total / count).backward()
    optimizer.step()
    optimizer.zero_grad()
assert len(generate(net, [[1, 2]], 5)[0]) == 5
print(len(names))
"""


def test_every_module_loads_and_trains_without_the_forbidden_packages():
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM], capture_output=True, text=True, timeout=120,
        check=False, cwd=CHECKOUT, env={"PYTHONPATH": str(CHECKOUT), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 15
