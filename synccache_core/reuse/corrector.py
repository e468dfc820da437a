"""Retro-correction: what a computed step is given beside its true output, so that a gap before it is made up for.

Between computed steps i < j a gap t of reused steps was given outputs u_t. When y_j is known, the gap can be interpolated,
p_t, instead of extrapolated. A sampler is linear in what it is given: output l moves its position at evaluation k by R[k][l]
(`samplers.response`). What is added, d_j to y_j and its echoes d_{j+1}, d_{j+2}, ... to what follows, puts every position
from x_{j+1} on where it would have been, had the gap used p_t:

    sum_{l=j}^{k-1} R[k][l] d_l = sum_t R[k][t] (p_t - u_t)    for k = j + 1, j + 2, ..., solved in this order

Euler moves by (sigma' - sigma) v at once and for good, so that there are no echoes; UniPC moves too far at first, and takes
it back over some steps. This is UniPC's corrector (arXiv 2302.04867) for a cache.

y_j itself was seen from a position that the gap had left off by e, and a model takes part of that back: with J = d denoised
/ dx it is off by k e, k = (1 - J) / sigma, and giving it back the whole of e would do so twice. So what is meant above are
y_j + k e and p_t + w_t k e, w_t being y_j's weight in p_t, and

    e = sum_t R[j][t] (p_t - u_t) / (1 - k sum_t R[j][t] w_t)

y_j + k e also is what the forecasts after it start from. The formulas are ours; for J see `followed`.
"""

from collections.abc import Sequence

import torch

from ..model.samplers import ECHOES, Response
from ..model.tick import Tick
from .forecast import bounded_weights, combine

# Computed outputs behind the newest one: a line, or a parabola through three points, which on a mixture of Gaussians is
# nearer than a line by up to 12 dB, and than a cubic by up to 7.
CORRECTOR_ANCHORS = 2
# Deviation of the results that prompt and sound leave open, the latents' own being 1: between what serves a world where they
# leave nothing open, and one where they leave much.
SPREAD = 0.5
Anchors = Sequence[tuple[float, torch.Tensor]]


def followed(sigma: float) -> float:
    """J, the share of an error in x that shows in the denoised result: that of a Gaussian of deviation SPREAD under
    x = (1 - sigma) data + sigma noise, near 0 among noise and 1 near the end."""
    kept = (1 - sigma) * SPREAD**2
    return min(1.0, kept / ((1 - sigma) * kept + sigma**2))


class EulerCorrector:
    """Exact for the Euler update, whatever the outputs of the gap came from. near: how many anchors p_t takes. Tensors are
    of one shape, which may be any.

    shift: k e of the gap that `close` closed last, to be added to the anchor that closed it; None = nothing.
    """

    def __init__(self, near: int, max_gain: float):
        self._near, self._max_gain = near, max_gain
        self.clear()

    @property
    def bytes(self) -> int:
        return _bytes(self._moved)

    @property
    def open(self) -> bool:
        """Whether there is a gap to make up for."""
        return bool(self._gap) and self._known

    def reused(self, tick: Tick, velocity: torch.Tensor, anchors: Anchors, trust: float = 1.0) -> None:
        """The sampler was given `velocity` at a reused evaluation; there is no correction where its move is not known.
        trust: share of the extrapolation that the forecast took."""
        if tick.move is None:
            self._known = False
        if self._known:
            self._gap.append((tick.position, tick.move))
            self._moved = velocity * tick.move if self._moved is None else self._moved.add_(velocity, alpha=tick.move)

    def close(self, tick: Tick, velocity: torch.Tensor, anchors: Anchors) -> torch.Tensor:
        """d_j = e / move + k e, with p through the newest anchors and (position, velocity)."""
        points, slope = newest(anchors, tick.position, velocity, self._near), (1 - followed(tick.seen)) / tick.seen
        total = [0.0] * len(points)
        for at, step in self._gap:
            _add(total, bounded_weights([p for p, _ in points], at, self._max_gain), step)
        error = combine([v for _, v in points], total).sub_(self._moved).div_(1 - slope * total[-1])
        self.shift = error * slope
        return error.mul_(1 / tick.move + slope)

    def echo(self) -> None:
        """There is none."""

    def forget(self) -> None:
        """The gap is closed, or cannot be."""
        self._gap: list[tuple[float, float]] = []
        self._moved: torch.Tensor | None = None
        self._known, self.shift = True, None

    def clear(self) -> None:
        self.forget()


class MultistepCorrector:
    """For samplers whose response is known. forecast: whether outputs u_t were forecast from the anchors by
    `bounded_weights`; others, the model's own with reused residuals, are held until the gap is closed. Tensors as above.
    """

    def __init__(self, near: int, max_gain: float, response: Response, forecast: bool = True):
        self._near, self._max_gain, self._response, self._forecast = near, max_gain, response, forecast
        self.clear()

    @property
    def bytes(self) -> int:
        return sum(map(_bytes, [*self._echoes, *self._held]))

    @property
    def open(self) -> bool:
        return bool(self._gap) and self._known

    def reused(self, tick: Tick, velocity: torch.Tensor, anchors: Anchors, trust: float = 1.0) -> None:
        if tick.move is None or tick.index >= len(self._response) - 1:
            self._known = False
        used = []
        if self._forecast:
            used = [*bounded_weights([at for at, _ in anchors], tick.position, self._max_gain, trust), 0.0]
        else:
            self._held.insert(0, velocity)
        self._gap.append((tick.index, tick.position, used))

    def close(self, tick: Tick, velocity: torch.Tensor, anchors: Anchors) -> torch.Tensor | None:
        """d_j, None where no output of this step moves x; its echoes are kept for the evaluations to come, together with
        those of the gaps before.
        """
        values = [*self._held, *(v for _, v in anchors), velocity]
        points = [at for at, _ in newest(anchors, tick.position, velocity, self._near)]
        row, slope = self._response[tick.index], (1 - followed(tick.seen)) / tick.seen  # k
        part = slope / (1 - slope * self._newest_share(row, points))
        shift = [e * part for e in self._effect(row, points, len(values))]  # k e, see above, as weights of the values
        self.shift = combine(values, shift)
        found = self._solved(tick.index, points, shift)
        for place, weights in enumerate(found[1:]):
            if place < len(self._echoes):
                self._echoes[place].add_(combine(values, weights))
            else:
                self._echoes.append(combine(values, weights))
        return combine(values, found[0]) if found else None

    def echo(self) -> torch.Tensor | None:
        """What belongs to this evaluation of gaps that were closed before, of a velocity's shape; None where nothing does.
        Asked for once at each."""
        return self._echoes.pop(0) if self._echoes else None

    def forget(self) -> None:
        self._gap: list[tuple[int, float, list[float]]] = []
        self._held: list[torch.Tensor] = []  # of the gap, newest first
        self._known, self.shift = True, None

    def clear(self) -> None:
        self.forget()
        self._echoes: list[torch.Tensor] = []

    def _solved(self, index: int, points: Sequence[float], shift: Sequence[float]) -> list[list[float]]:
        """d_j and its echoes as weights of what is held, the anchors and the newest output. shift: k e in those weights."""
        rows, found = self._response, []
        for last in range(index, min(index + 1 + ECHOES, len(rows) - 1)):
            row = rows[last + 1]
            if not row[last]:  # an output that moves nothing cannot make up for anything
                break
            share = row[index] + self._newest_share(row, points)
            left = [e + share * k for e, k in zip(self._effect(row, points, len(shift)), shift)]
            for passed, weights in enumerate(found):
                left = [e - row[index + passed] * w for e, w in zip(left, weights)]
            found.append([e / row[last] for e in left])
        return found

    def _newest_share(self, row: Sequence[float], points: Sequence[float]) -> float:
        """sum_t R[k][t] w_t, row R[k]."""
        return sum(row[index] * bounded_weights(points, at, self._max_gain)[-1] for index, at, _ in self._gap)

    def _effect(self, row: Sequence[float], points: Sequence[float], count: int) -> list[float]:
        """sum_t R[k][t] (p_t - u_t), row R[k]."""
        total = [0.0] * count
        for place, (index, at, used) in enumerate(reversed(self._gap)):
            _add(total, bounded_weights(points, at, self._max_gain), row[index])
            if self._forecast:
                _add(total, used, -row[index])
            else:
                total[place] -= row[index]
        return total


def newest(anchors: Anchors, position: float, velocity: torch.Tensor, near: int) -> list[tuple[float, torch.Tensor]]:
    """The points (position, velocity of any one shape) that p_t goes through, `near` + 1 at most, newest last."""
    return [*(a for a in anchors if a[0] < position), (position, velocity)][-near - 1 :]


def _add(total: list[float], weights: Sequence[float], factor: float) -> None:
    """Weights are those of the last values."""
    for i, weight in enumerate(reversed(weights)):
        total[-1 - i] += factor * weight


def _bytes(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None else tensor.numel() * tensor.element_size()
