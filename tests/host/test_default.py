"""What the SyncCache node does without a plan: presets, what is reused, the paper's method."""

import json

import pytest

pytestmark = pytest.mark.host
STEPS = 12


def sampled(stage, **inputs):
    model, run = stage.node(**inputs)
    stage.sample(model)
    return run.reports[0]


@pytest.mark.parametrize(("preset", "computed"), [("Faithful", 6), ("Balanced", 4), ("Fast", 3)])
def test_a_preset_computes_its_share_at_fixed_steps(stage, comfy, preset, computed):
    report = sampled(stage, preset=preset, reuse="outputs")
    sigmas = [step.sigma for step in report.steps]
    expected = comfy.core.decide.schedules.blended([*sigmas, 0.0], computed)
    assert tuple(step.index for step in report.steps if step.action == "compute") == expected
    assert expected[0] == 0 and expected[-1] == STEPS - 1 and report.corrections and report.settings["backtest"]
    assert {step.reason for step in report.steps} == {"warm-up", "schedule", "last step"}


def test_auto_reuses_outputs_where_residuals_are_dear(stage):
    assert sampled(stage, reuse="residuals").reuse_share > 0.1  # of this tiny model
    assert sampled(stage, reuse="auto").level == "output"


def test_the_papers_preset(stage):
    report = sampled(stage, preset="Paper", forecast_order=2, warmup=2)
    used = report.settings
    assert (used["choose"], used["omega"], used["forecast_order"], used["correction"]) == ("probe", 2.0, 0, False)
    assert (report.level, report.groups, used["target_speedup"]) == ("residual", 1, 3.75)  # floor(0.4 * 4) = 1 of 3
    assert any(step.reason in ("probe", "budget spent") for step in report.steps) and report.reused


def test_a_plan_gives_the_papers_preset_its_boundaries_alone(stage, comfy):
    calibrated, run = stage.execute(comfy.ids["SyncCacheCalibrate"], model=stage.model, replays=0)
    stage.sample(calibrated)
    samples = {"samples": stage.sample(calibrated)}
    recording = run.of(samples["samples"]).recording()
    assert recording.boundaries == ((1, 2, 3),)
    planner = comfy.core.planning.planner.Planner(recording)
    budget = comfy.core.planning.plan.Budget(speedup=2.0)
    plan = planner.plan(planner.choose(budget), budget, "0")
    assert plan.boundaries == recording.boundaries == tuple(map(tuple, json.loads(plan.to_json())["boundaries"]))
    report = sampled(stage, preset="Paper", plan_json=plan.to_json())
    assert report.plan == "" and report.settings["groups"] == ((1, 2, 3),) and report.settings["choose"] == "probe"
    note = "preset Paper: of the plan only its boundaries (which blocks share a residual) are used"
    assert note in report.notes and note not in sampled(stage, preset="Paper").notes
    other = json.loads(plan.to_json()) | {"layout": "after-9x9-00000000"}
    with pytest.raises(comfy.core.SyncCacheError, match="after-9x9"):
        stage.node(preset="Paper", plan_json=json.dumps(other))


def test_a_threshold_is_for_custom_and_paper(stage, comfy):
    custom = sampled(stage, probe_threshold=1e-6, reuse="auto")
    assert custom.settings["threshold"] == 1e-6 and custom.level == "residual" and custom.reused == 0
    assert sampled(stage, preset="Paper", probe_threshold=50.0).settings["threshold"] == 50.0
    fast = sampled(stage, preset="Fast", probe_threshold=0.5, reuse="outputs")
    assert fast.settings["threshold"] is None and fast.settings["choose"] == "schedule" and fast.level == "output"
    with pytest.raises(comfy.core.BadConfig, match="probe_threshold 0.5 needs reuse residuals or auto, got reuse 'outputs'"):
        stage.node(probe_threshold=0.5, reuse="outputs")
    with pytest.raises(comfy.core.SyncCacheError, match="probe_threshold"):
        stage.node(preset="Fast", probe_threshold=-1.0)
    with pytest.raises(comfy.core.SyncCacheError, match="reuse"):
        stage.node(reuse="everything")
