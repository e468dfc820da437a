"""What replays teach: gains, shares, what to try, and how far two results of a run are apart, by hand."""

import math
from dataclasses import replace

import pytest
import torch

from synccache_core.calibration import positions
from synccache_core.choice import Planner, Style
from synccache_core.grid import Grid
from synccache_core.plan import Budget, PlanError, Scores
from synccache_core.recording import Recording, merge
from synccache_core.replay import Yardstick, landing, replayed
from synccache_core.schedule import Variant
from synccache_core.telemetry import RunReport, StepRecord
from tests.core.test_schedule import recording

BUDGET = Budget(computed=4, cache_ratio=1.0)


def tried(given, factor, speedup=2.0, style=None, **variant):
    """A plan of `given` whose replay was `factor` times as far off as predicted."""
    planner = Planner(replace(given, replays=()), style=style)
    solution = planner.solve(Variant(**variant))
    choice = planner.choice(solution, 4, 3 if variant["level"] == "residual" else 0)
    plan = planner.plan(choice, BUDGET, "0")
    return replace(plan, measured=Scores(factor * plan.predicted.error, speedup, plan.predicted.bytes))


def gain(given, level, order, correction=False, merging="freeze", probe=True):
    return given.gain(level, order, correction, merging, probe)


def test_gains_come_from_the_nearest_kind():
    given = recording()
    assert gain(given, "output", 1) == 1.0
    plans = [
        tried(given, 4.0, level="output", order=1), tried(given, 1.0, level="output", order=1),
        tried(given, 3.0, level="output", order=2), tried(given, 0.5, level="output", order=0, correction=True),
        tried(given, 0.1, level="residual", order=1, style=Style(probe=False)),
    ]  # fmt: skip
    given = replace(given, replays=tuple(plans))
    assert gain(given, "output", 1) == pytest.approx(2.0)  # geometric mean of 4 and 1
    assert gain(given, "output", 2) == pytest.approx(3.0)
    assert gain(given, "output", 0) == pytest.approx(12 ** (1 / 3))  # that order was not tried: all without correction
    assert gain(given, "output", 1, True) == pytest.approx(0.5)
    assert gain(given, "residual", 1, probe=False) == pytest.approx(0.1)
    assert gain(given, "residual", 1) == pytest.approx(4.0)  # that kind was not tried: the worst that was seen


def test_what_was_measured_decides():
    given = recording()
    before = Planner(given).choose(BUDGET)
    bad = tried(given, 50.0, level=before.variant.level, order=before.variant.order, correction=before.variant.correction)
    others = [
        tried(given, 1.0, level=level, order=1, correction=correction)
        for level in ("output", "residual") for correction in (False, True)
        if (level, correction) != (before.variant.level, before.variant.correction)
    ]  # fmt: skip
    planner = Planner(replace(given, replays=(bad, *others)))
    after = planner.choose(BUDGET)
    assert (after.variant.level, after.variant.correction) != (before.variant.level, before.variant.correction)
    worse = next(c for c in planner.candidates(4) if c.variant == before.variant)
    assert worse.error == pytest.approx(50 * before.error)
    assert math.hypot(*planner.gaps(worse)) == pytest.approx(worse.step_error)
    assert planner.plan(worse, BUDGET, "0").measured == bad.measured
    assert planner.plan(replace(worse, schedule=(0, 1, 2, 3)), BUDGET, "0").measured is None


def test_shares_follow_the_measured_speed():
    given = recording(shares={"residual": 0.3})
    # 10 steps, 4 computed: S = 10 / (4 + 6 r), so that 2.0 means r = 1 / 6
    given = replace(given, replays=(tried(given, 1.0, 2.0, level="residual", order=1),))
    assert given.reuse_share("residual", 3, "freeze", True) == pytest.approx(1 / 6)
    probeless = tried(given, 1.0, 10 / (4 + 6 * 6 / 96), style=Style(probe=False), level="residual", order=1)
    given = replace(given, replays=(probeless,))
    assert given.reuse_share("residual", 3, "freeze", False) == pytest.approx(6 / 96)
    assert given.reuse_share("residual", 3, "freeze", True) == pytest.approx(16 / 96)
    given = replace(given, replays=(tried(given, 1.0, 2.4, level="output", order=1),))
    assert given.reuse_share("output", 0, "refresh", True) == pytest.approx((10 / 2.4 - 4) / 6)


def test_styles_are_offered_once_they_were_tried():
    given = recording()
    assert {c.style for c in Planner(given).fitting(BUDGET)} == {Style()}
    half = Budget(computed=4, cache_ratio=0.5)
    kinds = [(c.variant.level, c.variant.correction) for c in Planner(given).trials(half, 4)]
    assert len(set(kinds)) == 4
    more = Planner(given).trials(half, 6)
    assert more[4].style == Style(probe=False) and more[5].style == Style("refresh") and len(more[5].groups) == 2
    assert Style("refresh") not in [c.style for c in Planner(given).trials(BUDGET, 12)]  # with all residuals it is the same
    frozen = tried(given, 1e-3, style=Style("refresh"), level="residual", order=1)
    planner = Planner(replace(given, replays=(frozen, tried(given, 1.0, level="residual", order=1))))
    assert planner.choose(half).style == Style("refresh") and planner.choose(BUDGET).style == Style()
    plan = planner.plan(planner.choose(half), half, "0")
    assert plan.merge == "refresh" and plan.probe


def test_replays_survive_json_and_merging():
    given = recording()
    plans = (tried(given, 2.0, level="output", order=1), tried(given, 0.5, level="residual", order=0))
    given = replace(given, replays=plans)
    again = Recording.from_json(given.to_json())
    assert again.replays == plans and again.to_json() == given.to_json()
    assert merge([given, replace(given, replays=plans[:1])]).replays == (*plans, plans[0])
    text = given.to_json()
    for old, new, message in (
        ('"replays": [{', '"replays": [3, {', "replays must be a list of plans"),
        ('"measured": {', '"measured": null, "x": {', "unknown field 'x'"),
        ('"schedule": [0', '"schedule": [1', "schedule must rise from step 0"),
    ):
        with pytest.raises(PlanError, match=message):
            Recording.from_json(text.replace(old, new, 1))
    with pytest.raises(PlanError, match="hold what was measured"):
        replace(given, replays=(replace(plans[0], measured=None),))
    with pytest.raises(PlanError, match="'humo', this model is 'toy'"):
        replace(given, replays=(replace(plans[0], adapter="humo"),))


def test_an_euler_step_lands_where_the_sampler_lands():
    x, velocity = torch.randn(2, 3), torch.randn(2, 3)
    got = landing(x, x - 0.5 * velocity, 0.5, 0.2)
    assert got == pytest.approx(x + (0.2 - 0.5) * velocity, abs=1e-6)
    assert landing(x, x - 0.5 * velocity, 0.5, 0.0) == pytest.approx(x - 0.5 * velocity, abs=1e-6)


def test_a_yardstick_weighs_regions_by_hand():
    end, other = torch.zeros(1, 1, 1, 1, 2), torch.tensor([3.0, 4.0]).reshape(1, 1, 1, 1, 2)
    weights = torch.tensor([0.0, 1.0], dtype=torch.float64)
    regions = {"whole": (0.25, None, 10.0), "human": (0.75, weights, 8.0)}
    yardstick = Yardstick(end, lambda values: positions(values, Grid(1, 1, 2), None)[0], regions)
    assert yardstick.error(other) == pytest.approx(math.sqrt(0.25 * 25 / 100 + 0.75 * 16 / 64))
    assert yardstick.error(end) == 0.0


def test_a_replay_takes_its_numbers_from_the_run():
    plan = tried(recording(), 1.0, level="output", order=1)
    report = RunReport("toy", 9, 4, {}, bytes_held=77)
    report.steps += [StepRecord(i, 1.0, "reuse" if i % 2 else "compute", "", None, 0, None, 1.0 - i % 2) for i in range(4)]
    got = replayed(plan, report, 0.125)
    assert got.measured == Scores(0.125, 2.0, 77) and replace(got, measured=plan.measured) == plan
