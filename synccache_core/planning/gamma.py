"""Which boundaries the paper keeps (SyncCache, arXiv 2606.30849): those whose residuals change least from step to step.

r_ab, the residual of a group of segments a..b, runs from the input of a to the output of b, the audio between them included;

    gamma_ab = sum_t |r_ab(t) - r_ab(t-1)|_1 / |r_ab(t-1)|_1      over the steps of one calibration, t - 1 computed before t,

and the n groups that minimise the sum of gamma are found by dynamic programming, see `schedule.cheapest`.
"""

from collections.abc import Hashable, Sequence

import numpy as np
import torch

from .schedule import cheapest

ROWS = 64  # tokens of the calibration's subset that stand for all


class Gamma:
    """Sums gamma over the passes of a run. segments: S of the layout, segment 0 the probe, which is no part of a group."""

    def __init__(self, segments: int):
        self._total = np.zeros((segments, segments))
        self._before: dict[Hashable, tuple[torch.Tensor, torch.Tensor]] = {}

    def add(self, key: Hashable, starts: Sequence[torch.Tensor], ends: Sequence[torch.Tensor]) -> None:
        """One branch at one step. starts, ends: input and output of every segment, [B, n, C] each, in host memory."""
        now = torch.stack([each[:, :ROWS] for each in starts]), torch.stack([each[:, :ROWS] for each in ends])
        before = self._before.get(key)
        if before is not None and before[0].shape == now[0].shape:
            for first in range(1, len(starts)):
                moved = (now[1][first:] - before[1][first:]) - (now[0][first] - before[0][first])
                size = (before[1][first:] - before[0][first]).abs().flatten(1).sum(1)
                self._total[first, first:] += (moved.abs().flatten(1).sum(1) / size).double().numpy()
        self._before[key] = now

    def matrix(self) -> np.ndarray | None:
        """gamma [S, S], of groups a..b with 1 <= a <= b; None where it is not known or has no meaning."""
        known = self._total[1:, 1:]
        return self._total.copy() if np.isfinite(known).all() and known.any() else None

    def clear(self) -> None:
        self._before.clear()


def boundaries(gamma: np.ndarray, count: int) -> tuple[tuple[int, ...], ...]:
    """The `count` contiguous groups of segments 1..S-1 with the least sum of gamma [S, S]."""
    total = len(gamma)
    cost = np.full((total + 1, total + 1), np.inf)
    first, last = np.triu_indices(total)
    cost[first, last + 1] = gamma[first, last]
    cost[0] = np.inf  # segment 0 is the probe
    return cheapest(cost).groups[count]
