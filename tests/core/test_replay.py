"""Replays: how far two results of a run are apart, by hand, and what is kept of them."""

import json
import math
from dataclasses import replace

import pytest
import torch

from synccache_core.errors import BadInput
from synccache_core.model.grid import Grid
from synccache_core.planning.plan import Scores
from synccache_core.planning.recorder import positions
from synccache_core.planning.recording import Recording, merge
from synccache_core.planning.replays import Yardstick, landing, replayed
from synccache_core.report.report import RunReport, StepRecord
from tests.core.test_choice import FEWER, LINE, RESIDUAL, tried
from tests.core.test_schedule import recording


def test_replays_survive_json_and_merging():
    given = recording()
    plans = (tried(given, LINE, 0.2), tried(given, FEWER, 0.5), tried(given, RESIDUAL, 0.5))
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
        with pytest.raises(BadInput, match=message):
            Recording.from_json(text.replace(old, new, 1))
    with pytest.raises(BadInput, match="hold what was measured"):
        replace(given, replays=(replace(plans[0], measured=None),))
    with pytest.raises(BadInput, match="'humo', this model is 'toy'"):
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
    plan = tried(recording(), LINE, 0.1)
    report = RunReport("toy", 9, 4, {}, bytes_held=77)
    report.steps += [StepRecord(i, 1.0, "reuse" if i % 2 else "compute", "", None, 0, None, 1.0 - i % 2) for i in range(4)]
    got = replayed(plan, report, 0.125)
    assert got.measured == Scores(0.125, 2.0, 77) and replace(got, measured=plan.measured) == plan


def test_a_replay_of_fewer_steps_is_as_quick_as_its_steps_are_few():
    report = RunReport("toy", 9, 4, {})
    report.shorten(10, 4)
    report.steps += [StepRecord(i, 1.0, "compute", "off", None, 0, None, 1.0) for i in range(4)]
    assert replayed(tried(recording(), FEWER, 0.1), report, 0.125).measured == Scores(0.125, 2.5, 0)
    assert "takes fewer steps: 4 of 10, all computed" in report.summary() and "2.50×" in report.summary()
    assert "nothing was reused" not in report.summary() and json.loads(report.to_json())["asked"] == 10
