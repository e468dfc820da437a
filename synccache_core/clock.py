"""The step clock: counts model evaluations and places each on the sigma schedule.

Samplers differ: Euler evaluates once per step, Heun twice with repeated sigmas, dpm_2 also off the grid. So a step is an
evaluation, never "the same sigma as the schedule's", and the number to expect is learned from the first few.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    """One evaluation. index: 0, 1, ... position: place on the schedule in steps, fractional between two sigmas.

    expected: evaluations that the whole run will take, as far as known. last: nothing may be reused here.
    """

    index: int
    sigma: float
    position: float
    expected: int
    last: bool


class Clock:
    """sigmas: the run's schedule, falling, with the final value (usually 0) included: N + 1 values for N steps."""

    def __init__(self, sigmas: Sequence[float]):
        self.sigmas = [float(s) for s in sigmas]
        self.steps = max(1, len(self.sigmas) - 1)
        self._falling = [-s for s in self.sigmas[: self.steps]]
        self._count = 0
        self._rate = 1.0

    def tick(self, sigma: float) -> Tick:
        position = self._position(sigma)
        if position > 0:
            self._rate = max(self._rate, self._count / position)
        expected = max(self._count + 1, math.ceil(self.steps * self._rate - 1e-6))
        last = position >= self.steps - 1 - 1e-4
        tick = Tick(self._count, sigma, position, expected, last)
        self._count += 1
        return tick

    def _position(self, sigma: float) -> float:
        """Index of the schedule's sigma, or a point between two indices, linear in sigma."""
        low = bisect_right(self._falling, -sigma + 1e-6 * max(1.0, abs(sigma))) - 1
        if low < 0:
            return 0.0
        if low >= len(self._falling) - 1:
            return float(len(self._falling) - 1)
        above, below = self.sigmas[low], self.sigmas[low + 1]
        fraction = (above - sigma) / (above - below) if above > below else 0.0
        return low + max(0.0, min(1.0, fraction)) if fraction > 1e-3 else float(low)

    def move(self, tick: Tick) -> float | None:
        """sigma' - sigma of the step that this evaluation is; None where it is not the one evaluation of a step."""
        step = self.sigmas[tick.index : tick.index + 2]
        return step[1] - step[0] if len(step) == 2 and math.isclose(tick.sigma, step[0], rel_tol=1e-5) else None

    def distance_left(self, sigma: float) -> float:
        """Sum of |delta sigma| from `sigma` to the last evaluated sigma of the schedule."""
        return max(0.0, sigma - self.sigmas[self.steps - 1])
