"""A run over a part of a schedule: KSamplerAdvanced's halves, SplitSigmas, denoise below 1, with a plan and without."""

import pytest
import torch

from .test_planned import calibrate, calibrated, core, plan_of  # noqa: F401 - core is a fixture
from .test_semantics import close

pytestmark = pytest.mark.host
STEPS = 12


def half(stage, model, latent, start, end, conditioning):
    """KSamplerAdvanced over steps start to end of 12; noise is added and left over as its users do."""
    positive, negative, empty = conditioning
    options = {"disable_noise": start > 0, "start_step": start, "last_step": end, "force_full_denoise": end >= STEPS}
    ksampler = stage.comfy.nodes.common_ksampler
    latent = empty if latent is None else {"samples": latent}
    return ksampler(model, 1, STEPS, 3.0, "euler", "simple", positive, negative, latent, **options)[0]["samples"]


def halves(stage, model, at=6):
    conditioning = stage.conditioning()
    return half(stage, model, half(stage, model, None, 0, at, conditioning), at, STEPS, conditioning)


def computed(report):
    return [step.index for step in report.steps if step.action == "compute"]


def test_a_plan_serves_both_halves(stage, core):  # noqa: F811
    plain, run = calibrated(stage)
    assert close(halves(stage, stage.model), plain, 1e-4)
    plan = plan_of(core, run.of(None).recording(), 5, level="output", order=1)
    model, planned = stage.node(plan_json=plan.to_json())
    whole = stage.sample(model)
    for at in (4, 6, 9):
        model, planned = stage.node(plan_json=plan.to_json())
        out = halves(stage, model, at)
        first, second = planned.reports
        assert computed(first) == [step for step in plan.schedule if step < at]
        assert computed(second) == sorted({0, *(step - at for step in plan.schedule if step >= at)})
        for report in planned.reports:
            assert report.finished and not report.remapped and not any("other sigmas" in note for note in report.notes)
        assert f"here its steps {at + 1} to 12" in second.plan and "of 12 steps computed" in second.plan
        assert (out - plain).norm() < 1.2 * (whole - plain).norm()


def test_a_plan_for_all_steps_serves_a_partial_denoise(stage, core):  # noqa: F811
    _, run = calibrated(stage, steps=24)
    plan = plan_of(core, run.of(None).recording(), 10, level="output", order=1)
    model, planned = stage.node(plan_json=plan.to_json())
    stage.sample(model, steps=12, denoise=0.5)
    report = planned.reports[0]
    assert computed(report) == sorted({0, *(step - 12 for step in plan.schedule if step >= 12)}) and not report.remapped


def test_without_a_plan_only_the_second_half_has_a_last_step(stage):
    model, run = stage.node(target_speedup=2.0)
    halves(stage, model)
    first, second = run.reports
    assert first.finished and second.finished
    assert "last step" not in {step.reason for step in first.steps}
    assert first.computed + second.computed <= 7 and first.steps[-1].action == "reuse"
    model, run = stage.node(target_speedup=1.5)
    halves(stage, model)
    first, second = run.reports
    assert "last step" not in {step.reason for step in first.steps} and second.steps[-1].reason == "last step"


def test_calibrating_two_halves_names_the_way_out(stage):
    model, run = calibrate(stage, replays=0)
    latent = halves(stage, model)
    with pytest.raises(stage.comfy.core.StateError, match="parts of one run.*one KSampler over all steps"):
        run.of(latent).recording()
    with pytest.raises(stage.comfy.core.StateError, match="parts of one run"):
        inputs = {"run": run, "samples": {"samples": latent}, "target_speedup": 2.0}
        stage.execute(stage.comfy.ids["SyncCacheScheduleOptimizer"], **inputs)


def test_split_sigmas_and_a_custom_sampler(stage, core):  # noqa: F811
    from .test_samplers import falling
    from .test_semantics import run_custom

    _, run = calibrated(stage)
    plan = plan_of(core, run.of(None).recording(), 6, level="residual", order=1)
    model, planned = stage.node(plan_json=plan.to_json())
    sigmas = falling(stage, STEPS)
    first = run_custom(stage, model, "euler", sigmas[:8])
    run_custom(stage, model, "euler", sigmas[7:], latent=first, noise=torch.zeros_like(first))
    assert computed(planned.reports[0]) == [step for step in plan.schedule if step < 7]
    assert computed(planned.reports[1]) == sorted({0, *(step - 7 for step in plan.schedule if step >= 7)})


def test_parts_are_not_told_that_their_steps_are_few(stage):
    """4 and 8 of 12 steps; a run of 4 that goes all the way is told, and so is one over the end of a schedule with noise."""
    few = "steps are few"
    model, run = stage.node()
    halves(stage, model, 4)
    assert [report.part for report in run.reports] == [True, True]
    assert [len(report.steps) for report in run.reports] == [4, 8] and few not in run.of(None).summary()
    for denoise in (1.0, 0.5):
        model, run = stage.node()
        stage.sample(model, steps=4, denoise=denoise)
        assert [report.part for report in run.reports] == [False] and f"4 {few}" in run.of(None).summary()
