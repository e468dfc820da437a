"""Extrapolate a residual in sigma from its last computed values (order 0: reuse, 1: line, 2: parabola)."""

from collections.abc import Sequence

import torch

# Extrapolating far from anchors that lie close together multiplies whatever is rough in them. sum |w| is that factor; a
# line may reach 4 times the distance of its anchors, a parabola of equal steps once. Beyond it the order falls.
MAX_GAIN = 9.0



def lagrange_weights(anchors: Sequence[float], sigma: float) -> list[float]:
    """Weights w with sum_i w_i f(anchors_i) = the Lagrange polynomial through the anchors at `sigma`; they sum to 1.

    anchors: distinct sigmas. One anchor gives [1.0], plain reuse.
    """
    weights = []
    for i, own in enumerate(anchors):
        weight = 1.0
        for j, other in enumerate(anchors):
            if j != i:
                weight *= (sigma - other) / (own - other)
        weights.append(weight)
    return weights


def bounded_weights(anchors: Sequence[float], sigma: float, max_gain: float) -> list[float]:
    """Weights of the newest anchors (last in the list), of the highest order whose sum |w| keeps to max_gain."""
    for first in range(len(anchors)):
        weights = lagrange_weights(anchors[first:], sigma)
        if sum(map(abs, weights)) <= max_gain:
            return weights
    raise ValueError("no anchors to extrapolate from")


def combine(values: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """sum_i w_i v_i as a new tensor in the values' dtype."""
    total = values[0] * weights[0]
    for value, weight in zip(values[1:], weights[1:]):
        total.add_(value, alpha=weight)
    return total
