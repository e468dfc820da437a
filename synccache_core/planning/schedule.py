"""Which steps to compute and which residuals to keep: two dynamic programmes over a recorded run. No torch.

Steps. Between computed steps j and k a gap is forecast from the last order + 1 computed steps ..., i, j. It displaces x by

    e(..., i, j -> k) = sum_{j < t < k} (sigma_{t+1} - sigma_t) (f(t) - y_t),

and the error of a run is the sum of its gaps. With retro-correction the gap is replaced, once y_k is known, by what is
interpolated from i, j, k; the extrapolated error then only stands while y_k is computed. The idea of a path over triples of
computed steps is DPCache's (arXiv 2602.22654) and of corrected outputs UniPC's (arXiv 2302.04867); the cost is ours.

Segments. Merging segments a..b freezes the audio refreshes between them: c(a, b) = || sum_{a <= l < b} dA_l ||.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..config import MAX_GAIN, MAX_ORDER
from ..decide.schedules import evened
from ..errors import BadConfig
from ..model.layout import Layout
from ..sentences import say
from .trajectory import Trajectory, forecast_weights, square_root

# What the errors of gaps, each the norm of its displacement, count for. These had the best rank correlation with the
# measured error on flows to mixtures of Gaussians (0.97; the norm of the summed gap vectors 0.90, since real dynamics do not
# let gaps cancel), and the better schedules without correction. Sizes come out too large by up to 4 times there, because the
# flow forgets early errors; see `recipes.Tried`.
POWER = 2.0  # p of the p-norm over gaps; 1 is the triangle inequality, 2 takes gaps as orthogonal
TRANSIENT = 0.1  # weight of the extrapolated error of a gap that is corrected later
MAX_RUN = 32  # reused steps in a row, `Config.max_reuse_run`


@dataclass(frozen=True)
class Variant:
    """What a reused step does. level: what is forecast. order: of the forecast. correction: retro-correction."""

    level: Literal["output", "residual"] = "output"
    order: int = 1
    correction: bool = False


@dataclass(frozen=True)
class Solution:
    """Best schedules of one variant, by number n of computed steps: errors [T + 1], inf and None where there is none.

    An error is the p-norm of the gaps' costs, relative to the displacement: a predicted relative L2 of the final latent.
    """

    variant: Variant
    errors: np.ndarray
    schedules: tuple[tuple[int, ...] | None, ...]


def solve_steps(reused: Trajectory, variant: Variant, output: Trajectory | None = None) -> Solution:
    """The best n of T steps to compute, for every n at once; step 0 is always one of them.

    reused: trajectory of what is forecast. output: that of the model's output, which correction interpolates; None = the
    same. D_j[n, ..., i] is the least error before computed step j, the n-th, with computed steps ..., i before it:

        D_k[n + 1, ..., j] = min over the oldest anchor of D_j[n, ...] + C_j[..., k].

    Histories that are too short repeat step 0. Order o takes O(T^{o+3}) time for o >= 1, with O(T^{o+1} r) memory for
    errors of r numbers; order 0 is solved as order 1 with equal costs. Raises BadConfig for an order out of 0..2.
    """
    output = output or reused
    if variant.order not in range(MAX_ORDER + 1):
        raise BadConfig(f"order must be a whole number in 0..{MAX_ORDER}, got {variant.order!r}")
    steps, held = reused.steps, max(1, variant.order)
    least = [np.full((j + 2, *(max(1, j),) * held), np.inf) for j in range(steps)]
    least[0][1] = 0.0
    oldest = []
    errors: np.ndarray = np.full(steps + 1, np.inf)  # of the best path with each count
    ends: list[tuple[int, tuple[int, ...], int] | None] = [None] * (steps + 1)  # its (count, older anchors, newest one)
    for j in range(steps):
        total = least[j][..., None] + gap_costs(reused, output, variant, j)
        reached = total.min(1)
        oldest.append(total.argmin(1))
        older = (slice(max(1, j)),) * (held - 1)
        for k in range(j + 1, steps):
            least[k][(slice(1, j + 3), *older, j)] = reached[..., k - j - 1]  # [count, older anchors, newest one]
        for count, table in enumerate(total[..., -1]):
            best = np.unravel_index(table.argmin(), table.shape)
            if table[best] < errors[count]:
                errors[count], ends[count] = table[best], (count, tuple(map(int, best)), j)
    return Solution(variant, errors ** (1 / POWER), tuple(_trace(oldest, end) for end in ends))


def _trace(oldest: list[np.ndarray], end: tuple[int, tuple[int, ...], int] | None) -> tuple[int, ...] | None:
    """Follow the oldest anchors back from the end of a path to step 0."""
    if end is None:
        return None
    count, older, newest = end
    path = [newest]
    while count > 1:
        count, before = count - 1, older[-1]
        first = oldest[before][(count, *older[:-1], newest - before - 1)]
        older, newest = (int(first), *older[:-1]), before
        path.append(newest)
    return tuple(reversed(path))


def gap_costs(reused: Trajectory, output: Trajectory, variant: Variant, j: int) -> np.ndarray:
    """C_j[..., k - j - 1]: cost of the gap from computed step j to each k in j+1..T (T = the end, no correction there).

    The leading axes are the older anchors, each 0..j-1 (one axis of length 1 for order 0). To the power of the norm.
    """
    steps, older = reused.steps, _older(j, variant.order)
    anchors = np.concatenate([older, np.full((*older.shape[:-1], 1), j)], -1)
    cost = np.zeros((*older.shape[:-1], steps - j))
    cost[..., 1:] = _sizes_so_far(reused, anchors, np.arange(j + 1, steps))
    if variant.correction:
        cost[..., :-1] = TRANSIENT * cost[..., :-1] + _corrected(output, older, j)
    cost[..., MAX_RUN + 1 :] = np.inf
    return cost.reshape((1, -1) if variant.order == 0 else cost.shape) ** POWER


def _older(j: int, order: int) -> np.ndarray:
    """Every choice of the `order` anchors before j, [..., order]; step 0 alone where there is none."""
    return np.moveaxis(np.indices((max(1, j),) * order), 0, -1) if order else np.zeros((0,), dtype=int)


def _sizes_so_far(path: Trajectory, anchors: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Size of a gap after each of its steps `at`: anchors [..., m] -> [..., t]."""
    moves = path.moves[at, None]
    weights = (moves * forecast_weights(anchors, at, MAX_GAIN)).cumsum(-2)
    return np.linalg.norm(weights @ path.y[anchors] - (moves * path.y[at]).cumsum(0), axis=-1)


def _corrected(output: Trajectory, older: np.ndarray, j: int) -> np.ndarray:
    """Size of what interpolation leaves of the gap before each computed k: [..., k], k in j+1..T-1."""
    at = np.arange(j + 1, output.steps)
    known = older[..., -1:] if older.shape[-1] < MAX_ORDER else older[:1, :, -1:]  # i; h before it plays no part
    anchors = np.empty((*known.shape[:-1], len(at), known.shape[-1] + 2), dtype=int)
    anchors[..., :-2], anchors[..., -2], anchors[..., -1] = known[..., None, :], j, at
    before = (at[:, None] > at)[..., None]  # [k, t, 1]: only what lies before k
    moves = before * output.moves[at, None]
    weights = (moves * forecast_weights(anchors, at, MAX_GAIN)).sum(-2, keepdims=True)
    return np.linalg.norm((weights @ output.y[anchors])[..., 0, :] - (moves * output.y[at]).sum(-2), axis=-1)


def gap_sizes(
    reused: Trajectory, schedule: Sequence[int], variant: Variant, output: Trajectory | None = None
) -> np.ndarray:
    """What each gap of a schedule adds to the predicted error, [n]: their squares add up."""
    output, sizes = output or reused, []
    for position, (j, k) in enumerate(zip(schedule, [*schedule[1:], reused.steps])):
        older = tuple(([0] * variant.order + list(schedule[:position]))[position:]) if variant.order else (0,)
        sizes.append(gap_costs(reused, output, variant, j)[(*older, k - j - 1)])
    return np.array(sizes) ** (1 / POWER)


def predicted_error(
    reused: Trajectory, schedule: Sequence[int], variant: Variant, output: Trajectory | None = None
) -> float:
    """What `solve_steps` would predict for a schedule that somebody else made: relative L2 of the final latent."""
    return float((gap_sizes(reused, schedule, variant, output) ** POWER).sum() ** (1 / POWER))


def adapted(schedule: Sequence[int], output: Trajectory) -> tuple[int, ...]:
    """What becomes of a preset's schedule, see `schedules.evened`, in a run whose outputs go as the recorded ones did."""
    if len(schedule) < 2:
        return tuple(schedule)
    second, y, sigmas = schedule[1], output.y, output.sigmas
    rate = np.linalg.norm(y[second] - y[0]) / (np.linalg.norm(y[second]) * (sigmas[0] - sigmas[second]))
    found = evened(sigmas, [step in schedule for step in range(output.steps)], second, rate)
    return tuple(step for step, computed in enumerate(found) if computed)


@dataclass(frozen=True)
class Segmentation:
    """Best groups of segments by number K of stored residuals, and their staleness [S]; K = 0 stores none: inf."""

    groups: tuple[tuple[tuple[int, ...], ...], ...]
    costs: np.ndarray

    def best(self, most: int) -> int:
        """The K in 1..most of least staleness, the smallest of equals."""
        return 1 + int(self.costs[1 : most + 1].argmin())


def solve_segments(audio: np.ndarray, layout: Layout) -> Segmentation:
    """Groups as `layout.even_groups` returns them, for every K at once; segment 0 is the probe and never stored.

    audio: Gram [M, M] of the drift dA_l of the audio deltas over the mask. A group of segments a..b-1 freezes refreshes
    a..b-2, c(a, b) = || sum dA_l ||, and D[k, b] = min_a D[k - 1, a] + c(a, b): O(M^2 K). Raises BadConfig where the
    Gram does not fit the layout. The residuals' own drift is no part of c: it is the same whatever is merged, and as a cost
    it would reward merging, by the triangle inequality.
    """
    if np.shape(audio) != (len(layout.refresh),) * 2:
        raise BadConfig(f"{len(layout.refresh)} audio refreshes need a Gram of that size, got {list(np.shape(audio))}")
    total = layout.segments
    drift = square_root(audio)
    before = np.concatenate([np.zeros((1, drift.shape[1])), drift.cumsum(0)])
    first, end = np.indices((total + 1, total + 1))
    cost = np.linalg.norm(before[np.maximum(end - 1, 0)] - before[np.minimum(first, len(before) - 1)], axis=-1)
    cost[(first < 1) | (end <= first)] = np.inf
    return cheapest(cost)


def cheapest(cost: np.ndarray) -> Segmentation:
    """The contiguous groups of least total cost, for every number of them. cost [S + 1, S + 1]: c(a, b) of segments a..b-1,
    inf where there is no such group.
    """
    total = len(cost) - 1
    least, cuts = np.full((total, total + 1), np.inf), np.zeros((total, total + 1), dtype=int)
    least[0, 1] = 0.0
    for k in range(1, total):
        through = least[k - 1][:, None] + cost
        least[k], cuts[k] = through.min(0), through.argmin(0)
    groups = tuple(_groups(cuts, k, total) for k in range(total))
    return Segmentation(groups, np.concatenate([[np.inf], least[1:, total]]))


def _groups(cuts: np.ndarray, count: int, end: int) -> tuple[tuple[int, ...], ...]:
    groups = []
    for k in range(count, 0, -1):
        groups.append(tuple(range(cuts[k, end], end)))
        end = cuts[k, end]
    return tuple(reversed(groups))


def remap(schedule: Sequence[int], sigmas: Sequence[float], wanted: Sequence[float]) -> tuple[tuple[int, ...], str]:
    """The schedule of a run with sigmas `wanted` [T' + 1] that computes where this one did, and a note ("" = as it was).

    The share of computed steps is kept, n' = round(n T' / T), but of two or more at least two; they follow the old ones in
    sigma, each at the nearest free step, the first at step 0. Steps above the new start (a partial denoise) are left out.
    `wanted` may repeat sigmas, as samplers of several evaluations per step do.
    """
    steps, new = len(sigmas) - 1, np.asarray(wanted, dtype=np.float64)[:-1]
    if len(new) == steps and np.allclose(sigmas, wanted, rtol=1e-4, atol=1e-6):
        return tuple(schedule), ""
    count = min(len(new), max(min(len(schedule), 2), int(len(schedule) * len(new) / steps + 0.5)))
    held = [new[0], *(sigmas[t] for t in schedule if sigmas[t] < new[0])]
    targets = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(held)), held)
    picked = [0]
    for left, target in zip(range(count - 1, 0, -1), targets[1:]):
        free = np.arange(picked[-1] + 1, len(new) - left + 1)
        picked.append(int(free[np.abs(new[free] - target).argmin()]))
    return tuple(picked), say(
        "plan made for {theirs} evaluations at other sigmas: {computed} of {steps} are computed, at the nearest sigmas",
        theirs=steps, computed=count, steps=len(new),
    )  # fmt: skip
