"""Every sampler of the host, and every way to run one: reuse happens or the report says truly why not, and runs end."""

import pytest
import torch

from .test_semantics import close, run_custom

pytestmark = pytest.mark.host
STEPS = 8


@pytest.fixture(scope="module")
def every(comfy):
    return comfy.samplers.KSampler.SAMPLERS


def test_every_sampler_of_the_host(stage, every):
    """As an artist uses it. The counts of `samplers.EVALUATIONS` against the host: the last evaluation is known to be it."""
    known = stage.comfy.core.model.samplers
    said = []
    for name in every:
        model, run = stage.node(target_speedup=1.5, reuse="auto")
        out, report = stage.sample(model, sampler=name, steps=STEPS, cfg=1.0), run.reports[0]
        live = report.live(0)
        assert report.finished and live["finished"] and torch.isfinite(out).all(), name
        last = report.steps[-1]
        if name == "dpm_adaptive":
            assert report.reused == 0 and last.reason == "dpm_adaptive chooses its own steps", name
            assert any("chooses its own steps" in str(line) for line in live["why"])
            continue
        sampler = known.Sampler(name)
        sigmas = stage.comfy.samplers.KSampler(
            stage.model, STEPS, torch.device("cpu"), name, "simple", 1.0
        ).sigmas.tolist()
        expected = sum(sampler.per_step(sigmas))
        assert report.level == ("residual" if name.endswith("cfg_pp") else "output"), name  # fresh audio is dear on it
        if len(report.steps) != expected or not report.reused or abs(report.computed - report.budget) > 1:
            said.append((name, expected, len(report.steps), report.computed, report.budget))
        assert (last.action, last.reason) == ("compute", "last step"), name
        assert [s.reason for s in report.steps].count("last step") == 1, name
    assert said == []


@pytest.mark.parametrize("level", ["output", "residual"])
def test_the_same_on_a_schedule_that_is_given(stage, level):
    schedule = (True, True, False) * 8
    for name in ("dpmpp_2s_ancestral", "heunpp2", "seeds_3", "dpm_fast", "dpm_adaptive", "sa_solver_pece", "euler_cfg_pp"):
        model, run, _ = stage.attach(level=level, schedule=schedule)
        stage.sample(model, sampler=name, steps=STEPS, cfg=1.0)
        report = run.reports[0]
        assert report.finished and report.steps[-1].action == "compute", name
        reasons = {step.reason for step in report.steps}
        if name == "dpm_adaptive" or (level == "output" and name.endswith("cfg_pp")):
            assert report.reused == 0, name
            assert reasons & {"dpm_adaptive chooses its own steps", "the sampler needs the model"}, name
        else:
            assert report.reused > 0, (name, reasons)


def test_names_are_those_of_the_list(stage, every):
    core, hooks = stage.comfy.core, stage.comfy.hooks
    sigmas = torch.linspace(1, 0, 5)
    same = {"ddim": "euler"}
    for name in every:
        found = hooks.sampler_of(stage.comfy.samplers.sampler_object(name), sigmas)
        assert found.name == same.get(name, name)
    pece = stage.comfy.samplers.ksampler("sa_solver", {"use_pece": True})
    assert hooks.sampler_of(pece, sigmas).name == "sa_solver_pece" and core.Sampler("sa_solver_pece").evaluations == 2


def test_samplers_that_look_into_the_guidance_are_known(stage):
    """By the source: whoever names the unconditional result reads it inside the call. Some only where an option asks."""
    import inspect

    import comfy.k_diffusion.sampling as listed
    import comfy_extras.nodes_advanced_samplers as others

    found = {
        name.removeprefix("sample_") for module in (listed, others)
        for name, function in vars(module).items()
        if name.startswith("sample_") and inspect.isfunction(function) and "uncond_denoised" in inspect.getsource(function)
    }  # fmt: skip
    assert {"euler_ancestral_cfg_pp", "euler_pp"} <= found
    asked = {"gradient_estimation"}  # by its option cfg_pp, which only gradient_estimation_cfg_pp sets
    assert [name for name in sorted(found - asked) if not stage.comfy.core.Sampler(name).guidance_inside] == []


@pytest.mark.parametrize("version", ["regular", "alternative"])
def test_the_nodes_cfg_pp_needs_the_model(stage, version):
    from comfy_extras.nodes_advanced_samplers import SamplerEulerCFGpp

    sampler = SamplerEulerCFGpp.execute(version).args[0]
    plain = run_custom(stage, stage.model, sampler, falling(stage))
    model, run, _ = stage.attach(level="output", schedule=(True, True, False) * 3)
    assert torch.equal(run_custom(stage, model, sampler, falling(stage)), plain)
    assert "the sampler needs the model" in {step.reason for step in run.reports[0].steps}


def computed(report):
    return [step.index for step in report.steps if step.action == "compute"]


def falling(stage, steps=STEPS):
    return stage.comfy.samplers.calculate_sigmas(stage.model.get_model_object("model_sampling"), "simple", steps)


def test_back_into_noise(stage):
    """Flipped sigmas rise: one last step, and reuse on either level before it."""
    sigmas = falling(stage, 13)[1:].flip(0)  # at 1 the host would divide by 0
    sigmas[0] = 0.0001
    model, run = stage.node(target_speedup=2.0)
    out, report = run_custom(stage, model, "euler", sigmas), run.reports[0]
    assert torch.isfinite(out).all() and report.finished and len(report.steps) == 12
    assert [step.reason for step in report.steps].count("last step") == 1 and report.steps[-1].reason == "last step"
    assert report.reused > 0 and abs(report.computed - report.budget) <= 1
    model, run, _ = stage.attach(level="output", forecast_order=1, schedule=(True, False) * 6)
    out = run_custom(stage, model, "euler", sigmas)
    assert computed(run.reports[0]) == [0, 2, 4, 6, 8, 10, 11]
    assert close(out, run_custom(stage, stage.model, "euler", sigmas), 0.3)


def test_sigmas_shared_by_several_samplers_stay_as_they_are(stage):
    """The host's uni_pc writes 0.001 over the final 0 of the tensor that it is given."""
    shared = falling(stage)
    before = shared.clone()
    model, run = stage.node(target_speedup=1.5)
    first = run_custom(stage, model, "uni_pc", shared)
    assert torch.equal(shared, before)
    run_custom(stage, stage.model, "uni_pc", shared)  # without SyncCache it does
    assert shared[-1] > 0
    assert torch.equal(run_custom(stage, model, "uni_pc", shared), first)
    assert run.reports[1].steps[-1].reason == "last step"


def test_a_first_half_has_no_last_step(stage):
    model, run = stage.node()
    run_custom(stage, model, "euler", falling(stage, 16)[:9])
    assert run.reports[0].finished and "last step" not in {step.reason for step in run.reports[0].steps}
