"""Evaluations of real samplers' patterns, placed on the schedule."""

from itertools import pairwise

import pytest

from synccache_core.decide.clock import Clock
from synccache_core.model.samplers import Sampler

GRID = [1.0 - i / 10 for i in range(11)]


def ticks(sigmas, schedule=GRID, sampler="euler"):
    clock = Clock(schedule, Sampler(sampler))
    return [clock.tick(s) for s in sigmas]


def test_one_evaluation_per_step():
    got = ticks(GRID[:-1])
    assert [t.position for t in got] == list(range(10))
    assert {t.expected for t in got} == {10}
    assert [t.last for t in got] == [False] * 9 + [True]


def pattern(sampler, grid):
    """Sigmas at which ComfyUI's samplers evaluate the model."""
    steps = list(pairwise(grid))
    if sampler == "heunpp2":
        return [s for i in range(len(steps)) for s in grid[i : min(i + 3, len(steps))]]
    if sampler == "sa_solver_pece":
        return [grid[0], *(s for s in grid[1:-1] for _ in range(2))]
    inner = {"heun": (0, 1), "dpm_2": (0, 0.5), "seeds_2": (0, 0.001), "seeds_3": (0, 0.001, 0.1), "euler": (0,)}[sampler]
    return [a + (b - a) * i for a, b in steps for i in (inner if b > 0 else (0,))]


@pytest.mark.parametrize("sampler", ["euler", "heun", "heunpp2", "dpm_2", "seeds_2", "seeds_3", "sa_solver_pece"])
@pytest.mark.parametrize("grid", [GRID, GRID[:5], GRID[4:], GRID[:2]])
def test_evaluations_are_known_of_each_sampler(sampler, grid):
    """Also of one that evaluates a hair's breadth below the first sigma, as SDE samplers on a flow schedule do."""
    sigmas = pattern(sampler, grid)
    got = ticks(sigmas, grid, sampler)
    assert {t.expected for t in got} == {len(sigmas)}
    assert [t.last for t in got] == [False] * (len(sigmas) - 1) + [True]


def test_midpoints_lie_between_steps():
    got = ticks([s for a, b in zip(GRID, GRID[1:]) for s in (a, (a + b) / 2)][:-1], sampler="dpm_2")
    assert [t.position for t in got[:4]] == pytest.approx([0, 0.5, 1, 1.5], abs=1e-6)
    assert got[-1].last and got[10].expected == 19


def test_sigmas_of_its_own():
    got = ticks([1.0, 0.9, 0.83, 0.8, 0.77, 0.7, 0.66, 0.5, 0.4, 0.3], sampler="dpm_fast")
    assert {t.expected for t in got} == {10} and got[-1].last and not got[-2].last


def test_more_or_fewer_evaluations_than_known_move_the_end():
    twice = ticks([s for s in GRID[:-1] for _ in range(2)])
    assert [t.last for t in twice] == [False] * 18 + [True] * 2 and twice[-1].expected == 20
    skipping = ticks(GRID[0:6] + GRID[8:-1])
    assert [t.last for t in skipping] == [False] * 7 + [True] and skipping[-1].expected == 8
    assert [t.last for t in ticks(GRID[:-1], sampler="heun")][:9] == [False] * 9  # once, where twice is known


def test_a_schedule_that_rises_counts_up():
    rising = [0.0001, *GRID[-2::-1]]
    got = ticks(rising[:-1], rising)
    assert [t.position for t in got] == list(range(10))
    assert [t.last for t in got] == [False] * 9 + [True] and Clock(rising).ends
    assert got[1].move == pytest.approx(0.1) and Clock(rising).distance_left(0.3) == pytest.approx(0.6)


def test_a_schedule_that_goes_both_ways_goes_by_count():
    got = ticks([1.0, 0.5, 0.2, 0.6, 0.3], [1.0, 0.5, 0.2, 0.6, 0.3, 0.0])
    assert [t.position for t in got] == list(range(5)) and [t.last for t in got] == [False] * 4 + [True]


@pytest.mark.parametrize(("end", "ends"), [(0.0, True), (0.001, True), (0.3, False)])
def test_a_part_that_ends_above_zero_is_gone_on_with(end, ends):
    assert Clock([1.0, 0.6, end]).ends == ends


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
    moves = [clock.tick(sigma).move for sigma in (1.0, 0.6, 0.3)]
    assert moves[:2] == [pytest.approx(-0.4), pytest.approx(-0.5)] and moves[2] is None
    assert clock.tick(0.0).move is None and Clock([0.5]).tick(0.5).move is None


STAGES = {
    "two": (0, 0.5), "three": (0, 0.5, 1), "five": (0, 0.5, 0.5, 1, 0.5), "six": (0, 0.5, 0.5, 0.3, 0.3, 0.8),
    "none at 0": (0.2, 0.8),
}  # fmt: skip


def stages(inner, grid, until=99):
    """Sigmas of a sampler of another extension: up to step `until` and at the last it evaluates at `inner`, of each step."""
    found = []
    for step, (a, b) in enumerate(pairwise(grid)):
        found += [a + (max(b, 0.002) - a) * place for place in (inner if step < until or not b else (0,))]
    return found


@pytest.mark.parametrize("inner", STAGES.values(), ids=STAGES)
def test_evaluations_of_a_sampler_that_is_not_known_are_learnt_in_its_first_step(inner):
    sigmas = stages(inner, GRID)
    got = ticks(sigmas, sampler="strange")
    assert {t.expected for t in got[len(inner) :]} == {10 * len(inner)}
    assert got[-1].last and not any(t.last for t in got[: 8 * len(inner)])


@pytest.mark.parametrize("inner", STAGES.values(), ids=STAGES)
def test_they_are_learnt_from_where_a_run_begins(inner):
    """As where a sampler goes on from another run's step, on the whole schedule."""
    got = ticks(stages(inner, GRID[6:]), sampler="strange")
    assert {t.expected for t in got[len(inner) :]} == {4 * len(inner)} and got[-1].last


@pytest.mark.parametrize("inner", [(0, 0.5), (0, 0.5, 1)])
def test_a_multistep_sampler_takes_more_evaluations_at_its_start_and_end(inner):
    """One more step, and nothing more is thought to come at each; the end is seen where it begins, and where it ends."""
    sigmas, more = stages(inner, GRID, until=2), len(inner)
    got = ticks(sigmas, sampler="strange")
    assert {t.expected for t in got[2 * more + 1 : -more]} == {2 * more + 8} and got[-1].last
    assert [t.last for t in got].index(True) == len(sigmas) - more


def test_what_is_expected_is_laid_out_behind_what_came():
    clock = Clock(GRID[:4] + [0.0], Sampler("strange"))
    for sigma in (1.0, 0.95, 0.9, 0.85):
        clock.tick(sigma)
    assert clock.evaluated == pytest.approx([1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.35, 0.0])


def test_a_sampler_that_adds_noise_before_every_evaluation_goes_by_count():
    grid = [1 - step / 10 for step in range(11)]
    found = ticks([sigma * (1.4 - step / 25) for step, sigma in enumerate(grid[:-1])], grid, "of another extension")
    assert [tick.position for tick in found] == list(range(10))
    assert {tick.expected for tick in found} == {10} and [tick.last for tick in found] == [False] * 9 + [True]
