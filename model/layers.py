"""The small layers: linear maps, feed-forward networks, tables and positions.

B batch, T time, D model width, K head width, M feed-forward width. Weights are float32 masters;
each layer computes in the dtype of the activations it is given.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Literal["silu", "relu2"]
Gate = Literal["silu", "relu2", "gelu_tanh"]
Gelu = Literal["tanh", "none"]
"""torch's names: the approximation of GPT-2 (`gelu_new`), or the exact erf form of BERT."""


class Linear(nn.Module):
    """`x @ weight.T + bias`, casting the weights to x's dtype once per forward."""

    def __init__(self, in_width: int, out_width: int, *, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_width, in_width))
        self.bias = nn.Parameter(torch.empty(out_width)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_width) -> (..., out_width)."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x @ weight.T + bias` in x's dtype; the bias joins the product, exactly, where oneDNN can.

    `F.linear` in bfloat16 on the CPU first writes the bias into every row of the result and then
    lets the product read it back: a third of its time for 4,096 x 384 times 384 x 1,152.
    """
    weight = weight.to(x.dtype)
    if bias is None:
        return F.linear(x, weight)
    bias = bias.to(x.dtype)
    if _FUSED is None or x.device.type != "cpu" or x.dtype != torch.bfloat16:
        return F.linear(x, weight, bias)
    if torch.compiler.is_compiling():
        return F.linear(x, weight, bias)
    product: Tensor = _FusedLinear.apply(x, weight, bias)
    return product


def _fused_linear() -> Any:
    """oneDNN's product with a bias; None where this torch has none."""
    usable = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None) if usable else None


_FUSED = _fused_linear()


class _FusedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        product: Tensor = _FUSED(x, weight, bias, "none", [], "")
        return product

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        grad = grads[0].reshape(-1, len(weight))  # (rows, out)
        rows = x.reshape(-1, x.shape[-1])
        return (grad @ weight).view(x.shape), grad.t() @ rows, grad.sum(0)


def joined(x: Tensor, maps: Sequence[Linear]) -> Tensor:
    """The outputs of several maps of the same x side by side: (..., sum of out widths).

    While training it joins the (small) weights and multiplies once, so that x is read once and
    its gradient is one product instead of a sum of several.
    """
    if not torch.is_grad_enabled():
        return torch.cat([part(x) for part in maps], dim=-1)
    weights: list[Tensor] = [part.weight for part in maps]
    biases: list[Tensor] = [part.bias for part in maps if part.bias is not None]
    return linear(x, torch.cat(weights), torch.cat(biases) if biases else None)


class FeedForward(nn.Module):
    """up, GELU, down: in its tanh form GPT-2's network, in its exact form BERT's."""

    def __init__(
        self, width: int, hidden_width: int, *, bias: bool, approximate: Gelu = "tanh"
    ) -> None:
        super().__init__()
        self.up = Linear(width, hidden_width, bias=bias)
        self.down = Linear(hidden_width, width, bias=bias)
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.down(F.gelu(self.up(x), approximate=self.approximate))


class GatedFeedForward(nn.Module):
    """down(activation(gate(x)) * up(x)): SwiGLU (Shazeer 2020) with `silu`, GEGLU with a GELU."""

    def __init__(self, width: int, hidden_width: int, activation: Gate) -> None:
        super().__init__()
        self.gate = Linear(width, hidden_width)
        self.up = Linear(width, hidden_width)
        self.down = Linear(hidden_width, width)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        gate = self.gate(x)  # (B, T, M)
        if self.activation == "silu":
            gate = F.silu(gate)
        elif self.activation == "gelu_tanh":
            gate = F.gelu(gate, approximate="tanh")
        else:
            gate = F.relu(gate).square()
        return self.down(gate * self.up(x))


class Embedding(nn.Module):
    """A table of vectors: `weight[ids]`."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))

    def forward(self, ids: Tensor) -> Tensor:
        """(...) int64 -> (..., width)."""
        return F.embedding(ids, self.weight)


def sinusoidal_positions(length: int, width: int) -> Tensor:
    """(length, width) float32 table of Vaswani et al. 2017: even columns sine, odd columns cosine.

    The wavelength grows with the column from 2*pi to 10000*2*pi, so that the vector at an offset is
    a linear map of the vector here.
    """
    frequency = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(1e4) / width))
    angle = torch.arange(length, dtype=torch.float64).unsqueeze(1) * frequency  # (T, width/2)
    table = torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :width]
    return table.float()


def segment_positions(segment_ids: Tensor) -> Tensor:
    """(B, T) position of each token within its segment: restarts at 0 where the segment changes."""
    index = torch.arange(segment_ids.shape[1], device=segment_ids.device).expand_as(segment_ids)
    starts = torch.ones_like(segment_ids, dtype=torch.bool)
    starts[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
    return index - torch.where(starts, index, 0).cummax(dim=1).values
