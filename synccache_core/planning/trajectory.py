"""A recorded trajectory through its Gram matrix: all that a planner needs of T outputs, whatever their size.

Forecasts are linear in the outputs y_t, so every error is a combination sum_t c_t y_t and its squared norm is c' G c with
G[s, t] = <y_s, y_t>. The rows of a square root of G have the same norms and angles as the outputs themselves: planning
works with those rows, vectors of at most T numbers, as if they were the trajectory.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import BadConfig

NEGATIVE = 1e-6  # a Gram summed in float32 has eigenvalues this far below zero, relative to its largest
SKETCH = 16  # axes of a sketch; with 12, plans made anew from six merged clips lost up to a tenth more
CURVE = 3  # recorded steps that a step between them is interpolated from
NOISE = 1e-13  # eigenvalues that planning can do without, relative to the largest: errors below 3e-7


@dataclass(frozen=True)
class Trajectory:
    """sigmas: [T + 1], falling strictly, the end included. y: [T, r], output of step t in units of the displacement.

    Step t of an Euler sampler moves x by (sigma_{t+1} - sigma_t) y_t; the displacement is the norm of the sum of all moves.
    """

    sigmas: np.ndarray
    y: np.ndarray

    @property
    def steps(self) -> int:
        return len(self.y)

    @property
    def moves(self) -> np.ndarray:
        """sigma_{t+1} - sigma_t, [T], all negative."""
        return np.diff(self.sigmas)


def sketch(path: Trajectory) -> tuple[tuple[float, ...], ...]:
    """The trajectory's rows on its main axes, [T, r <= SKETCH], six digits: enough to plan anew, small enough for a file."""
    values, axes = np.linalg.eigh(path.y.T @ path.y)
    rows = path.y @ axes[:, ::-1][:, :SKETCH]
    return tuple(tuple(float(f"{number:.6g}") for number in row) for row in rows)


def square_root(gram: np.ndarray) -> np.ndarray:
    """Y [T, r] with Y Y' = gram [T, T]. Raises BadConfig where gram is no Gram matrix. O(T^3)."""
    gram = np.asarray(gram, dtype=np.float64)
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or not gram.size:
        raise BadConfig(f"a Gram matrix must be square, got shape {list(gram.shape)}")
    if not np.isfinite(gram).all():
        raise BadConfig("a Gram matrix must be finite, got NaN or infinity")
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    largest = max(values[-1], 0.0)
    if np.abs(gram - gram.T).max() > NEGATIVE * largest or values[0] < -NEGATIVE * largest:
        raise BadConfig(f"a Gram matrix must be symmetric without negative eigenvalues, got {values[0]:g}")
    keep = values > NOISE * largest
    return vectors[:, keep] * np.sqrt(values[keep])


def displacement(gram: np.ndarray, sigmas: np.ndarray) -> float:
    """|| sum_t (sigma_{t+1} - sigma_t) y_t ||: how far the sampler went from noise to the result. gram: <y_s, y_t> [T, T].
    sigmas: [T + 1].
    """
    moves = np.diff(sigmas)
    return float(np.sqrt(max(0.0, moves @ gram @ moves)))


def trajectory(gram: np.ndarray, sigmas: np.ndarray) -> Trajectory:
    """The trajectory of a Gram [T, T] in units of its displacement. Raises BadConfig where it has none."""
    sigmas = np.asarray(sigmas, dtype=np.float64)
    if len(sigmas) != len(gram) + 1 or not (np.diff(sigmas) < 0).all():
        raise BadConfig(f"{len(gram)} outputs need {len(gram) + 1} strictly falling sigmas, got {sigmas.tolist()}")
    y, length = square_root(gram), displacement(gram, sigmas)
    if not length > 0:
        raise BadConfig("the recorded trajectory does not move: its displacement is 0")
    return Trajectory(sigmas, y / length)


def interpolation(sigmas: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """P [T', T] with y(wanted) = P y(sigmas): parabolas through the recorded step below and the two above, or, beyond the
    ends, through the last three. sigmas: [T], falling. Straight lines bend only at recorded steps, so that a finer run
    would seem to need those and no others.
    """
    sigmas, wanted = np.asarray(sigmas, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    count = min(CURVE, len(sigmas))
    below = np.clip((sigmas >= wanted[:, None]).sum(1), count - 1, len(sigmas) - 1)
    weights = np.zeros((len(wanted), len(sigmas)))
    for row, last, sigma in zip(weights, below, wanted):
        used = slice(last - count + 1, last + 1)
        row[used] = _lagrange(sigmas[used], np.array([sigma]))[0]
    return weights


def forecast_weights(anchors: np.ndarray, at: np.ndarray, max_gain: float) -> np.ndarray:
    """`forecast.bounded_weights` for many anchors at once.

    anchors: steps [..., m], newest last. at: steps [t]. Returns [..., t, m]; an anchor that is left out weighs 0. Equal
    anchors, the padding of a history that is too short, make sum |w| infinite, so the order falls by the same rule.
    """
    anchors, at = np.asarray(anchors, dtype=np.float64), np.asarray(at, dtype=np.float64)
    count = anchors.shape[-1]
    weights = np.zeros((*anchors.shape[:-1], len(at), count))
    weights[..., -1] = 1.0
    for first in reversed(range(count - 1)):
        used = _lagrange(anchors[..., first:], at)
        gain = np.abs(used).sum(-1)
        fits = np.isfinite(gain) & (gain <= max_gain)
        weights[fits] = 0.0
        weights[..., first:][fits] = used[fits]
    return weights


def _lagrange(anchors: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """w_i(sigma) = prod_{j != i} (sigma - a_j) / (a_i - a_j), [..., t, m]; not finite where anchors coincide."""
    count = anchors.shape[-1]
    weights = np.ones((*anchors.shape[:-1], len(sigma), count))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for i in range(count):
            for j in range(count):
                if i != j:
                    own, other = anchors[..., None, i], anchors[..., None, j]
                    weights[..., i] *= (sigma - other) / (own - other)
    return weights
