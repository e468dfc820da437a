"""Evaluations of real samplers' patterns, placed on the schedule."""

import pytest

from synccache_core.clock import Clock

GRID = [1.0 - i / 10 for i in range(11)]


def ticks(sigmas, schedule=GRID):
    clock = Clock(schedule)
    return [clock.tick(s) for s in sigmas]


def test_one_evaluation_per_step():
    got = ticks(GRID[:-1])
    assert [t.position for t in got] == list(range(10))
    assert {t.expected for t in got} == {10}
    assert [t.last for t in got] == [False] * 9 + [True]


def test_heun_repeats_sigmas_and_doubles_the_expectation():
    sigmas = [1.0] + [s for s in GRID[1:-1] for _ in range(2)]  # 19 evaluations
    got = ticks(sigmas)
    assert got[-1].index == 18 and got[-1].last and got[-2].last
    assert got[5].expected == 20
    assert not got[-3].last


def test_midpoints_lie_between_steps():
    sigmas = [s for a, b in zip(GRID, GRID[1:]) for s in (a, (a + b) / 2)]
    got = ticks(sigmas)
    assert [t.position for t in got[:4]] == pytest.approx([0, 0.5, 1, 1.5], abs=1e-6)
    assert got[-1].last and got[10].expected == 20


def test_sigma_above_below_and_rising():
    got = ticks([2.0, 0.5, 0.7, 0.001])
    assert [t.position for t in got] == pytest.approx([0, 5, 3, 9])
    assert got[-1].last


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_short_schedules_end_on_a_last_step(steps):
    schedule = [1.0 - i / steps for i in range(steps + 1)]
    got = ticks(schedule[:-1], schedule)
    assert got[-1].last and sum(t.last for t in got) == 1


def test_equal_sigmas_in_a_schedule_divide_by_nothing():
    assert ticks([0.5, 0.5], [0.5, 0.5, 0.5])[0].position >= 0


def test_the_move_of_a_step_is_known_where_the_evaluation_is_that_step():
    clock = Clock([1.0, 0.6, 0.1, 0.0])
    moves = [clock.move(clock.tick(sigma)) for sigma in (1.0, 0.6, 0.3)]
    assert moves[:2] == [pytest.approx(-0.4), pytest.approx(-0.5)] and moves[2] is None
    assert clock.move(clock.tick(0.0)) is None and Clock([0.5]).move(Clock([0.5]).tick(0.5)) is None
