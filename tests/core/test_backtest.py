"""Which order forecasts best, by hand."""

import pytest
import torch

from synccache_core.reuse.backtest import Backtest


def shown(*values: float, most: int = 1, first: int = 1, names=("a",)) -> Backtest:
    """After computed evaluations at steps 0, 1, ... of these values."""
    found = Backtest(most, first, max_gain=9.0)
    for step, value in enumerate(values):
        for name in names:
            found.see(name, step, torch.full((2, 3), value))
        found.decide([float(number) for number in found.waiting()])
    return found


def test_a_line_wins_on_a_line_and_the_last_value_where_the_value_returns():
    assert shown(1.0, 2.0, 3.0).order == 1  # the line says 3, the last value 2
    assert shown(1.0, 2.0, 1.8).order == 0  # the line says 3 and is off by 1.2, the last value 2 by 0.2
    assert shown(1.0, 2.0, 2.4).order == 1  # off by 0.6 and 0.4: not better by half


def test_a_parabola_needs_three_and_wins_on_a_parabola():
    assert shown(0.0, 1.0, 4.0, 9.0, most=2).order == 2
    assert shown(0.0, 1.0, 4.0, most=2).order == 1  # with two anchors the parabola is the line: the lowest of equals


def test_the_first_order_stands_until_two_can_be_compared():
    assert shown(1.0, 2.0, first=0).order == 0 and shown(1.0, 2.0, first=1).order == 1
    assert shown(1.0, 2.0, 3.0, first=0).order == 1


def test_errors_are_summed_over_all_values_of_an_evaluation():
    found = Backtest(1, 1, max_gain=9.0)
    for step, (one, other) in enumerate([(1.0, 1.0), (2.0, 2.0), (3.0, 0.0)]):
        found.see("one", step, torch.full((4,), one))
        found.see("other", step, torch.full((4,), other))
    # order 0: |2 - 3| + |2 - 0| = 3 of each of 4 numbers; order 1: |3 - 3| + |3 - 0| = 3
    assert [float(number) for number in found.waiting()] == pytest.approx([12.0, 12.0])


def test_numbers_without_meaning_and_new_shapes_decide_nothing():
    assert shown(1.0, 2.0, float("nan"), first=0).order == 0
    found = shown(1.0, 2.0)
    found.see("a", 2, torch.zeros(5))
    assert not found.waiting()
    fixed = Backtest(1, 0, max_gain=9.0, trying=False)
    assert fixed.order == 1
