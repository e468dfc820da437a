"""Extrapolate a residual in sigma from its last computed values (order 0: reuse, 1: line, 2: parabola)."""

from collections.abc import Sequence

import torch


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


def combine(values: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """sum_i w_i v_i as a new tensor in the values' dtype."""
    total = values[0] * weights[0]
    for value, weight in zip(values[1:], weights[1:]):
        total.add_(value, alpha=weight)
    return total
