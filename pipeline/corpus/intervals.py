"""95 % intervals of shares, of ratios of shares, and of the area under a ROC curve."""

import math

_Z = 1.959964  # 95 %, two-sided


def wilson(count: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval (1927) of a share; (0, 1) where nothing was seen."""
    if total == 0:
        return 0.0, 1.0
    share, square = count / total, _Z * _Z
    centre = (share + square / (2 * total)) / (1 + square / total)
    half = _Z * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    half /= 1 + square / total
    # The ends are exact at none and all; rounding must not exclude them.
    low, high = (0.0 if count == 0 else centre - half), (1.0 if count == total else centre + half)
    return low, high


def ratio_interval(
    group_count: int, group_total: int, count: int, total: int
) -> tuple[float, float]:
    """95 % interval of a group's rate over the overall rate, of which the group is a part.

    Delta method on the logarithm, half a document added to each cell so that zero has one.
    """
    others_count, others_total = count - group_count, total - group_total
    p = (group_count + 0.5) / (group_total + 1)
    weight = group_total / total
    q = (others_count + 0.5) / (others_total + 1) if others_total else p
    overall = weight * p + (1 - weight) * q
    variance = (1 / p - weight / overall) ** 2 * p * (1 - p) / (group_total + 1)
    variance += ((1 - weight) / overall) ** 2 * q * (1 - q) / (others_total + 1)
    centre, half = math.log(p / overall), _Z * math.sqrt(variance)
    return math.exp(centre - half), math.exp(centre + half)


def auc_interval(auc: float, positives: int, negatives: int) -> tuple[float, float]:
    """Interval of an area under the ROC curve (Hanley and McNeil 1982), cut to 0 and 1."""
    q1, q2 = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc)
    variance += (positives - 1) * (q1 - auc * auc) + (negatives - 1) * (q2 - auc * auc)
    half = _Z * math.sqrt(max(variance, 0.0) / (positives * negatives))
    return max(0.0, auc - half), min(1.0, auc + half)
