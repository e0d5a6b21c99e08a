"""T5's relative position bias: how far a key lies from a query, in buckets, one number per head.

    distance  ... -9 -8 -7 ... -1  0  1 ... 7  8  9 ...      key position - query position
    bucket    one each up to a quarter of the buckets (half of them looking back only), then wider
              and wider ones up to `max_distance`; everything beyond it shares the last

B batch, H heads, T queries, S keys. Added to the scores of every layer of a stack; Raffel et al.
2020, section 2.1: 32 buckets, the last from a distance of 128 on.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def relative_buckets(
    distance: Tensor, *, bidirectional: bool, buckets: int, max_distance: int
) -> Tensor:
    """(...) int64 distances, key minus query -> (...) bucket numbers, 0 to `buckets` - 1.

    Looking both ways, half of the buckets are for keys after the query; looking back only, keys
    after it share bucket 0 with the query itself (a causal mask hides them anyway).
    """
    first = torch.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        first = (distance > 0).long() * buckets
        away = distance.abs()
    else:
        away = (-distance).clamp_min(0)
    exact = buckets // 2
    # float32 as in the original: a double would put some distances into another bucket.
    ratio = torch.log(away.clamp_min(1).float() / exact) / math.log(max_distance / exact)
    wide = (exact + (ratio * (buckets - exact)).long()).clamp_max(buckets - 1)
    return first + torch.where(away < exact, away, wide)


class RelativeBias(nn.Module):
    """The table of one stack, shared by its layers."""

    def __init__(self, buckets: int, heads: int, max_distance: int, *, bidirectional: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(buckets, heads))
        self.max_distance, self.bidirectional = max_distance, bidirectional

    def forward(self, queries: int, keys: int) -> Tensor:
        """(1, H, T, S) float32: the last `queries` of `keys` positions against all of them."""
        index = torch.arange(keys, device=self.weight.device)
        distance = index[None, :] - index[keys - queries :, None]  # (T, S)
        numbers = relative_buckets(
            distance,
            bidirectional=self.bidirectional,
            buckets=len(self.weight),
            max_distance=self.max_distance,
        )
        return F.embedding(numbers, self.weight).permute(2, 0, 1).unsqueeze(0)
