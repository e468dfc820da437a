"""The step clock: counts model evaluations and places each on the sigma schedule.

Samplers differ: Euler evaluates once per step, Heun twice with repeated sigmas, dpm_2 also off the grid. So a step is an
evaluation, never "the same sigma as the schedule's", and how many there will be is known of each sampler of the host. Of
those of other extensions, which may take six in a step, it is learnt while they run.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from ..model.samplers import Sampler, spread
from ..model.tick import Tick

END = 1.5e-3  # a schedule that falls this far falls to 0: ComfyUI's uni_pc writes 0.001 there
ABOVE = 1e-3  # how far above the schedule's first sigma one is still that


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
        self._bounded, self._counted = sampler.on_grid, sampler.counted
        self._begun: dict[int, int] = {}  # step -> evaluations before it, of a sampler that is not known
        self._first, self._inside = 0, False  # see `_learn`
        self._seen: list[float] = []
        rising = self.sigmas[-1] > self.sigmas[0] if self.sigmas else False
        self.sign = 1.0 if rising else -1.0
        self._order = [self.sign * s for s in self.sigmas[: self.steps]]
        self._sorted = all(a <= b for a, b in pairwise(self._order))
        self._count = 0
        self._known, self._expected = list(self._per_step), sum(self._per_step)
        # A part of a schedule that ends above 0 is gone on with by another run, which computes its first evaluation.
        self.ends = rising or not self.sigmas or self.sigmas[-1] <= END

    @property
    def surprised(self) -> bool:
        """Whether the run takes more or fewer evaluations than are known of its sampler, as far as can be told."""
        return self._per_step != self._known or self._expected != sum(self._known)

    @property
    def several(self) -> bool:
        """Whether a step takes more than one evaluation, of a sampler of which that was not known."""
        return self._per_step != self._known

    @property
    def evaluated(self) -> list[float]:
        """Sigmas of all evaluations, those that came and those that are expected, and the end: [expected + 1]."""
        laid = spread(self.sigmas, self._per_step)
        if not self.surprised:
            return laid
        left = self._expected - self._count
        missing = [self._seen[-1]] * max(0, left + 1 - len(laid))
        return [*self._seen, *missing, *laid[max(0, len(laid) - 1 - left) :]]

    def tick(self, sigma: float, told: float | None = None) -> Tick:
        """The next evaluation. sigma: of the sampler. told: see `Tick`."""
        position = self._position(sigma)
        step = int(position)
        begins = math.isclose(sigma, self.sigmas[min(step, len(self.sigmas) - 1)], rel_tol=1e-3) if self.sigmas else True
        learns = self._bounded and self._sorted and not self._counted
        if learns:
            self._learn(step, begins)
        if self._bounded and self._sorted:
            self._correct(position)
        self._expected = max(self._expected, self._count + 1)
        # Of a sampler that is not known the last step may take one evaluation, or as many as the others.
        last = self._count + 1 == self._expected or learns and begins and step == self.steps - 1
        move = self._move(sigma)
        if move and told is not None:  # x moves by (x - denoised) / sigma, which is less or more than the model's velocity
            move *= told / sigma
        tick = Tick(self._count, sigma, position, self._expected, last, move, told)
        self._count += 1
        self._seen.append(sigma)
        return tick

    def _learn(self, step: int, begins: bool) -> None:
        """A step takes as many evaluations as one of the last two did, or as it has by now. begins: whether this one is at
        its first sigma, where the last one of the step before may be too; a step begins with the last of these. Where the
        second evaluation of the run lay inside its step, one that the next step's first follows was the only one.
        """
        count, most = self._count, self._per_step[-1]
        if count < 2:
            self._first, self._inside = step if not count else self._first, not begins
        if step < self._first:
            return
        if self._inside and begins and count - self._begun.get(step - 1, count) == 1:
            self._begun, most = {step - 1: count - 1}, 1
        begun = self._begun
        if begins or step not in begun:
            begun[step] = count
        start = begun[step] if step > self._first else 0
        took = [begun[k + 1] - begun[k] for k in (step - 1, step - 2) if k in begun and k + 1 in begun]
        found = max(count + 1 - start, *took, 1 if len(took) == 2 else most)
        if found != self._per_step[-1]:
            self._per_step[step:] = [found] * (self.steps - step)
            self._expected = start + sum(self._per_step[step:])

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
        """Index of the schedule's sigma, or a point between two indices, linear in sigma. A sampler that goes on
        among more noise than the schedule begins with adds some before every evaluation: its sigmas do not tell where it is.
        """
        first = self.sigmas[0] if self._count and self._bounded else None
        if first is not None and self.sign * (sigma - first) < -ABOVE * abs(first):
            self._sorted = False
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
