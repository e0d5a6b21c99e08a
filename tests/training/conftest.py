"""A tiny world shared by the tests of one module, and torch on one thread."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from pipeline.artifacts import TokenShards, TrainedTokenizer
from tests.training.worlds import zen_world


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass
class Heard:
    """A Progress and a Journal that remember."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    advances: list[tuple[float, float | None, str]] = field(default_factory=list)
    numbers: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def advance(self, done: float, total: float | None, unit: str) -> None:
        self.advances.append((done, total, unit))

    def event(self, name: str, facts: Any) -> None:
        self.events.append((name, dict(facts)))

    def metrics(self, values: Any, *, step: int) -> None:
        self.numbers.append((step, dict(values)))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [facts for event, facts in self.events if event == name]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def world(tmp_path) -> tuple[TrainedTokenizer, TokenShards]:
    return zen_world(tmp_path)
