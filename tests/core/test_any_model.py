"""Any model at all: nothing is known of its inside, whole results are reused. Noise counted otherwise; packed latents."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from synccache_core import (
    BadConfig,
    Config,
    Grid,
    Layout,
    Noise,
    Plan,
    Recording,
    Sampler,
    Session,
    attach,
    calibrate,
    find,
    outputs_only,
    serve,
)
from synccache_core.decide.policy import level_for
from synccache_core.errors import BadInput, UnsupportedModel
from synccache_core.model.cost import CostModel
from synccache_core.model.samplers import response
from synccache_core.planning.plan import Budget, check, fingerprint
from synccache_core.planning.planned import fitted_config, planned_config
from synccache_core.planning.planner import Planner
from synccache_core.planning.recorder import positions
from synccache_core.report.report import UNKNOWN

STEPS = 16
SIGMAS = [1 - t / STEPS for t in range(STEPS + 1)]
NOTHING = Layout(0, ())
GRID = Grid(1, 4, 4)


class Painter(nn.Module):
    """x [B, C, ...] -> velocity of a mixture of two blurs of deviation 0.5, whatever the shape; it has no list of blocks."""

    def forward(self, x, sigma):
        flat, spread = x.flatten(1), 0.25
        pictures = torch.stack([torch.linspace(-1, 1, flat.shape[1]), torch.linspace(1, 0, flat.shape[1])])
        width = (1 - sigma) ** 2 * spread + sigma**2
        off = flat[:, None] - (1 - sigma) * pictures
        likely = torch.softmax(-off.square().sum(-1) / (2 * width), dim=1)
        found = (likely[..., None] * (pictures + (1 - sigma) * spread / width * off)).sum(1)
        return (x - found.reshape(x.shape)) / sigma


def sampled(model, session=None, sigmas=SIGMAS, shape=(1, 2, 4, 4), seed=0):
    """Euler; the result, and at which steps the model was called."""
    x, called = torch.randn(shape, generator=torch.Generator().manual_seed(seed)), []
    for index, (sigma, after) in enumerate(pairwise(sigmas)):

        def run(x=x, sigma=sigma, index=index):
            called.append(index)
            return model(x, sigma)

        x = x + (after - sigma) * (session.predict(sigma, run) if session else run())
    return x, called


def running(model, **settings):
    return attach(model, Config(**{"level": "auto", **settings}), SIGMAS, GRID, adapter=outputs_only(model))


def test_what_is_not_known_is_served_and_known_by_its_class():
    model = Painter()
    with pytest.raises(UnsupportedModel):
        find(model)
    adapter = serve(model)
    assert (adapter.name, adapter.title) == ("Painter", "Painter") and adapter.layout(model) == NOTHING
    assert NOTHING.unknown and NOTHING.segments == NOTHING.storable() == NOTHING.probe_blocks == 0
    assert NOTHING.opens == NOTHING.closes == NOTHING.reuse_steps == {}
    cost = adapter.cost(model, GRID, 16, 77)
    assert cost.full == 1 and cost.share("output", 0, "freeze", True) == 0 and cost.computed_steps(20, 4.0, 0.0) == 5


@pytest.mark.parametrize(("shape", "grid"), [
    ((2, 16, 5, 6, 7), Grid(5, 6, 7)), ((1, 4, 64, 48), Grid(1, 64, 48)), ((1, 1, 900), Grid(1, 1, 900)),
])  # fmt: skip
def test_latents_of_any_kind_have_places(shape, grid):
    assert Grid.of_any(shape) == grid
    rows, human = positions(torch.randn(shape), grid, None)
    assert rows.shape == (shape[0], grid.tokens, shape[1]) and human is None


def test_off_and_all_computed_change_nothing():
    model = Painter()
    plain, _ = sampled(model)
    for settings in ({"target_speedup": 1.0}, {"schedule": (True,) * STEPS}):
        with running(model, **settings) as session:
            assert torch.equal(sampled(model, session)[0], plain)
        assert session.report.computed == STEPS
    assert "forward" not in vars(model)


def test_whole_results_are_reused_and_it_says_so():
    model = Painter()
    plain, _ = sampled(model)
    with running(model, target_speedup=3.0, correction=True, backtest=True) as session:
        out, called = sampled(model, session)
    report = session.report
    assert len(called) == report.computed == 5 and report.reused == 11 and report.level == "output"
    assert called[0] == 0 and called[-1] == STEPS - 1 and (out - plain).norm() < 0.1 * plain.norm()
    assert report.reuse_share == 0 and report.speedup_ideal == pytest.approx(STEPS / 5) and report.notes == [UNKNOWN]
    assert report.summary().startswith("Painter: whole results\n") and f"note: {UNKNOWN}" in report.summary()
    assert report.live(STEPS)["blocks"] == 0 and report.bytes_held == report.bytes_predicted > 0 and report.heat
    assert len(report.heat) == 4 and "of whole outputs" in report.summary()


def test_settings_without_effect_are_named():
    model = Painter()
    config = Config(level="auto", cache_ratio=0.5)
    with attach(model, config, SIGMAS, GRID, torch.ones(4, 4), adapter=outputs_only(model)) as session:
        sampled(model, session)
    assert session.report.notes[1:] == [
        "human_mask has no effect on a model that is not known: no probe looks at it",
        "cache_ratio has no effect on a model that is not known: no residuals are stored",
    ]


def test_residuals_of_what_is_not_known_are_refused():
    model = Painter()
    for settings in ({"level": "residual"}, {"choose": "probe", "level": "residual"}):
        with pytest.raises(BadConfig, match="level must be 'output'.*got 'residual'"), running(model, **settings):
            pass
    cost = outputs_only(model).cost(model, GRID, 16)
    assert level_for(Config(level="auto"), cost, 20, Sampler("euler_cfg_pp")).level == "output"
    with pytest.raises(BadConfig):
        Layout(0, (0,))


@pytest.mark.parametrize(("given", "told"), [(1.0, True), (0.0, False)], ids=["kept", "zeros"])
def test_a_step_at_which_the_model_was_not_called_is_another_cache(given, told):
    """But for zeros, which the host gives where no conditioning holds."""
    model = Painter()
    with running(model, schedule=(True, True, True, False) * 4) as session:
        for index, sigma in enumerate(SIGMAS[:-1]):
            x = torch.ones(1, 2, 4, 4) * sigma
            session.predict(sigma, lambda x=x, i=index: torch.full((1, 2, 4, 4), given) if i == 2 else model(x, SIGMAS[0]))
    assert any("another extension skipped the model at a step" in note for note in session.report.notes) == told
    with running(model) as session:  # what the model is called for outside the sampler's evaluations is nobody's business
        model(torch.ones(1, 2, 4, 4), 1.0)


def calibrated(model, **settings):
    with calibrate(model, SIGMAS, GRID, adapter=outputs_only(model), **settings) as session:
        out, _ = sampled(model, session)
        return session.recording(), out, session.report


def test_from_calibration_to_a_planned_run():
    model = Painter()
    plain, _ = sampled(model)
    recording, out, report = calibrated(model)
    assert torch.equal(out, plain) and report.computed == STEPS and report.calibration
    assert list(recording.grams) == [("output", "whole")] and recording.levels == ("output",)
    assert recording.audio is None and recording.residual_bytes == 0 and recording.shares == {}
    assert recording.run.tokens == 16 and recording.output_bytes == 4 * 32
    again = Recording.from_json(recording.to_json())
    assert again.layout == NOTHING and again.to_json() == recording.to_json()
    planner = Planner(again)
    choice = planner.choose(Budget(speedup=3.0, cache_ratio=0.5))
    assert any(note.startswith("cache_ratio has no effect") for note in choice.notes)
    assert not any("cache_ratio" in note for note in planner.choose(Budget(speedup=3.0)).notes)
    plan = Plan.from_json(planner.plan(choice, Budget(speedup=3.0), "0").to_json())
    assert plan.level == "output" and plan.adapter == "Painter" and plan.groups == () and choice.computed == 5
    with attach(model, Config(), SIGMAS, GRID, adapter=outputs_only(model), plan=plan) as session:
        out, called = sampled(model, session)
    assert called == list(plan.schedule) and (out - plain).norm() < 0.1 * plain.norm()
    for change in ("adapter", "blocks"):
        adapter, layout = ("Other", NOTHING) if change == "adapter" else ("Painter", Layout(1, (0,)))
        with pytest.raises(BadInput, match="Painter.*Other" if change == "adapter" else fingerprint(layout)):
            check(plan, adapter, layout)
    with pytest.raises(BadInput):
        planned_config(plan, Config(), "wan_s2v", Layout(40, (0, 4)))


@pytest.mark.parametrize("broken", [
    {"blocks": 0, "refresh": [0], "audio": "after"}, {"blocks": 3, "refresh": [], "audio": "after"},
    {"blocks": -1, "refresh": [], "audio": "after"},
])  # fmt: skip
def test_a_calibration_with_an_impossible_layout_is_refused(broken):
    data = json.loads(calibrated(Painter())[0].to_json())
    with pytest.raises(BadInput, match="layout"):
        Recording.from_json(json.dumps({**data, "layout": broken}))


# -- noise that is counted otherwise -------------------------------------------------------------------------------------


def test_levels_by_hand():
    noise = Noise(flow=False)
    assert [noise.level(sigma) for sigma in (0.0, 1.0, 3.0, float("inf"))] == [0.0, 0.5, 0.75, 1.0]
    assert noise.scaled(torch.tensor([8.0]), 3.0).item() == 2.0
    x, flow = torch.ones(2), Noise()
    assert flow.level(0.3) == 0.3 and flow.scaled(x, 0.3) is x


DIFFUSION = Noise(flow=False)
KARRAS = [14.6 ** (1 - t / 15) * 0.03 ** (t / 15) for t in range(16)] + [0.0]


def denoised(x, level):
    """Of the Painter, which knows flow models: x and level of the core."""
    return x - level * Painter()(x, level)


def euler(session=None, sigmas=KARRAS):
    """A diffusion model's sampler, x = data + sigma noise, which knows nothing of levels."""
    x, called = sigmas[0] * torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0)), []
    for sigma, after in pairwise(sigmas):
        level, scaled = DIFFUSION.level(sigma), DIFFUSION.scaled(x, sigma)

        def run(level=level, scaled=scaled, sigma=sigma):
            called.append(sigma)
            return denoised(scaled, level)

        result = session.predict(level, run, scaled) if session else run()
        x = x + (after - sigma) * (x - result) / sigma
    return x, called


def of(config, sigmas=KARRAS, sampler=None):
    levels = [DIFFUSION.level(sigma) for sigma in sigmas]
    return Session(config, NOTHING, levels, lambda *_: CostModel(0.0, 0.0, 1.0, NOTHING), sampler=sampler)


def test_a_diffusion_model_is_cached_as_the_flow_model_that_it_is():
    """The same noise, the same model, levels instead of sigmas: step by step the same numbers."""
    settings = {"level": "output", "target_speedup": 2.0, "correction": True, "backtest": True}
    got, called = euler(of(Config(**settings)))
    levels = [DIFFUSION.level(sigma) for sigma in KARRAS]
    x = DIFFUSION.scaled(14.6 * torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0)), 14.6)
    session, flow = of(Config(**settings)), []
    for sigma, after in pairwise(levels):

        def run(x=x, sigma=sigma):
            flow.append(sigma)
            return Painter()(x, sigma)

        x = x + (after - sigma) * session.predict(sigma, run)
    assert [DIFFUSION.level(sigma) for sigma in called] == flow and 0 < len(flow) < 16
    assert torch.allclose(got, x, atol=1e-4)
    plain, _ = euler()
    assert (got - plain).norm() < 0.1 * plain.norm()


def test_the_end_of_the_noise_is_not_forgotten():
    """Over sigmas from 14.6 to 0.03 an evenness in sigma would compute nearly all steps where the picture is still noise."""
    session = of(Config(level="output", target_speedup=2.0))
    _, called = euler(session)
    assert sum(sigma < 1 for sigma in called) >= 3


def dpmpp_2m(sigmas, model, x):
    """k-diffusion's, which counts noise as diffusion models do."""
    before, old = None, None
    for sigma, after in pairwise(sigmas):
        result = model(x, sigma)
        if after == 0:
            return result
        h = np.log(sigma / after)
        mixed = result if before is None else (1 + h / (2 * old)) * result - h / (2 * old) * before
        x = (after / sigma) * x - (np.exp(-h) - 1) * mixed
        before, old = result, h
    return x


def test_a_multistep_sampler_is_led_back_at_levels_too(blind):
    """Its response, learnt at levels, says where its x over 1 + sigma is: what a gap moved is taken back."""

    def sample(velocity, x):
        def model(x, sigma):
            level, scaled = DIFFUSION.level(sigma), DIFFUSION.scaled(x, sigma)
            return scaled - level * velocity(scaled, level)

        return dpmpp_2m(KARRAS, model, x)

    learnt = response(sample, 16)
    sampler = Sampler("dpmpp_2m", response=learnt)
    levels = [DIFFUSION.level(sigma) for sigma in KARRAS]

    def end(schedule, correction):
        config = Config(level="output", schedule=schedule, correction=correction, force_last=False)
        session = of(config, sampler=sampler)

        def model(x, sigma):
            level, scaled = DIFFUSION.level(sigma), DIFFUSION.scaled(x, sigma)
            return session.predict(level, lambda: scaled - level * math.cos(4 * level) * torch.ones_like(x), scaled)

        x = 14.6 * torch.ones(1, 1, 1, 1, 1)
        return dpmpp_2m(KARRAS, model, x).item()

    assert len(levels) == 17 and len(learnt) == 17
    schedule = tuple(step not in (5, 6, 10) for step in range(16))
    true, without, corrected = end((True,) * 16, False), end(schedule, False), end(schedule, True)
    assert abs(corrected - true) < 0.5 * abs(without - true)


# -- several latents in one ----------------------------------------------------------------------------------------------

PARTS = [(1, 2, 3, 4, 4), (1, 2, 5)]


def packed(values):
    return torch.cat([value.reshape(1, 1, -1) for value in values], dim=-1)


def test_each_part_of_a_packed_latent_is_forecast_by_itself():
    """The picture goes along a line, the sound jumps: the first order suits one, the last value the other."""
    config = Config(level="output", schedule=(True, True, True, True, False, True), backtest=True, forecast_order=1)
    sigmas = [1.0, 0.8, 0.6, 0.4, 0.2, 0.1, 0.0]
    cost = CostModel(0.0, 0.0, 1.0, NOTHING)
    jumps = (5.0, 0.0, 1.0, 1.1, 9.0, 9.0)

    def run(parts):
        session = Session(config, NOTHING, sigmas, lambda *_: cost, parts=parts)
        outs = []
        for index, sigma in enumerate(sigmas[:-1]):
            values = packed([torch.full(PARTS[0], 2 + 3 * sigma), torch.full(PARTS[1], jumps[index])])
            outs.append(session.predict(sigma, lambda values=values: values))
        return session, outs

    session, outs = run(PARTS)
    picture, sound = outs[4].split([96, 10], dim=-1)
    trust = session.outputs._paths[0]._anchors.trust
    line = 2 + 3 * (0.4 - trust * 0.2)
    assert torch.allclose(picture, torch.full_like(picture, line), atol=1e-5) and trust > 0
    assert torch.equal(sound, torch.full_like(sound, 1.1))
    assert len(session.report.heat) == 4 and session.report.bytes_held == session.report.bytes_predicted
    whole, together = run(())
    assert not torch.equal(together[4], outs[4])


def test_parts_that_do_not_fit_end_the_caching_with_a_note():
    cost = CostModel(0.0, 0.0, 1.0, NOTHING)
    config = Config(level="output", schedule=(True, False) * 3)
    session = Session(config, NOTHING, [1.0, 0.8, 0.6, 0.4, 0.2, 0.1, 0.0], lambda *_: cost, parts=PARTS)
    for sigma in (1.0, 0.8):
        assert session.predict(sigma, lambda: torch.ones(1, 1, 9)).shape == (1, 1, 9)
    assert session.report.computed == 2 and any(note.startswith("caching stopped") for note in session.report.notes)


def test_a_plan_made_at_levels_serves_other_sigmas():
    model = Painter()
    plan = Planner(calibrated(model)[0])
    plan = plan.plan(plan.choose(Budget(speedup=3.0)), Budget(speedup=3.0), "0")
    config = planned_config(plan, Config(), "Painter", NOTHING)
    fitted, moved, _ = fitted_config(plan, config, [DIFFUSION.level(s) for s in KARRAS], Sampler())
    assert moved and sum(fitted.schedule) == 5


def test_samplers_that_remember_compute_every_step():
    model = Painter()
    config, adapter = Config(level="auto"), outputs_only(model)
    with attach(model, config, SIGMAS, GRID, adapter=adapter, sampler="ar_video") as session:
        _, called = sampled(model, session)
    assert len(called) == STEPS and "with ar_video the model remembers every call" in session.report.summary()
