"""Lagrange extrapolation, by hand."""

import math

import pytest
import torch

from synccache_core.config import MAX_GAIN
from synccache_core.reuse.forecast import bounded_weights, combine, extrapolate, lagrange_weights, stable_trust


def test_orders_by_hand():
    assert lagrange_weights([3], 7) == [1.0]
    # a line through steps 0 and 2, at 4: as far again, so twice the newer minus the older
    assert lagrange_weights([0, 2], 4) == pytest.approx([-1.0, 2.0])
    # a parabola through three equal steps: f(3) = f0 - 3 f1 + 3 f2
    assert lagrange_weights([0, 1, 2], 3) == pytest.approx([1.0, -3.0, 3.0])


@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_polynomial_of_that_order_is_continued_exactly(order):
    anchors = [0, 1.5, 5][: order + 1]

    def f(step):
        return 3.0 - 2.0 * step * (order >= 1) + 5.0 * step**2 * (order >= 2)

    got = sum(w * f(a) for w, a in zip(lagrange_weights(anchors, 7), anchors))
    assert got == pytest.approx(f(7))


def test_far_extrapolation_falls_to_a_lower_order():
    # anchors one step apart, ten ahead: a line would weigh 11 and -10
    assert bounded_weights([9, 10], 20, MAX_GAIN) == [1.0]
    assert bounded_weights([0, 9, 10], 11, MAX_GAIN) == pytest.approx(lagrange_weights([0, 9, 10], 11))
    assert len(bounded_weights([0, 1, 2], 5, MAX_GAIN)) == 2
    assert len(bounded_weights([0, 1, 2], 5, float("inf"))) == 3


def test_combine_makes_a_new_tensor_in_the_given_dtype():
    values = [torch.tensor([1.0, 2.0]).half(), torch.tensor([3.0, 5.0]).half()]
    out = combine(values, [-1.0, 2.0])
    assert out.tolist() == [5.0, 8.0] and out.dtype == torch.float16
    assert values[0].tolist() == [1.0, 2.0]


def test_trust_scales_what_older_anchors_add():
    assert bounded_weights([0, 1], 2, MAX_GAIN, 0.25) == pytest.approx([-0.25, 1.25])
    assert bounded_weights([0, 1], 2, MAX_GAIN, 0.0) == [0.0, 1.0]
    assert bounded_weights([0, 1, 2], 3, MAX_GAIN, 0.5) == pytest.approx([0.5, -1.5, 2.0])


def test_a_stiff_gap_is_extrapolated_less():
    # z = 6 ln(.727 / .585) = 1.30: 2 / 1.30 - 1 = .53; ln 2 = .693: z = 4.2 at 6, 1.04 at 1.5, .69 at 1
    assert stable_trust(0.727, 0.585, 6.0) == pytest.approx(0.534, abs=1e-3)
    assert stable_trust(0.8, 0.4, 6.0) == 0.0 and stable_trust(0.8, 0.4, 1.0) == 1.0
    assert stable_trust(0.8, 0.4, 1.5) == pytest.approx(0.924, abs=1e-3) == stable_trust(0.4, 0.8, 1.5)
    assert stable_trust(0.8, 0.8, 6.0) == 1.0 and stable_trust(0.8, 0.0, 1.0) == 0.0 and stable_trust(0.8, 0.4, 0.0) == 1.0
    assert stable_trust(0.8, 0.4, -6.0) == 0.0


@pytest.mark.parametrize("stiffness", [0.5, 1.0, 1.2, 1.5, 1.9])
def test_the_share_is_the_most_that_is_stable(stiffness):
    """x' = -z x with v_j + share / 2 (v_j - v_i) on equal gaps: bounded with it, growing with more."""
    def after(share):
        before, x = 1.0, 1.0
        for _ in range(400):
            before, x = x, x - stiffness * ((1 + share / 2) * x - share / 2 * before)
        return abs(x)

    share = stable_trust(1.0, math.exp(-stiffness), 1.0)
    assert after(share - 0.01) < 2.0
    assert share == 1.0 or after(share + 0.05) > 10.0


def test_extrapolation_in_half_precision_is_rounded_once_and_does_not_overflow():
    """-4 x 15000 is no number of float16, and of bfloat16 3.3 x 1 would be off by a quarter of a per cent of all."""
    same = [torch.full((3,), 15000.0).half()] * 2
    assert extrapolate(same, [-4.0, 5.0]).tolist() == [15000.0] * 3
    old, new = (torch.rand(4096, generator=torch.Generator().manual_seed(seed)) * 0.05 + 1 for seed in (1, 2))
    halves = [old.bfloat16(), new.bfloat16()]
    truth = 4.3 * halves[1].double() - 3.3 * halves[0].double()
    assert ((extrapolate(halves, [-3.3, 4.3]).double() - truth).norm() / truth.norm()) < 0.002
    three = [torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([4.0])]
    assert extrapolate(three, [1.0, -3.0, 3.0]).item() == pytest.approx(7.0) and three[0].item() == 1.0
    alone = torch.tensor([5.0])
    assert extrapolate([alone], [1.0]).add_(1).item() == 6.0 and alone.item() == 5.0
