"""Which evaluations to compute where nothing was calibrated: a fixed schedule, from the sigmas alone."""

from collections.abc import Sequence
from itertools import pairwise
from math import inf

import numpy as np

from ..errors import BadConfig
from ..reuse.forecast import stable_trust

# Share by sigma at a shift of FULL_SHIFT or more; in proportion below, where the wild world wants less, as do most of the
# published curves of eight families (`bench.curves`).
ALPHA, FULL_SHIFT = 0.75, 8.0
# The velocity's change over the first gap, in its own size per unit of sigma, tells worlds apart: below 1 where portrait and
# sound leave little open, above it where the noise decides early.
STILL = 1.0
STILL_ALPHA = 0.9
# Of alpha, where two evaluations are computed: so both talkers are ahead of plain steps and even reuse at 8 and 10 steps of
# shift 8, and level with it at four of shift 5.
LESS_ALPHA = 0.75


def blended(
    sigmas: Sequence[float], computed: int, alpha: float | None = None, warmup: int = 1, end: bool = True
) -> tuple[int, ...]:
    """Indices [computed] of the evaluations to compute, equal quantiles of the density (1 - alpha) / N + alpha |d sigma|.

    sigmas: of the N evaluations and the end, [N + 1], as `Sampler.evaluated` gives them. alpha: 0 = even in index, 1 = even
    in sigma, None = `alpha_for` them. warmup: evaluations that are computed at the start; the quantiles begin at the last of
    them. end: whether the last evaluation is computed as well; one that another run goes on from need not be. Of two, the
    second stands for all behind it as the first does for all before, and lies nearest to the middle, more evenly in index.
    The formula is ours.
    Raises BadConfig where `computed` is not in 1..N.
    """
    count = len(sigmas) - 1
    if not 1 <= computed <= count:
        raise BadConfig(f"computed must be in 1..{count}, got {computed}")
    alpha = alpha_for(sigmas) if alpha is None else alpha
    if computed == 2:
        return 0, 1 + int(np.abs(_passed(sigmas, LESS_ALPHA * alpha)[1:count] - 0.5).argmin())
    first = max(1, min(warmup, computed - 1))
    passed, left = _passed(sigmas[first - 1 : count], alpha), computed - first
    places = np.interp(np.arange(left + 1) / max(1, left + (not end)), passed, np.arange(len(passed)))
    return (*range(first), *(first - 1 + _whole(np.diff(places), places[-1]).cumsum()).tolist())


def alpha_for(sigmas: Sequence[float]) -> float:
    """Share by sigma where none is given: in proportion to the shift s of a flow's schedule, sigma = s t / (1 + (s - 1) t)
    with t even, that goes through the first, the middle and the last of `sigmas` [N + 1], so that a part of a run is laid
    out as the whole. 0, even in index as other caches, for sigmas that are no flow's: no world of ours has such.
    """
    half = (len(sigmas) - 1) // 2
    if half < 1:
        return ALPHA
    if not _of_flow(sigmas):
        return 0.0
    # 1 / t is linear in 1 / sigma, and the middle t the mean of the two others.
    three = sigmas[0], sigmas[half], sigmas[2 * half]
    first, middle, last = sorted(1 / sigma - 1 if sigma > 0 else inf for sigma in three)
    over, under = first + last - 2 * middle, middle * (first + last) - 2 * first * last
    if last == inf:
        over, under = 1.0, middle - 2 * first
    shift = max(0.0, over / under) if under > 0 else inf
    return round(ALPHA * min(1.0, shift / FULL_SHIFT), 3)


def _whole(gaps: np.ndarray, total: float) -> np.ndarray:
    """Gaps of whole steps, at least one each, that add up to `total`, rounded: those with the largest remainders are rounded
    up. Where gaps shrink they shrink thereafter, too: one that grew again cost the wild world 2 dB (10 of 20 at shift 3).
    """
    whole, total = np.maximum(1, gaps.astype(int)), max(len(gaps), round(total))
    while whole.sum() < total:
        whole[np.round(gaps - whole, 9).argmax()] += 1
    while whole.sum() > total:
        whole[np.where(whole > 1, np.round(whole - gaps, 9), -inf).argmax()] -= 1
    return whole


def evened(
    sigmas: Sequence[float], schedule: Sequence[bool], index: int, rate: float, end: bool = True
) -> tuple[bool, ...]:
    """A schedule, per evaluation True = compute, after its second computed evaluation, which is `index`: laid out anew
    behind it with STILL_ALPHA where little changed up to it, since more will have to change later.

    sigmas: [N + 1]. rate: |v_j - v_i| / |v_j| per unit of sigma, of the velocities at the first two computed evaluations.
    end: as in `blended`. Flows only: the rate is theirs. The rule is ours.
    """
    left = sum(schedule[index + 1 :])
    if not rate < STILL or left < 1 + end or not _of_flow(sigmas):  # the last one stays where it is
        return tuple(schedule)
    found = {index + step for step in blended(sigmas[index:], left + 1, STILL_ALPHA, end=end)}
    return (*schedule[: index + 1], *(step in found for step in range(index + 1, len(schedule))))


def filled(sigmas: Sequence[float], chosen: Sequence[int], more: int, alpha: float | None = None) -> tuple[int, ...]:
    """Indices of at most `more` evaluations between those in `chosen`, which rise, each nearest to the middle of the widest
    gap that is left, in the measure of `blended`. sigmas: [N + 1].
    """
    passed = _passed(sigmas[:-1], alpha_for(sigmas) if alpha is None else alpha)
    taken, found = list(chosen), []
    for _ in range(more):
        gaps = [(a, b) for a, b in pairwise(sorted(taken)) if b - a > 1]
        if not gaps:
            break
        # Rounded, so that of equals the first is taken.
        start, end = max(gaps, key=lambda gap: round(passed[gap[1]] - passed[gap[0]], 9))
        middle = (passed[start] + passed[end]) / 2
        found.append(min(range(start + 1, end), key=lambda step: round(abs(passed[step] - middle), 9)))
        taken.append(found[-1])
    return tuple(sorted(found))


def _of_flow(sigmas: Sequence[float]) -> bool:
    return max(sigmas) <= 1 + 1e-3


def _passed(sigmas: Sequence[float], alpha: float) -> np.ndarray:
    """Share of the density that lies before each of the evaluations at these sigmas."""
    path = np.abs(np.diff(np.asarray(sigmas, dtype=np.float64))).cumsum()
    index = np.arange(1, len(path) + 1) / max(1, len(path))
    share = path / path[-1] if len(path) and path[-1] > 0 else index
    return np.concatenate([[0.0], (1 - alpha) * index + alpha * share])


def gap_trust(schedule: Sequence[bool], sigmas: Sequence[float], index: int, guidance: float) -> float:
    """`forecast.stable_trust` of the gap that begins at evaluation `index`; sigmas: [N + 1].

    A gap that nothing is computed behind ends at its last evaluation where it leads to 0: what that one gets wrong no
    other sees.
    """
    later = (step for step in range(index, min(len(schedule), len(sigmas))) if schedule[step])
    end = sigmas[next(later, -1 if sigmas[-1] > 0 else -2)]
    return stable_trust(sigmas[min(index, len(sigmas)) - 1], end, guidance)
