"""Extrapolate a residual from its last computed values (order 0: reuse, 1: line, 2: parabola).

In what: in the run's own steps. A model's shift lays them out so that each changes the video about equally; a run of shift 8
takes a third of its steps above 0.94, and a line in sigma reaches farther from there than its anchors lie apart.
"""

from collections.abc import Sequence
from math import inf, log

import torch


def lagrange_weights(anchors: Sequence[float], position: float) -> list[float]:
    """Weights w with sum_i w_i f(anchors_i) = the Lagrange polynomial through the anchors at `position`; they sum to 1.

    anchors: distinct positions on the run's schedule, see `Tick`. One anchor gives [1.0], plain reuse.
    """
    weights = []
    for i, own in enumerate(anchors):
        weight = 1.0
        for j, other in enumerate(anchors):
            if j != i:
                weight *= (position - other) / (own - other)
        weights.append(weight)
    return weights


def bounded_weights(anchors: Sequence[float], position: float, max_gain: float, trust: float = 1.0) -> list[float]:
    """Weights of the newest anchors (last in the list), of the highest order whose sum |w| keeps to max_gain.

    trust: share of what they add to the newest anchor, see `stable_trust`.
    """
    for first in range(len(anchors)):
        weights = lagrange_weights(anchors[first:], position)
        if sum(map(abs, weights)) <= max_gain:
            return [*(trust * w for w in weights[:-1]), 1.0 + trust * (weights[-1] - 1.0)]
    raise ValueError("no anchors to extrapolate from")


def stable_trust(start: float, end: float, guidance: float) -> float:
    """Share of an extrapolation, 0 to 1, that keeps a gap from sigma `start` to `end` stable under guidance of this scale.

    An error e of x changes a guided velocity by up to guidance * e / sigma: as much where the prompt decides the result and
    its absence leaves it open. So the flow is as stiff as x' = -z x over one gap, z = guidance * |ln(start / end)|. On equal
    gaps, v_j + trust / 2 (v_j - v_i), a share of Adams and Bashforth's method, is stable up to z = 2 / (1 + trust): a line
    up to 1, the last value up to 2 (Hairer & Wanner, Solving Ordinary Differential Equations II, V.1). The share is ours.
    """
    if end <= 0 or start <= 0:
        return 0.0
    stiffness = abs(guidance * log(start / end))
    return min(1.0, max(0.0, (2.0 / stiffness if stiffness else inf) - 1.0))


def extrapolate(values: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """sum_i w_i v_i for weights that sum to 1, as a new tensor in the values' dtype; the newest value stands last.

    As what the older ones are away from it: in half precision w_0 v_0 alone would be rounded as coarsely as w_0 is large, or
    overflow.
    """
    *older, newest = values
    if not older:
        return newest.clone()
    total = older[0] - newest
    torch.add(newest, total, alpha=weights[0], out=total)
    for value, weight in zip(older[1:], weights[1:]):
        total.add_(value - newest, alpha=weight)
    return total


def combine(values: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """sum_i w_i v_i of values of one shape, as a new tensor in their dtype."""
    total = values[0] * weights[0]
    for value, weight in zip(values[1:], weights[1:]):
        total.add_(value, alpha=weight)
    return total
