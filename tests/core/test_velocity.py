"""Reuse of whole outputs and retro-correction: hand arithmetic, a simulated Euler run, every reason to compute after all."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch

from demo.toys import toy_case
from synccache_core import Config, Layout, Sampler, Session, StateError
from synccache_core.contract.case import running, sample
from synccache_core.decide.schedules import evened
from synccache_core.model.cost import parameter_cost
from synccache_core.model.samplers import response
from synccache_core.model.tick import Tick
from synccache_core.reuse.outputs import Outputs, Velocities
from synccache_core.reuse.parts import Streams

from .test_schedule import euler, random_path

LAYOUT = Layout(4, (0, 1, 3))
HAND = [1.0, 0.75, 0.5, 0.25, 0.0]


def session(schedule, sigmas=HAND, sampler="euler", guidance=1.0, ends=False, **settings):
    config = Config(
        schedule=schedule, force_last=ends, **{"level": "output", "forecast_order": 0, "max_gain": 9.0, **settings}
    )
    known = sampler if isinstance(sampler, Sampler) else Sampler(sampler)
    return Session(config, LAYOUT, sigmas, lambda g, t: parameter_cost(LAYOUT, 9, 1, 1), sampler=known, guidance=guidance)


def loop(run, sigmas, velocity, x=0.0, as_denoised=False):
    """x after every Euler step, and how often the velocity was asked for."""
    positions, calls = [], []
    x = torch.full((1, 3), float(x)) if isinstance(x, float) else x

    def model(t):
        calls.append(t)
        v = velocity(x, t)
        return x - sigmas[t] * v if as_denoised else v

    for t, (here, there) in enumerate(pairwise(sigmas)):
        out = run.predict(here, lambda t=t: model(t), x if as_denoised else None)
        v = (x - out) / here if as_denoised else out
        x = x + (there - here) * v
        positions.append(x.clone())
    return positions, calls


def known(values):
    return lambda x, t: torch.full((1, 3), float(values[t]))


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("as_denoised", [False, True])
def test_correction_by_hand(as_denoised):
    # y0 = 4 is used for step 1 as well; with y2 = 2 the line says 3 there, so step 2 is given 2 + (-.25 (3 - 4)) / -.25 = 1
    run = session((True, False, True, False), correction=True)
    positions, calls = loop(run, HAND, known([4, 99, 2, 99]), as_denoised=as_denoised)
    assert [p[0, 0].item() for p in positions] == pytest.approx([-1.0, -2.0, -2.25, -2.75])
    assert calls == [0, 2] and run.report.corrections == 1 and (run.report.computed, run.report.reused) == (2, 2)
    assert run.report.summary().splitlines()[3] == "cache 24 bytes of whole outputs, order 0, 1 corrected"


@pytest.mark.usefixtures("blind")
def test_correction_by_hand_where_the_model_is_told_another_sigma():
    # x moves by (1, .5, .8, 1) of the model's velocity: the gap got 4, the line says 3, -.125 (3 - 4) / -.2 = -.625
    run, x, given = session((True, False, True, False), correction=True), torch.zeros(1, 3), []
    for here, share, velocity in zip(HAND, (1, 0.5, 0.8, 1), (4, 99, 2, 99)):
        told = None if share == 1 else share * here
        out = run.predict(here, lambda: x - share * here * velocity, x, told)  # noqa: B023 - called at once
        x = x - 0.25 * (x - out) / here
        given.append(x[0, 0].item())
    assert given == pytest.approx([-1.0, -1.5, -1.775, -2.275]) and run.report.corrections == 1
    assert [step.sigma for step in run.report.steps] == HAND[:-1]


def test_a_line_goes_on_in_steps_not_in_sigma():
    """A shifted schedule: the first step is .04 of sigma, the last .73. Outputs 1, 2, 3, 4 are continued exactly."""
    sigmas = [8 * t / (1 + 7 * t) for t in HAND]
    run = session((True, True, False, False), sigmas, forecast_order=1)
    positions, _ = loop(run, sigmas, known([1, 2, 99, 99]))
    moves = np.diff([0.0, *(position[0, 0].item() for position in positions)]) / np.diff(sigmas)
    assert moves.tolist() == pytest.approx([1, 2, 3, 4], abs=1e-5)


@pytest.mark.parametrize(("guidance", "backtest", "given"), [(1.0, True, 5.641), (6.0, True, 4.0), (6.0, False, 6.0)])
def test_a_gap_that_is_stiff_is_extrapolated_less(guidance, backtest, given):
    # outputs 2 at 1 and 4 at .75: the line says 6 at .5. Until .25 z = guidance ln 3: 2 / 1.0986 - 1 = .820 of the way at 1
    run = session((True, True, False, True), guidance=guidance, backtest=backtest, forecast_order=1)
    positions, calls = loop(run, HAND, known([2, 4, 99, 1]))
    assert calls == [0, 1, 3]
    assert (positions[1] - positions[2])[0, 0].item() / 0.25 == pytest.approx(given, abs=1e-3)


def test_without_correction_by_hand():
    run = session((True, False, True, False))
    positions, _ = loop(run, HAND, known([4, 99, 2, 99]))
    assert [p[0, 0].item() for p in positions] == pytest.approx([-1.0, -2.0, -2.5, -3.0])
    assert run.report.corrections == 0 and run.report.bytes_held == 12


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize(("order", "correction"), list(product((0, 1, 2), (False, True))))
def test_frozen_dynamics_end_where_the_planner_says(order, correction):
    """Against the simulator that the planner is tested with, with true outputs that do not depend on x."""
    sigmas, outputs = random_path(12, size=3, seed=order)
    draw = np.random.default_rng(7)
    for _ in range(8):
        schedule = [0, *sorted(draw.choice(np.arange(1, 12), 5, replace=False).tolist())]
        mask = tuple(t in schedule for t in range(12))
        run = session(mask, sigmas.tolist(), forecast_order=order, correction=correction)
        got, calls = loop(run, sigmas.tolist(), lambda x, t: torch.tensor(outputs[t], dtype=torch.float32)[None])
        want, _ = euler(sigmas, lambda x, t: outputs[t], schedule, order, correction)
        assert calls == schedule
        assert np.abs(np.stack([g[0].numpy() for g in got]) - np.stack(want)).max() < 2e-5 * np.abs(want).max()


@pytest.mark.usefixtures("blind")
def test_a_corrected_step_ends_where_interpolation_would_have():
    """Outputs on a parabola in sigma, order 1: behind the third computed step no error is left, whatever was used."""
    sigmas = np.linspace(1.0, 0.0, 9)
    path = [3 - 2 * s + 5 * s * s for s in sigmas]
    run = session((True, False, True, False, False, True, True, True), sigmas.tolist(), correction=True, forecast_order=1)
    got, _ = loop(run, sigmas.tolist(), known(path))
    true = np.cumsum(np.diff(sigmas) * path[:-1])
    first_line = sum((sigmas[2] - sigmas[1]) * (v - path[1]) for v in [(path[0] + path[2]) / 2])
    assert got[5][0, 0].item() - true[5] == pytest.approx(first_line, abs=1e-5)
    assert abs(got[4][0, 0].item() - true[4] - first_line) > 0.01


def test_correction_helps_residual_reuse_on_a_toy():
    """Real dynamics, both levels: the final position is nearer to the uncached one."""
    case = toy_case()
    sigmas = [1 - i / 16 for i in range(17)]
    x, audio = case.tensors(0)

    def run(correction, level):
        settings = {"schedule": (True, False, False, False) * 4, "level": level, "correction": correction}
        case.sigmas = sigmas
        with torch.no_grad(), running(case, force_last=False, **settings) as s:
            now = x[:, :6]
            for here, there in pairwise(sigmas):
                def model(now=now, here=here):
                    return 0.2 * case.call(case.model, torch.cat([now, x[:, 6:]], 1), here, audio)

                now = now + (there - here) * s.predict(here, model)
            assert s.report.corrections == (3 if correction else 0) and s.report.reused == 12
            assert s.report.bytes_held == s.report.bytes_predicted
        return now

    case.sigmas = sigmas
    with torch.no_grad():
        true = x[:, :6]
        for here, there in pairwise(sigmas):
            true = true + (there - here) * 0.2 * case.call(case.model, torch.cat([true, x[:, 6:]], 1), here, audio)
    for level in ("residual", "output"):
        plain, corrected = ((run(c, level) - true).norm() for c in (False, True))
        assert corrected < 0.5 * plain


def test_bytes_are_those_of_the_anchors_and_the_sum():
    for order, correction in product((0, 1, 2), (False, True)):
        run = session((True, True, True, False), forecast_order=order, correction=correction)
        loop(run, HAND, known([1, 2, 3, 4]))
        assert run.report.bytes_held == run.report.bytes_predicted == 12 * (order + 1 + correction)
        run.close()
        assert run.outputs._paths[0].bytes == 0


def test_nothing_held_is_shared_with_the_host():
    run, handed = session((True, False, False, False), correction=True), []
    out = torch.ones(1, 3)
    for sigma in HAND[:-1]:
        handed.append(run.predict(sigma, lambda: out))
        handed[-1].mul_(1e6)  # the host's own tensor, in place
    assert handed[2].unique().tolist() == [1e6] and handed[3].unique().tolist() == [1e6]


def test_a_forecast_that_is_not_finite_computes():
    run = session((True, True, False, False, True), [1.0, 0.8, 0.6, 0.4, 0.2, 0.0], forecast_order=1)
    _, calls = loop(run, run.clock.sigmas, known([3e38, -3e38, 5, 7, 5]))
    assert calls == [0, 1, 2, 4] and run.report.steps[2].reason == "nonfinite forecast"
    run = session((True, False, True, False))
    _, calls = loop(run, HAND, known([float("nan"), 1, 2, 3]))
    assert calls == [0, 1, 2] and run.report.steps[1].reason == "nonfinite forecast"


def test_a_sigma_that_repeats_is_served_and_one_that_rises_is_not():
    run = session((True, False, False, True, False))
    sigmas, calls = [1.0, 1.0, 1.1, 0.5, 0.5], []
    for sigma in sigmas:
        run.predict(sigma, lambda sigma=sigma: calls.append(sigma) or torch.full((1,), sigma))
    assert calls == [1.0, 1.1, 0.5] and run.report.steps[2].reason == "sigma turned back"


def test_a_shape_that_changes_is_computed():
    run = session((True, False, False, False))
    for sigma, batch in zip(HAND, (1, 2, 2, 2)):
        x = torch.ones(batch, 3)
        assert run.predict(sigma, lambda x=x: x * 0.5, x).shape == (batch, 3)
    assert [s.reason for s in run.report.steps] == ["warm-up", "shape changed", "schedule", "schedule"]


def test_samplers_that_renoise_have_denoised_forecast():
    """Denoised 0.5 whatever x is: a velocity from before would carry the old x."""
    run = session((True, False, True, True), sampler="lcm")
    first = run.predict(1.0, lambda: torch.full((1, 3), 0.5), torch.ones(1, 3))
    second = run.predict(0.75, lambda: None, torch.full((1, 3), -9.0))
    assert first.unique().tolist() == second.unique().tolist() == [0.5]


def test_what_a_sampler_cannot_have_is_said():
    run = session((True, False, False, False), sampler="er_sde", correction=True)
    loop(run, HAND, known([1, 2, 3, 4]))
    assert run.report.reused == 3 and run.report.corrections == 0
    assert any(note.startswith("correction is off") and "this run uses er_sde" in note for note in run.report.notes)
    run = session((True, False, False, False), sampler="euler_cfg_pp")
    _, calls = loop(run, HAND, known([1, 2, 3, 4]))
    assert calls == [0, 1, 2, 3] and any("needs the model at every step" in note for note in run.report.notes)


def adams_bashforth(sigmas, velocity, x):
    """Two steps, the first by Euler: x' = x + h (3 v - v_before) / 2."""
    before = None
    for here, there in pairwise(sigmas):
        v = velocity(x, here)
        x = x + (there - here) * (v if before is None else 1.5 * v - 0.5 * before)
        before = v
    return x


def test_the_response_of_a_multistep_sampler_by_hand():
    got = response(lambda velocity, x: adams_bashforth([1.0, 0.75, 0.5, 0.25], velocity, x), 3)
    assert np.array(got) == pytest.approx(np.array([
        [0, 0, 0],
        [-0.25, 0, 0],
        [-0.25 + 0.125, -0.375, 0],
        [-0.25 + 0.125, -0.375 + 0.125, -0.375],
    ]))  # fmt: skip
    assert response(lambda velocity, x: velocity(velocity(x, 1.0), 0.5), 1) == ()  # two calls where one was asked for
    assert response(lambda velocity, x: velocity(x, 1.0) / 0, 1) == ()


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("order", [1, 2])
def test_a_multistep_sampler_is_led_back(order):
    """Outputs on a parabola, which interpolation knows: behind every computed step no error is left."""
    sigmas = np.linspace(1.0, 0.0, 17).tolist()
    path = [3 - 2 * s + 5 * s * s for s in sigmas]
    learnt = response(lambda velocity, x: adams_bashforth(sigmas, velocity, x), 16)

    def end(mask, correction):
        run = session(
            mask, sigmas, forecast_order=order, correction=correction, sampler=Sampler("uni_pc", response=learnt)
        )
        seen = []

        def velocity(x, sigma):
            seen.append(x.item())
            return run.predict(sigma, lambda: torch.full((1,), path[len(seen) - 1]))

        seen.append(adams_bashforth(sigmas, velocity, torch.zeros(1)).item())
        return np.array(seen), run

    computed = (0, 1, 2, 6, 11, 12, 15)
    true, _ = end((True,) * 16, False)
    mask = tuple(t in computed for t in range(16))
    without, _ = end(mask, False)
    with_it, run = end(mask, True)
    assert np.abs(with_it - true)[[7, 12, 13, 16]].max() < 1e-4
    assert order == 2 or np.abs(without - true)[[12, 16]].min() > 1e-2
    assert run.report.bytes_held <= run.report.bytes_predicted == 4 * (order + 1 + 6)
    run.close()
    assert run.outputs._paths[0].bytes == 0


def test_a_gap_of_unknown_length_is_not_corrected():
    path = Velocities(0, True, True)
    one = torch.ones(2)
    ticks = [Tick(step, 1 - 0.2 * step, step, move=None if step == 1 else -0.2) for step in range(5)]
    assert path.computed(ticks[0], one.clone(), keep=True) is None
    path.reused(ticks[1], one)
    assert path.computed(ticks[2], one * 3, keep=True) is None
    path.reused(ticks[3], one)
    assert path.computed(ticks[4], one * 5, keep=True).tolist() == [3.0, 3.0]  # the line says 4 at 0.4, 1 was used


def test_a_byte_budget_below_the_outputs_computes_and_says_so():
    run = session((True, False, False, False), memory_budget=11)
    _, calls = loop(run, HAND, known([1, 2, 3, 4]))
    assert calls == [0, 1, 2, 3] and any("11 bytes is too small for outputs" in note for note in run.report.notes)


def test_exceptions_of_the_model_pass_and_our_own_do_not(monkeypatch):
    class Boom(BaseException):
        pass

    def boom():
        raise Boom

    run = session((True, False, False, False))
    with pytest.raises(Boom):
        run.predict(1.0, boom)
    monkeypatch.setattr(Velocities, "forecast", lambda *_: 1 / 0)
    run = session((True, False, False, False))
    _, calls = loop(run, HAND, known([1, 2, 3, 4]))
    assert calls == [0, 1, 2, 3] and any("ZeroDivisionError" in note for note in run.report.notes)


def test_output_reuse_needs_predict():
    with pytest.raises(StateError, match="predict"), session((True,)).evaluation(1.0):
        pass


def test_predict_is_evaluation_where_nothing_else_is_wanted():
    case = toy_case()
    x, audio = case.tensors(0)
    with torch.no_grad(), running(case, target_speedup=2.0) as s:
        first = sample(case, s)
    with torch.no_grad(), running(case, target_speedup=2.0) as s:
        second = [
            s.predict(sigma, lambda sigma=sigma: case.call(case.model, x + sigma, sigma, audio))
            for sigma in case.sigmas[:-1]
        ]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_size_and_the_cost_are_known_at_output_level_too():
    case = toy_case()
    with torch.no_grad(), running(case, schedule=(True, False) * 6, level="output") as s:
        x, audio = case.tensors(0)
        for sigma in case.sigmas[:-1]:
            s.predict(sigma, lambda sigma=sigma: case.call(case.model, x + sigma, sigma, audio))
        report = s.report
    assert (report.tokens, report.branches, report.groups) == (8, 1, 0)
    assert report.computed == 7 and report.speedup_ideal == pytest.approx(12 / 7)  # the last step too, by default
    assert report.bytes_held == 4 * 6 * 8


@pytest.mark.parametrize(
    ("name", "sigmas", "expected"),
    [
        ("euler", [1.0, 0.5, 0.0], [1.0, 0.5, 0.0]),
        ("heun", [1.0, 0.5, 0.0], [1.0, 0.75, 0.5, 0.0]),
        ("seeds_3", [0.9, 0.6, 0.3], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]),
    ],
)
def test_evaluations_of_samplers(name, sigmas, expected):
    assert Sampler(name).evaluated(sigmas) == pytest.approx(expected)


def test_kinds_of_samplers():
    assert Sampler("euler").euler and Sampler("ddim").euler and not Sampler("euler", churn=True).euler
    assert not any(Sampler(name).euler for name in ("heun", "dpmpp_2m", "euler_ancestral", "unipc", "lcm"))
    assert Sampler("lcm").renoises and not any(Sampler(name).renoises for name in ("euler", "euler_ancestral", "heun"))
    assert all(Sampler(name).guidance_inside for name in ("euler_cfg_pp", "cfgpp_ud10_ab", "euler_pp"))
    assert not any(Sampler(name).guidance_inside for name in ("euler", "heunpp2", "dpmpp_2m", "gradient_estimation"))


@pytest.mark.parametrize("level", ["residual", "output"])
def test_sound_that_is_computed_at_every_step_is_not_corrected(level):
    """Picture [4] and sound [2] in one tensor: where residuals are reused, the sound is the model's own all the time."""
    sigmas, sampler = [1.0, 0.75, 0.5, 0.25, 0.0], Sampler("euler")
    parts = Streams([(1, 1, 1, 2, 2), (1, 1, 2)], beside=level == "residual")
    config = Config(schedule=(True, True, False, True), level=level, correction=True)
    outputs, _ = Outputs.of(config, sampler, -1.0, parts)
    generator, changed = torch.Generator().manual_seed(0), []
    for index, (sigma, after) in enumerate(pairwise(sigmas)):
        x, out = (torch.randn(1, 1, 6, generator=generator) for _ in range(2))
        tick = Tick(index, sigma, index, move=after - sigma)
        better = outputs.take(tick, out, x, index == 2, True)
        if better is not None:
            changed.append((index, (better != out).flatten().tolist()))
    assert changed == [(3, [True] * 4 + [level == "output"] * 2)]


@pytest.mark.parametrize(("second", "adapt", "moved"), [(4.05, True, True), (4.05, False, False), (5.0, True, False)])
def test_a_run_that_starts_still_computes_later(second, adapt, moved):
    """Step 2 of 12 lies .0244 of sigma below the first: from 4 to 4.05 is half of itself per unit of sigma, to 5 8 times."""
    sigmas = [8 * t / (1 + 7 * t) for t in (1 - step / 12 for step in range(13))]
    schedule = tuple(step in (0, 2, 4, 6, 8, 9, 10, 11) for step in range(12))
    run = session(schedule, sigmas, adapt=adapt)
    _, calls = loop(run, sigmas, known([4, 99, second, *[4.0] * 9]))
    later = evened(sigmas, schedule, 2, 0.5, end=False)
    assert later != schedule
    assert calls == [step for step, computed in enumerate(later if moved else schedule) if computed]


@pytest.mark.parametrize("warmup", [3, 5])
def test_a_warm_up_that_was_set_leaves_the_schedule_as_it_was_laid_out(warmup):
    """Its gaps of one step tell nothing, and what was laid out anew came on top of what the warm-up computes."""
    sigmas = [8 * t / (1 + 7 * t) for t in (1 - step / 20 for step in range(21))]
    runs = [session(None, sigmas, adapt=adapt, warmup=warmup, target_speedup=20 / 7) for adapt in (False, True)]
    plain, adapted = (loop(run, sigmas, known([4.0] * 20))[1] for run in runs)
    assert plain == adapted and plain[:warmup] == list(range(warmup)) and len(plain) == 7


def test_of_two_computed_steps_the_second_is_not_the_last():
    """Ten steps of shift 8 at 5x, see `blended`; the last one is reused. With three it is computed."""
    sigmas = [8 * t / (1 + 7 * t) for t in (1 - step / 10 for step in range(11))]
    for speed, expected in ((5.0, [0, 8]), (3.0, [0, 7, 9])):
        run = session(None, sigmas, target_speedup=speed, ends=True)
        assert loop(run, sigmas, known([4.0] * 10))[1] == expected
