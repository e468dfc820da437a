"""Rules of decide(), and what a whole steered run delivers, in plain numbers."""

import math
import random
from dataclasses import replace

import pytest

from synccache_core import BadConfig, Config, CostModel, Layout
from synccache_core.decide.clock import Clock
from synccache_core.decide.policy import Situation, decide, level_for, warmup_steps
from synccache_core.model.samplers import Sampler
from synccache_core.report.report import RunReport
from synccache_core.reuse.residuals import Residuals
from synccache_core.run.steps import Steps

SITUATION = Situation(
    index=20, expected=40, last=False, computed=8, budget=12, streak=1, change=0.1, accumulated=0.2, ahead=1.0, missing=None
)
PROBE = Config(choose="probe")
COST = CostModel(block=100.0, refresh=8.0, other=1.0, layout=Layout(40, (0, 4, 8, 12, 16, 20, 24, 27, 30, 33, 36, 39)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"last": True}, "last step"),
        ({"index": 1}, "warm-up"),
        ({"missing": "shape changed"}, "shape changed"),
        ({"change": math.nan}, "nonfinite probe"),
        ({"change": math.inf}, "nonfinite probe"),
        ({"change": None}, "no earlier probe"),
        ({"streak": 32}, "longest reuse run"),
        ({"accumulated": 9.0}, "probe"),
        ({"computed": 0, "index": 30}, "budget to spend"),
    ],
)
def test_reasons_to_compute(change, reason):
    decision = decide(PROBE, replace(SITUATION, **change))
    assert (decision.action, decision.reason) == ("compute", reason)


def test_reasons_to_reuse():
    assert decide(PROBE, SITUATION).reason == "probe" and decide(PROBE, SITUATION).reuse
    assert decide(PROBE, replace(SITUATION, computed=11)).reason == "budget spent"


def test_threshold_by_hand():
    # left = 12 - 8 - 1 = 3 computed evaluations before the last; (0.2 + 1.0) / 4 = 0.3
    assert decide(PROBE, SITUATION).threshold == pytest.approx(0.3)
    assert decide(PROBE, replace(SITUATION, accumulated=0.4)).action == "compute"


def test_a_huge_threshold_still_computes_warm_up_and_last_step_and_bounds_the_run():
    config = Config(choose="probe", threshold=1e9)
    assert decide(config, replace(SITUATION, index=0)).reason == "warm-up"
    assert decide(config, replace(SITUATION, last=True)).reason == "last step"
    assert decide(config, replace(SITUATION, streak=32)).reason == "longest reuse run"
    assert decide(config, SITUATION).reuse


def test_a_schedule_is_obeyed_except_where_nothing_may_be_reused():
    for config in (Config(), Config(schedule=(True, False) * 20)):
        assert decide(config, replace(SITUATION, scheduled=False)).reuse
        assert decide(config, replace(SITUATION, scheduled=True)).action == "compute"
        assert decide(config, replace(SITUATION, scheduled=False, streak=99, change=None)).reuse
        assert decide(config, replace(SITUATION, scheduled=False, last=True)).reason == "last step"
        assert decide(config, replace(SITUATION, scheduled=False, missing="shape changed")).reason == "shape changed"
        assert decide(config, replace(SITUATION, index=0)).reason == "warm-up"
        assert decide(config, replace(SITUATION, scheduled=None)).reason == "past the schedule"
        planned = replace(config, force_last=False)
        assert decide(planned, replace(SITUATION, scheduled=False, last=True)).reuse
        assert decide(planned, replace(SITUATION, index=0, last=True)).reason == "warm-up"


def test_the_level_follows_from_how_many_computed_steps_fresh_residuals_leave():
    # r = 197 / 4097 = 4.8 % of a computed step: of 20 steps 10 of 10 are left at 2x, 6 of 7 at 3x, 4 of 5 at 4x
    auto = Config(level="auto")
    levels = {speed: level_for(replace(auto, target_speedup=speed), COST, 20).level for speed in (2.0, 3.0, 4.0)}
    assert levels == {2.0: "residual", 3.0: "residual", 4.0: "output"}
    assert level_for(replace(auto, target_speedup=3.0), COST, 40).level == "residual"  # 12 of 13
    assert level_for(replace(auto, target_speedup=20.0), COST, 20).level == "output"  # out of reach with residuals
    assert level_for(replace(auto, target_speedup=3.0), COST, 8).level == "output"  # 2 of 3
    assert level_for(replace(auto, target_speedup=4.0), COST, 8).level == "output"  # 2 of 2, but 1.7 before rounding
    small = replace(COST, layout=Layout(10, (0, 2, 4, 6, 8, 9)))  # 17 %
    assert level_for(auto, small, 20).level == "output"
    assert level_for(replace(auto, schedule=(True, False) * 10), small, 20).level == "output"
    assert level_for(replace(auto, schedule=(True,) * 20), small, 20).level == "residual"
    assert level_for(replace(PROBE, level="auto"), small, 20).level == "residual"
    assert level_for(Config(level="residual"), small, 20).level == "residual"
    assert level_for(Config(level="output"), COST, 20).level == "output"


@pytest.mark.parametrize(("kind", "levels"), [("beside", ["residual"] * 3 + ["output"]), ("after", ["output"] * 4)])
def test_a_sound_of_its_own_is_worth_more_computed_steps(kind, levels):
    """11 blocks of 100, one of them the probe, and 100 besides: a reused step costs 1/6. Of 20 steps residuals leave
    (20 / speed - 20 / 6) * 6 / 5 computed ones, 8 of 10, 5.6 of 8, 4 of 6.7 and 2 of 5.
    """
    cost = CostModel(block=100.0, refresh=0.0, other=100.0, layout=Layout(11, (0, 5, 10), kind))
    auto = Config(level="auto")
    assert [level_for(replace(auto, target_speedup=speed), cost, 20).level for speed in (2.0, 2.5, 3.0, 4.0)] == levels


def simulate(config: Config, steps: int, changes) -> list[bool]:
    """A run in numbers; the prediction of what is ahead is off by whatever `changes` do."""
    budget = COST.computed_steps(steps, config.target_speedup)
    computed, run, accumulated, reuse = 0, 0, 0.0, []
    for i, change in enumerate(changes):
        accumulated += change
        ahead = change * (steps - i - 1)
        situation = Situation(i, steps, i == steps - 1, computed, budget, run, change, accumulated, ahead, None)
        reuse.append(decide(config, situation).reuse)
        computed, run = computed + (not reuse[-1]), run + 1 if reuse[-1] else 0
        accumulated = accumulated if reuse[-1] else 0.0
    return reuse


@pytest.mark.parametrize("target", [1.5, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("steps", [20, 40, 50])
@pytest.mark.parametrize("shape", ["flat", "rising", "falling", "noisy", "spike"])
def test_the_budget_is_kept_whatever_the_probe_says(target, steps, shape):
    rng = random.Random(1)
    changes = {
        "flat": [0.1] * steps,
        "rising": [0.01 * 1.1**i for i in range(steps)],
        "falling": [0.5 * 0.9**i for i in range(steps)],
        "noisy": [rng.uniform(0, 0.3) for _ in range(steps)],
        "spike": [5.0 if i == steps // 2 else 0.01 for i in range(steps)],
    }[shape]
    reuse = simulate(Config(target_speedup=target, max_reuse_run=100, choose="probe"), steps, changes)
    assert reuse.count(False) == COST.computed_steps(steps, target)
    assert not reuse[0] and not reuse[1] and not reuse[-1]


def test_budget_by_hand():
    # a reused step costs 100 + 12*8 + 1 = 197 of 4000 + 96 + 1 = 4097, r = 0.0481; n = (40/4 - 40 r) / (1 - r) = 8.48
    assert COST.reuse_share == pytest.approx(197 / 4097)
    assert COST.computed_steps(40, 4.0) == 8
    assert COST.speedup(40, 8) == pytest.approx(40 / (8 + 32 * 197 / 4097))
    assert COST.computed_steps(40, 1.0) == 40
    assert COST.computed_steps(40, 100.0) == 1


def test_warm_up_of_the_probe_is_fifteen_per_cent_but_at_most_a_quarter_of_the_budget():
    assert warmup_steps(PROBE, 40, 32) == 6
    assert warmup_steps(PROBE, 40, 20) == 5
    assert warmup_steps(PROBE, 40, 8) == 2
    assert warmup_steps(PROBE, 4, 4) == 2
    assert warmup_steps(replace(PROBE, threshold=0.1), 40, 0) == 2
    assert warmup_steps(replace(PROBE, warmup=9), 40, 8) == 9
    assert warmup_steps(Config(), 40, 20) == 1 and warmup_steps(Config(warmup=9), 40, 8) == 9


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target_speedup", 0.5), ("target_speedup", math.nan), ("target_speedup", "3"), ("target_speedup", True),
        ("cache_ratio", -0.1), ("cache_ratio", 1.5), ("forecast_order", 3), ("forecast_order", 0.5), ("warmup", -2),
        ("human_weight", math.inf), ("memory_budget", -1), ("threshold", -1.0), ("max_reuse_run", 0),
        ("cache_device", "disk"), ("level", "latent"), ("merge", None), ("probe", 0), ("correction", "yes"),
        ("force_last", None), ("groups", ()), ("groups", ((1, 3),)), ("groups", ((2, 1),)), ("groups", ((1,), ())),
        ("groups", 5), ("alpha", 1.5), ("omega", 0.5), ("choose", "luck"), ("backtest", 1), ("adapt", 1),
        ("schedule", (1, 0)), ("schedule", [True]), ("forecast_order", 1.0), ("warmup", 2.0), ("memory_budget", 1e3),
        ("max_reuse_run", 4.0), ("live_reach", 1.0), ("groups", ((1.0, 2),)), ("groups", ((True,),)), ("alpha", math.nan),
    ],
)
def test_bad_settings_name_field_and_value(field, value):
    with pytest.raises(BadConfig, match=field) as error:
        Config(**{field: value})
    assert repr(value) in str(error.value)


def test_groups_have_no_place_at_output_level():
    with pytest.raises(BadConfig, match=r"groups must be None at level 'output'.*\(\(1,\),\)"):
        Config(level="output", schedule=(True,), groups=((1,),))


def test_a_probe_cannot_decide_where_there_is_none():
    with pytest.raises(BadConfig, match="choose 'probe' needs the probe of level 'residual', got level 'output'"):
        Config(choose="probe", level="output")
    with pytest.raises(BadConfig, match="threshold 0.5 with choose 'schedule'"):
        Config(threshold=0.5)


@pytest.mark.parametrize(("end", "most"), [(0.0, "2.0"), (0.2, "4.0")])
def test_a_part_of_a_schedule_is_told_only_what_it_cannot_have(end, most):
    """Of four steps two are computed, or the first alone where another run goes on."""
    layout, sampler, report = Layout(10, tuple(range(10))), Sampler("euler"), RunReport("a model", 10, 10, {})
    config, clock = Config(target_speedup=4.2, level="output"), Clock([1.0, 0.8, 0.6, 0.4, end], sampler)
    steps = Steps(config, layout, clock, sampler, 1.0, Residuals(config, layout), report)
    steps.price(CostModel(100.0, 0.0, 0.0, layout), 0.0, 4)
    assert report.notes == [f"target_speedup 4.2 is out of reach here: 4 steps allow {most}×"]
    assert steps.planned(1, 4).budget == (2 if most == "2.0" else 1)
