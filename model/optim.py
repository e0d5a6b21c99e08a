"""Optimisers: AdamW for everything, or Muon for the matrices inside the blocks and AdamW beside it.

    role        parameters                    AdamW decays   Muon's share
    matrix      2-D weights inside blocks     yes            yes
    embedding   token and position tables     no             AdamW, embedding_learning_rate
    head        untied output matrix          yes            AdamW, head_learning_rate
    vector      norms and biases              no             AdamW, vector_learning_rate

Every group remembers its full rate; `set_factor(schedule.factor(step, total))` scales them all.
State is saved as named tensors, so that a checkpoint needs no pickle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from model.averaging import AveragedWeights
from model.errors import WeightsError
from model.language_model import LanguageModel, Role
from model.muon import BatchedMuon
from model.placement import spread_like
from model.settings import FORBID_EXTRA, check, setting, settings_from_dict

_RATE = {"gt": 0.0, "le": 10.0}
_BETA = {"ge": 0.0, "lt": 1.0}
_BETAS = {"item_ge": 0.0, "item_lt": 1.0}


@dataclass(frozen=True)
class AdamWConfig:
    """AdamW (Loshchilov and Hutter 2019) on all parameters."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: float = setting(1e-3, "Full learning rate, after warm-up.", **_RATE)
    betas: tuple[float, float] = setting((0.9, 0.95), "Decay of the two moments.", **_BETAS)
    epsilon: float = setting(1e-8, "Added to the denominator.", gt=0.0)
    weight_decay: float = setting(
        0.1, "Decoupled decay of matrices and head, times the learning rate.", ge=0.0
    )
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class MuonConfig:
    """Muon (Jordan et al. 2024) on the matrices inside blocks, AdamW on the rest."""

    kind: Literal["muon"] = "muon"
    learning_rate: float = setting(0.02, "Rate of Muon's orthogonal updates.", **_RATE)
    momentum: float = setting(0.95, "Nesterov momentum of the matrices.", **_BETA)
    weight_decay: float = setting(0.0, "Decoupled decay of the matrices.", ge=0.0)
    newton_schulz_steps: int = setting(5, "Iterations of the orthogonalisation.", ge=1, le=20)
    adjust: Literal["original", "match_rms_adamw"] = setting(
        "original", "How the rate depends on a matrix's shape: Jordan's rule or Moonshot's."
    )
    embedding_learning_rate: float = setting(0.01, "AdamW's rate for embeddings.", **_RATE)
    head_learning_rate: float = setting(0.004, "AdamW's rate for the untied head.", **_RATE)
    vector_learning_rate: float = setting(0.01, "AdamW's rate for norms and biases.", **_RATE)
    betas: tuple[float, float] = setting((0.8, 0.95), "AdamW's decay of the two moments.", **_BETAS)
    epsilon: float = setting(1e-10, "AdamW's addition to the denominator.", gt=0.0)
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)


AnyOptimizer = AdamWConfig | MuonConfig


def optimizer_from_dict(values: Mapping[str, Any]) -> AnyOptimizer:
    """The optimiser config whose `kind` and settings are `values`."""
    config: AnyOptimizer = settings_from_dict((AdamWConfig, MuonConfig), values)
    return config


class Optimizer:
    """One or two torch optimisers that step together; knows its parameters by name."""

    def __init__(
        self, parts: Mapping[str, torch.optim.Optimizer], names: Mapping[Tensor, str]
    ) -> None:
        self.parts = dict(parts)
        self._names = dict(names)
        self.average: AveragedWeights | None = None
        """The running average of the weights, where one is kept; saved with the state."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts; each has `role`, `params`, `lr` and its full rate `full_lr`."""
        return [group for part in self.parts.values() for group in part.param_groups]

    def set_factor(self, factor: float) -> None:
        """Scale every group's learning rate to `factor` times its full rate."""
        for group in self.param_groups:
            group["lr"] = group["full_lr"] * factor

    @property
    def learning_rate(self) -> float:
        """The current rate of the first group, the one people plot: the matrices'."""
        return float(self.param_groups[0]["lr"])

    def step(self) -> None:
        """Apply the gradients."""
        for part in self.parts.values():
            part.step()

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for part in self.parts.values():
            part.zero_grad(set_to_none=True)

    def state_tensors(self) -> dict[str, Tensor]:
        """All state as `parameter name/quantity` -> tensor; empty before the first step.

        The tensors are the live ones: copy or write them before the next step.
        """
        tensors = {}
        for part in self.parts.values():
            for parameter, state in part.state.items():
                for quantity, value in state.items():
                    tensors[f"{self._names[parameter]}/{quantity}"] = torch.as_tensor(value)
        if self.average is not None:
            for name, value in self.average.state_tensors().items():
                tensors[f"{name}/average"] = value
        return tensors

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state_tensors` returned; WeightsError where names or shapes differ."""
        owners = {
            self._names[parameter]: (part, parameter)
            for part in self.parts.values()
            for group in part.param_groups
            for parameter in group["params"]
        }
        for part in self.parts.values():
            part.state.clear()
        averages = {k.removesuffix("/average"): v for k, v in tensors.items() if "/average" in k}
        if self.average is not None:
            self.average.load_state_tensors(averages)
        elif averages:
            raise WeightsError("the state holds averages of the weights, this run keeps none")
        for key, value in tensors.items():
            if key.endswith("/average"):
                continue
            name, _, quantity = key.rpartition("/")
            if name not in owners:
                raise WeightsError(f"optimiser state {key} belongs to no parameter of this model")
            part, parameter = owners[name]
            if value.ndim and value.shape != parameter.shape:
                raise WeightsError(
                    f"optimiser state {key} has the shape {tuple(value.shape)}, "
                    f"its parameter {tuple(parameter.shape)}; resume with the same architecture"
                )
            own = value.detach().clone().to(parameter.device)
            part.state[parameter][quantity] = spread_like(own, parameter) if value.ndim else own


def parameter_groups(model: LanguageModel) -> dict[Role, list[tuple[str, nn.Parameter]]]:
    """Named parameters by role; together exactly those that are trained, each once."""
    groups: dict[Role, list[tuple[str, nn.Parameter]]] = {
        "matrix": [], "embedding": [], "head": [], "vector": [],
    }  # fmt: skip
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    for name, parameter in trained:
        groups[model.role(name, parameter)].append((name, parameter))
    grouped = [id(parameter) for group in groups.values() for _, parameter in group]
    assert sorted(grouped) == sorted(id(p) for _, p in trained), "groups must partition"
    return groups


def build_optimizer(model: LanguageModel, config: AnyOptimizer) -> Optimizer:
    """The optimiser of all parameters of `model`, at the full rates."""
    groups = parameter_groups(model)
    names: dict[Tensor, str] = {p: name for group in groups.values() for name, p in group}
    if isinstance(config, AdamWConfig):
        decays: dict[Role, float] = {"matrix": config.weight_decay, "head": config.weight_decay}
        same = dict.fromkeys(groups, config.learning_rate)
        return Optimizer({"adamw": _adamw(groups, same, decays, config)}, names)
    rates: dict[Role, float] = {
        "embedding": config.embedding_learning_rate,
        "head": config.head_learning_rate,
        "vector": config.vector_learning_rate,
    }
    matrices = [parameter for _, parameter in groups.pop("matrix")]
    muon = BatchedMuon(
        [{"params": matrices, "role": "matrix", "full_lr": config.learning_rate}],
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        ns_steps=config.newton_schulz_steps,
        adjust_lr_fn=config.adjust,
    )
    parts: dict[str, torch.optim.Optimizer] = {"muon": muon}
    if any(groups.values()):  # only matrices are trained when a model is adapted at low rank
        parts["adamw"] = _adamw(groups, rates, {}, config)
    return Optimizer(parts, names)


def _adamw(
    groups: Mapping[Role, list[tuple[str, nn.Parameter]]],
    rates: Mapping[Role, float],
    decays: Mapping[Role, float],
    config: AnyOptimizer,
) -> torch.optim.AdamW:
    """Fused: one pass over weight, gradient and moments instead of a dozen."""
    return torch.optim.AdamW(
        [
            {
                "params": [parameter for _, parameter in group],
                "role": role,
                "lr": rates[role],
                "full_lr": rates[role],
                "weight_decay": decays.get(role, 0.0),
            }
            for role, group in groups.items()
            if group
        ],
        betas=config.betas,
        eps=config.epsilon,
        fused=True,
    )
