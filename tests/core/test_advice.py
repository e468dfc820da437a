"""One recommendation, only where the run's numbers support it."""

import pytest

from synccache_core.report.advice import advice
from synccache_core.report.report import RunReport, StepRecord

GIB = 2**30
ACTIONS = {"c": "compute", "r": "reuse", "l": "live"}
CALM = {"target_speedup": 3.0, "cache_ratio": 1.0, "forecast_order": 1, "memory_budget": None, "cache_device": "same",
        "warmup": None, "groups": None, "probe": True}  # fmt: skip


def run(actions="ccrrrrrrrc", reasons=None, settings=None, **report):
    steps = [
        StepRecord(i, 1 - i / 10, ACTIONS[a], (reasons or {}).get(i, "probe"), 0.1, 0.1, None,
                   1.0 if a == "c" else report.get("reused_seconds", 0.05))
        for i, a in enumerate(actions)
    ]  # fmt: skip
    report.pop("reused_seconds", None)
    given = {"groups": 11, "order": 1, "storable": 11, "residual_bytes": GIB, "reuse_share": 0.05, "speedup_ideal": 3.0,
             "bytes_held": 22 * GIB, "budget": 3}  # fmt: skip
    return RunReport("Wan2.2-S2V", 40, 12, {**CALM, **(settings or {})}, steps, **{**given, **report})


def test_a_run_as_it_should_be_gets_none():
    assert advice(run()) == ""
    assert advice(run("")) == "" and advice(run(calibration=True, speedup_ideal=1.0)) == ""


def test_few_steps_are_told_that_there_is_little_to_gain():
    off = "set target_speedup to 1, which is off: "
    assert advice(run("crrrrrrc")) == (
        f"{off}8 steps are few, so that there is little to gain; compare with 2 steps without SyncCache"
    )
    assert advice(run("cc")) == f"{off}2 steps are few, so that there is little to gain"
    assert advice(run("crrrrrrrc")) == ""
    for other in ({"plan": "2 of 4"}, {"settings": {"target_speedup": 1.0}}, {"calibration": True}, {"part": True}):
        assert advice(run("crrc", **other)) == ""
    assert advice(run("clrlc")) == ""


def test_a_run_whose_steps_are_all_live_gets_none():
    """Slow as it is, nothing was fetched of what its reused steps would have been."""
    slow = {"settings": {"cache_device": "cpu"}, "speedup_ideal": 30.0}
    assert advice(run("cllllllllc", **slow)) == ""
    assert "set cache_device to gpu" in advice(run("clllrllllc", **slow, reused_seconds=0.9))


def test_a_budget_that_cut_residuals_is_told_how_much_it_lacks():
    tight = run(settings={"memory_budget": 4 * GIB}, groups=4, order=0)
    assert advice(tight) == "raise memory_budget_gb from 4 to 23: now 4 of 11 residuals fit, at order 0 of 1"
    assert advice(run(settings={"memory_budget": 40 * GIB})) == ""
    half = run(settings={"memory_budget": 9 * GIB, "cache_ratio": 0.5}, groups=6, order=0)
    assert "from 9 to 13: now 6 of 6 residuals fit" in advice(half)
    kept = run(settings={"memory_budget": 4 * GIB, "groups": ((1, 2), (3,)), "probe": False}, groups=3, order=1)
    assert advice(kept) == ""


def test_a_target_out_of_reach_leads_to_outputs():
    far = run(settings={"target_speedup": 4.0}, speedup_ideal=3.0, reuse_share=0.2)
    assert advice(far).startswith("set reuse to outputs for 4×: a reused step costs 20% of a computed one")
    assert advice(run(settings={"target_speedup": 4.0}, speedup_ideal=3.7)) == ""
    assert advice(run(settings={"target_speedup": 4.0}, speedup_ideal=3.0, plan="8 of 40")) == ""
    assert advice(run(settings={"target_speedup": 4.0}, speedup_ideal=3.0, budget=2)) == ""  # a third step was computed


def test_where_the_probe_decides_outputs_are_no_way_out():
    """With a probe_threshold they are refused, and preset Paper does not ask."""
    far = {"speedup_ideal": 3.0, "reuse_share": 0.2}
    assert advice(run(settings={"target_speedup": 4.0, "choose": "probe"}, **far)) == ""


def test_with_a_threshold_a_target_of_one_is_not_off():
    assert advice(run("crrrrrrc", livable=True, settings={"choose": "probe", "threshold": 0.1})) == ""
    steered = run("crrrrrrc", settings={"choose": "probe", "threshold": None})  # preset Paper
    assert advice(steered).startswith("set target_speedup to 1, which is off")


def test_slow_host_memory_is_named_only_where_it_is_used():
    slow = {"reused_seconds": 0.5}  # 10 steps, 3 computed: 10 / (3 + 3.5) = 1.5x of 3x
    assert "cache_device to gpu if 22.0 GiB fit there" in advice(run(settings={"cache_device": "cpu"}, **slow))
    assert advice(run(**slow)) == ""


@pytest.mark.parametrize("warmup, said", [(None, False), (2, True), (1, False)])
def test_a_warm_up_that_eats_the_budget(warmup, said):
    reasons = {i: "warm-up" for i in range(warmup or 2)}
    text = advice(run(reasons=reasons, settings={"warmup": warmup}))
    assert ("lower warmup from 2" in text and "2 of 3 computed steps" in text) == said
    far = run(reasons=reasons, settings={"warmup": warmup}, speedup_ideal=2.0)
    assert advice(far).startswith("lower warmup from 2" if said else "set reuse to outputs for 3×")


def test_a_budget_spent_too_early():
    said = advice(run(reasons={i: "budget spent" for i in (5, 6, 7, 8)}))
    assert "spent 4 steps before the last one" in said and "use a plan, with a preset other than Paper" in said
    assert advice(run(reasons={7: "budget spent", 8: "budget spent"})) == ""
