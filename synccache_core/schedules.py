"""Which evaluations to compute where nothing was calibrated: a fixed schedule, from the sigmas alone."""

from collections.abc import Sequence

import numpy as np

from .errors import BadConfig

# Evenness in sigma against evenness in index, see `blended`.
ALPHA = 0.75


def blended(sigmas: Sequence[float], computed: int, alpha: float = ALPHA) -> tuple[int, ...]:
    """Indices [computed] of the evaluations to compute, equal quantiles of the density (1 - alpha) / N + alpha |d sigma|.

    sigmas: of the N evaluations and the end, [N + 1], as `Sampler.evaluated` gives them. The first and the last evaluation
    are computed, the first alone where computed is 1. alpha: 0 = even in index, 1 = even in sigma. The formula is ours.
    Raises BadConfig where `computed` is not in 1..N.
    """
    count = len(sigmas) - 1
    if not 1 <= computed <= count:
        raise BadConfig(f"computed must be in 1..{count}, got {computed}")
    path = np.abs(np.diff(np.asarray(sigmas[:count], dtype=np.float64))).cumsum()
    index = np.arange(1, count) / max(1, count - 1)
    share = path / path[-1] if len(path) and path[-1] > 0 else index
    passed = np.concatenate([[0.0], (1 - alpha) * index + alpha * share])
    found: list[int] = []
    for number in range(computed):
        nearest = int(np.abs(passed - number / max(1, computed - 1)).argmin())
        # Distinct, with room for those that follow.
        found.append(min(max(nearest, found[-1] + 1 if found else 0), count - computed + number))
    return tuple(found)
