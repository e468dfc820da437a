"""Samplers of other extensions: several evaluations in a step, schedules padded with zeros, several latents at once."""

from itertools import pairwise

import pytest
import torch

from .test_planned import calibrated, core, plan_of  # noqa: F401 - core is a fixture
from .test_samplers import falling
from .test_semantics import run_custom

pytestmark = pytest.mark.host
LEAST = 0.002  # where the last step ends, instead of at 0


def staged(stage, places, until=99):
    """A SAMPLER whose steps evaluate at these places of each, up to step `until`, and then once; the last one as the first.

    It moves by the mean of the velocities. Zeros beside a schedule are taken off.
    """

    def sample_strange(model, x, sigmas, extra_args=None, callback=None, disable=None):
        sigmas = [sigma for sigma in sigmas.tolist() if sigma]
        sigmas += [LEAST] if sigmas[0] > sigmas[-1] else []
        for step, (here, there) in enumerate(pairwise(sigmas)):
            inner = places if step < until or there == LEAST else (0,)
            found = []
            for place in inner:
                sigma = here + (there - here) * place
                at = x + (sigma - here) * found[-1] if found else x
                found.append((at - model(at, at.new_full((len(at),), sigma), **extra_args)) / sigma)
            x = x + (there - here) * sum(found) / len(found)
        return x

    return stage.comfy.samplers.KSAMPLER(sample_strange)


def off(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("reuse", ["outputs", "residuals"])
@pytest.mark.parametrize(("places", "until"), [((0, 0.5), 99), ((0, 0.5, 1), 99), ((0, 0.5), 2), ((0, 0.5, 1), 3)])
def test_as_much_is_reused_of_a_sampler_that_is_not_known(stage, places, until, reuse):
    sampler, sigmas = staged(stage, places, until), falling(stage, 12)
    plain = run_custom(stage, stage.model, sampler, sigmas)
    assert torch.equal(run_custom(stage, stage.attach(schedule=(True,) * 99)[0], sampler, sigmas), plain)
    model, run = stage.node(target_speedup=2.0, reuse=reuse)
    out, report = run_custom(stage, model, sampler, sigmas), run.reports[0]
    several = 12 if until == 99 else until + 1
    assert report.finished and len(report.steps) == several * len(places) + 12 - several
    assert abs(report.computed - report.budget) <= 1 and report.speedup_ideal > 1.7
    assert report.steps[-1].reason == "last step" and "past the schedule" not in {step.reason for step in report.steps}
    if reuse == "outputs":
        even = tuple(index % 2 == 0 for index in range(len(report.steps)))
        evenly = run_custom(stage, stage.attach(level="output", schedule=even)[0], sampler, sigmas)
        assert off(out, plain) < off(evenly, plain)


def test_a_plan_is_spread_over_the_evaluations_of_such_a_sampler(stage, core):  # noqa: F811
    plan = plan_of(core, calibrated(stage)[1].of(None).recording(), 6, level="output", order=1)
    sampler, sigmas = staged(stage, (0, 0.5)), torch.tensor(plan.run.sigmas)
    model, run = stage.node(plan_json=plan.to_json())
    run_custom(stage, model, sampler, sigmas)
    report, steps = run.reports[0], len(plan.run.sigmas) - 1
    assert len(report.steps) == 2 * steps and report.remapped
    assert report.computed == report.budget == round(2 * steps * len(plan.schedule) / steps)


def test_zeros_beside_a_schedule_are_no_steps_of_it(stage):
    """They keep the host from adding noise. Falling, rising, and going on from the middle to the least level."""
    sigmas, zero = falling(stage, 12), torch.zeros(1)
    least = stage.model.get_model_object("model_sampling").sigma_min.reshape(1)
    rising = sigmas.flip(0)
    whole, up = torch.cat([zero, sigmas, zero]), torch.cat([rising, zero])
    at_least = torch.cat([zero, sigmas[:-1], least, zero, zero])
    for given, places in ((whole, (0,)), (at_least, (0,)), (up, (0,)), (up, (0, 0.5))):
        model, run = stage.node(target_speedup=2.0, reuse="outputs")
        run_custom(stage, model, staged(stage, places), given)
        report = run.reports[0]
        assert report.steps[0].action == report.steps[-1].action == "compute"
        assert report.reused > 0 and abs(report.computed - report.budget) <= 1


@pytest.mark.parametrize("level", ["output", "residual"])
def test_a_latent_does_not_stand_in_for_another(stage, level):
    """A sampler of two, as of tiles, each of which it evaluates at every step."""
    def sample_both(model, x, sigmas, extra_args=None, callback=None, disable=None):
        both = [x, x.flip(-1)]
        for here, there in pairwise(sigmas.tolist()):
            both = [each + (there - here) * (each - model(each, x.new_full((len(x),), here), **extra_args)) / here
                    for each in both]
        return sum(both)

    sampler, sigmas = stage.comfy.samplers.KSAMPLER(sample_both), falling(stage)
    model, run, _ = stage.attach(level=level, schedule=(True, False) * 8)
    assert torch.equal(run_custom(stage, model, sampler, sigmas), run_custom(stage, stage.model, sampler, sigmas))
    assert run.reports[0].reused == 0 and "several latents at every step" in "".join(run.reports[0].notes)


@pytest.mark.parametrize("level", ["output", "residual"])
def test_a_guides_latent_does_not_stand_in_for_the_sampled_one(stage, level):
    """A sampler that has a second latent evaluated before the one that is sampled, and says so in an option."""
    def sample_beside(model, x, sigmas, extra_args=None, callback=None, disable=None, beside=True):
        other, options = x.flip(-1), extra_args["model_options"]["transformer_options"]
        for here, there in pairwise(sigmas.tolist()):
            level = x.new_full((len(x),), here)
            if beside:
                options["latent_type"] = "yt"
                given = model(other, level, **extra_args)
                other = other + (there - here) * (other - given) / here
                options["latent_type"] = "xt"
            x = x + (there - here) * (x - model(x, level, **extra_args)) / here
        return x

    def sampled(model, **options):
        return run_custom(stage, model, stage.comfy.samplers.KSAMPLER(sample_beside, options), falling(stage))

    model, run, _ = stage.attach(level=level, schedule=(True, True, False) * 3)
    assert torch.equal(sampled(model), sampled(model, beside=False))
    with_it, without = run.reports
    assert [step.action for step in with_it.steps] == [step.action for step in without.steps] and with_it.reused == 2
    assert any("another latent" in note for note in with_it.notes) and without.notes == []


def telling(stage, name, factor):
    """A SAMPLER that runs another one and tells its model so many times the sigma, in the middle of the schedule."""
    samplers = stage.comfy.samplers

    def sample_telling(model, x, sigmas, run=None, **more):
        def told(x, sigma, **given):
            return model(x, sigma * (factor if 0.5 < sigma[0] < 0.97 else 1), **given)

        told.inner_model = model.inner_model
        return run.sampler_function(told, x, sigmas, **more, **run.extra_options)

    inner = samplers.sampler_object(name) if isinstance(name, str) else name
    return samplers.KSAMPLER(sample_telling, {"run": inner})


@pytest.mark.parametrize("name", ["euler", "uni_pc", "heun"])
def test_a_sampler_within_another_keeps_its_steps_whatever_the_model_is_told(stage, name):
    """At 0.8 sigmas fall past several of the schedule's and turn back; twice around, once around and not at all."""
    sigmas, runs, errors = falling(stage, 12), [], []
    once = telling(stage, name, 0.8)
    for sampler in (name, once, telling(stage, once, 0.95)):
        plain = run_custom(stage, stage.model, sampler, sigmas)
        every, _, _ = stage.attach(schedule=(True,) * 24)
        assert torch.equal(run_custom(stage, every, sampler, sigmas), plain)
        model, run = stage.node(target_speedup=2.0, reuse="outputs")
        errors.append(off(run_custom(stage, model, sampler, sigmas), plain))
        runs.append(run.reports[0])
    own, *others = [[(step.action, step.sigma) for step in run.steps] for run in runs]
    assert others == [own] * 2 and all(run.finished and run.corrections == runs[0].corrections for run in runs)
    assert max(errors[1:]) < 2 * errors[0]


@pytest.mark.parametrize("how", ["within", "option"])
def test_guidance_that_a_sampler_reads_from_inside_is_found(stage, how):
    """Where a sampler runs one that reads it, or reads it by an option."""
    def sample_by_option(model, x, sigmas, extra_args=None, callback=None, disable=None, cfg_pp=False):
        return stage.comfy.samplers.sampler_object("euler_cfg_pp" if cfg_pp else "euler").sampler_function(
            model, x, sigmas, extra_args, callback, disable
        )

    option = stage.comfy.samplers.KSAMPLER(sample_by_option, {"cfg_pp": True})
    sampler, sigmas = telling(stage, "euler_cfg_pp", 0.95) if how == "within" else option, falling(stage, 12)
    model, run = stage.node(target_speedup=2.0, reuse="auto")
    run_custom(stage, model, sampler, sigmas)
    assert run.reports[0].level == "residual" and run.reports[0].reused > 0
    model, run = stage.node(target_speedup=2.0, reuse="outputs")
    assert torch.equal(run_custom(stage, model, sampler, sigmas), run_custom(stage, stage.model, sampler, sigmas))
    assert {step.reason for step in run.reports[0].steps[1:-1]} == {"the sampler needs the model"}


@pytest.mark.parametrize("real", ["euler", "dpmpp_sde"])
def test_a_sampler_may_have_the_name_of_another(stage, real):
    """The name is of one that evaluates twice in a step; budget and last step hold if it does or not."""
    def sample_dpmpp_sde(*args, **kwargs):
        return stage.comfy.samplers.sampler_object(real).sampler_function(*args, **kwargs)

    sampler = stage.comfy.samplers.KSAMPLER(sample_dpmpp_sde)
    model, run = stage.node(target_speedup=2.0, reuse="outputs")
    run_custom(stage, model, sampler, falling(stage, 12))
    report = run.reports[0]
    assert len(report.steps) == (12 if real == "euler" else 23) and report.steps[-1].reason == "last step"
    assert abs(report.computed - report.budget) <= 1 and report.speedup_ideal > 1.7
