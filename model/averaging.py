"""A running average of the weights: often better than the last ones, at the price of one copy.

    average <- average + (1 - decay_t) * (weights - average)      after every applied step
    decay_t = min(decay, (1 + t) / (10 + t))                      t steps done

The warm-up of the decay is TensorFlow's (ExponentialMovingAverage, num_updates): without it a short
run would average its random start. t is the step of the run, so resuming changes nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from model.errors import WeightsError
from model.placement import spread_like
from model.settings import FORBID_EXTRA, check, setting


@dataclass(frozen=True)
class WeightAverage:
    """Keep an exponential moving average of the weights (Polyak and Juditsky 1992)."""

    decay: float = setting(
        0.999, "Share of the average that a step keeps, after warm-up.", ge=0.0, lt=1.0
    )
    keep: Literal["average", "last"] = setting(
        "average", "Final weights, which are evaluated and exported: the average, or the last ones."
    )
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)


class AveragedWeights:
    """The average of a model's trained parameters, by name, where the parameters are."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Begin with the weights as they are."""
        self.decay = decay
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._averages = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int, applied: Tensor) -> None:
        """Take in the weights after step `step` (0, 1, ...); nothing where it was not `applied`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        share = torch.where(applied, 1.0 - decay, 0.0).float()  # on the device: nothing waits
        for name, average in self._averages.items():
            average.add_((self._parameters[name].detach() - average) * share)

    def state_tensors(self) -> dict[str, Tensor]:
        """The averages by parameter name: the live tensors."""
        return dict(self._averages)

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state_tensors` returned; WeightsError where names or shapes differ."""
        if set(tensors) != set(self._averages):
            odd = sorted(set(tensors) ^ set(self._averages))
            raise WeightsError(f"averages of {odd[0]} and {len(odd)} in all do not fit this model")
        with torch.no_grad():
            for name, average in self._averages.items():
                if tensors[name].shape != average.shape:
                    raise WeightsError(
                        f"the average of {name} has the shape {tuple(tensors[name].shape)}, its "
                        f"parameter {tuple(average.shape)}"
                    )
                average.copy_(spread_like(tensors[name].to(average.device), average))

    @torch.no_grad()
    def exchange(self) -> None:
        """Make the averages the weights and the weights the averages; twice is bitwise nothing."""
        for name, average in self._averages.items():
            parameter = self._parameters[name]
            last = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(last)

    @contextmanager
    def as_weights(self) -> Iterator[None]:
        """The model computes with the averages inside the block."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()
