"""The paper's boundaries, by hand and against every other way to cut."""

from itertools import combinations

import numpy as np
import pytest
import torch

from synccache_core.planning.gamma import Gamma, boundaries


def states(*values: float) -> list[torch.Tensor]:
    return [torch.full((1, 2, 1), value) for value in values]


def test_gamma_by_hand():
    found = Gamma(4)
    assert found.matrix() is None
    found.add("cond", states(0, 0, 2, 5), states(0, 1, 4, 9))  # residuals: 1: 1, 2: 2, 3: 4; 1..2: 4 - 0, 2..3: 9 - 2, ...
    assert found.matrix() is None  # one step says nothing
    found.add("cond", states(0, 0, 2, 5), states(0, 2, 4, 8))
    expected = np.zeros((4, 4))
    expected[1, 1:] = [1 / 1, 0 / 4, 1 / 9]
    expected[2, 2:] = [0 / 2, 1 / 7]
    expected[3, 3] = 1 / 4
    assert found.matrix() == pytest.approx(expected)
    found.add("uncond", states(1, 1, 1, 1), states(2, 2, 2, 2))  # another branch starts anew
    assert found.matrix() == pytest.approx(expected)


def test_a_residual_of_nothing_gives_no_matrix():
    found = Gamma(4)
    for _ in range(2):
        found.add("cond", states(0, 0, 0, 0), states(0, 0, 0, 0))
    assert found.matrix() is None


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_boundaries_are_the_best_of_all(count):
    gamma = np.random.default_rng(3).random((8, 8))

    def cost(cuts):
        ends = [1, *cuts, 8]
        return sum(gamma[a, b - 1] for a, b in zip(ends, ends[1:]))

    best = min(combinations(range(2, 8), count - 1), key=cost)
    ends = [1, *best, 8]
    assert boundaries(gamma, count) == tuple(tuple(range(a, b)) for a, b in zip(ends, ends[1:]))
