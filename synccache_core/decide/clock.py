"""The step clock: counts model evaluations and places each on the sigma schedule.

Samplers differ: Euler evaluates once per step, Heun twice with repeated sigmas, dpm_2 also off the grid. So a step is an
evaluation, never "the same sigma as the schedule's", and how many there will be is known of each sampler.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from ..model.samplers import Sampler
from ..model.tick import Tick

END = 1.5e-3  # a schedule that falls this far falls to 0: ComfyUI's uni_pc writes 0.001 there


class Clock:
    """sigmas: the run's schedule, N + 1 values for N steps, the final one (usually 0) included. They fall, or rise where a
    video is turned back into noise (sign: 1); of others, positions go by count alone. sampler: whose evaluations these are.
    ends: whether the run goes all the way, rather than over a part of a schedule that another run goes on with.
    """

    def __init__(self, sigmas: Sequence[float], sampler: Sampler | None = None):
        self.sigmas = [float(s) for s in sigmas]
        self.steps = max(1, len(self.sigmas) - 1)
        sampler = sampler or Sampler()
        self._per_step = sampler.per_step(self.sigmas) or [1]
        self._bounded = sampler.on_grid
        rising = self.sigmas[-1] > self.sigmas[0] if self.sigmas else False
        self.sign = 1.0 if rising else -1.0
        self._order = [self.sign * s for s in self.sigmas[: self.steps]]
        self._sorted = all(a <= b for a, b in pairwise(self._order))
        self._count = 0
        self._expected = sum(self._per_step)
        # A part of a schedule that ends above 0 is gone on with by another run, which computes its first evaluation.
        self.ends = rising or not self.sigmas or self.sigmas[-1] <= END

    def tick(self, sigma: float) -> Tick:
        position = self._position(sigma)
        if self._bounded and self._sorted:
            self._correct(position)
        self._expected = max(self._expected, self._count + 1)
        last = self._count + 1 == self._expected
        tick = Tick(self._count, sigma, position, self._expected, last, self._move(sigma))
        self._count += 1
        return tick

    def _correct(self, position: float) -> None:
        """Keep what is expected within what may still come from here, where a sampler does otherwise than is known.

        An evaluation at sigma k belongs to step k, to the one before, or, of heunpp2, to the one before that.
        """
        step = int(position)
        least = self._count + 1 + sum(self._per_step[step + 1 :])
        most = self._count + 1 + sum(self._per_step[max(0, step - 1) :])
        if max(self._per_step) == 1:
            most = least if position == step else least + 1
        self._expected = min(max(self._expected, least), most)

    def _position(self, sigma: float) -> float:
        """Index of the schedule's sigma, or a point between two indices, linear in sigma."""
        if not self._sorted:
            return float(min(self._count * self.steps // sum(self._per_step), self.steps - 1))
        low = bisect_right(self._order, self.sign * sigma + 1e-6 * max(1.0, abs(sigma))) - 1
        if low < 0:
            return 0.0
        if low >= len(self._order) - 1:
            return float(len(self._order) - 1)
        here, there = self.sigmas[low], self.sigmas[low + 1]
        fraction = (here - sigma) / (here - there) if here != there else 0.0
        return low + max(0.0, min(1.0, fraction)) if fraction > 1e-3 else float(low)

    def _move(self, sigma: float) -> float | None:
        step = self.sigmas[self._count : self._count + 2]
        return step[1] - step[0] if len(step) == 2 and math.isclose(sigma, step[0], rel_tol=1e-5) else None

    def distance_left(self, sigma: float) -> float:
        """Sum of |delta sigma| from `sigma` to the last evaluated sigma of the schedule."""
        return max(0.0, self.sign * (self.sigmas[self.steps - 1] - sigma))
