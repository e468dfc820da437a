"""Calibration by hand on the model that doubles, subsets against the whole, and from calibration to a planned run."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from demo.toys import toy_case
from synccache_core import Config, Grid, Sampler, StateError, attach, calibrate
from synccache_core.decide.schedules import blended
from synccache_core.errors import BadInput
from synccache_core.model.adapters import Bound
from synccache_core.planning import recorder as calibrating
from synccache_core.planning.plan import Budget
from synccache_core.planning.planned import carried_over, describe, fewer, fitted_config, planned_config, settings_of
from synccache_core.planning.planner import Planner
from synccache_core.planning.recipes import STILL, Recipe
from synccache_core.planning.recorder import positions
from synccache_core.planning.schedule import Variant, predicted_error
from synccache_core.planning.subset import Subset, Track
from synccache_core.planning.trajectory import trajectory

from .test_session import ADAPTER, GRID, Doubling

STEPS = 16
SIGMAS = [1 - t / STEPS for t in range(STEPS + 1)]


def doubling(audios, **settings):
    """A recording of Doubling at x = 1 with these audios, the outputs being the velocity."""
    model, outputs = Doubling(), []
    sigmas = [1 - t / len(audios) for t in range(len(audios) + 1)]
    with torch.no_grad(), calibrate(model, sigmas, GRID, adapter=ADAPTER, **settings) as session:
        for sigma, audio in zip(sigmas, audios):
            outputs.append(session.predict(sigma, lambda audio=audio: model(torch.ones(1, 3, 1), audio)[:, :2]))
        return session.recording(), session.report, outputs


def test_what_is_measured_by_hand():
    # z0 = 2 + a, R1 = z0, z1 = 2 z0 + a, R2 = 3 z1; sum 7 z0 + 3 a = 14 + 10 a, output 8 z0 + 5 a = 16 + 13 a, at 2 tokens
    audios = np.array([0.0, 1.0, 2.0, 1.0, 5.0])
    recording, report, outputs = doubling(audios.tolist())
    assert [o[0, 0, 0].item() for o in outputs] == (16 + 13 * audios).tolist()
    assert recording.grams["residual", "whole"] == pytest.approx(2 * np.outer(14 + 10 * audios, 14 + 10 * audios))
    assert recording.grams["output", "whole"] == pytest.approx(2 * np.outer(16 + 13 * audios, 16 + 13 * audios))
    # each delta is the audio itself; steps 1 to 3 are reused, 0 and 4 computed; in units of the mean residual
    drift = 2 * np.mean((audios[1:4] - audios[0]) ** 2) / (2 * np.mean(14 + 10 * audios) ** 2)
    assert recording.audio == pytest.approx(np.array([[drift, drift, 0.0], [drift, drift, 0.0], [0.0, 0.0, 0.0]]))
    assert recording.residual_bytes == 8 and recording.output_bytes == 8 and recording.cost.layout.blocks == 4
    assert recording.boundaries == ((1, 2),)  # floor(0.4 * 3) = 1 residual for both segments
    assert recording.run.tokens == 2 and recording.adapter == "doubling" and 0 <= recording.shares["residual"] <= 1
    assert report.calibration and report.computed == 5 and report.bytes_held == 0
    assert report.summary().splitlines()[1] == "calibration: 5 steps, all computed"
    assert "nothing was reused" not in report.summary()


def test_a_mask_makes_a_region_of_its_own():
    mask = torch.tensor([[1.0, 0.0]])  # of the two tokens
    recording, _, _ = doubling([0.0, 1.0], mask=mask)
    whole, human = (recording.grams["residual", region] for region in ("whole", "human"))
    assert human == pytest.approx(whole / 2)
    assert recording.grams["output", "human"] == pytest.approx(recording.grams["output", "whole"] / 2)
    everywhere, report, _ = doubling([0.0, 1.0], mask=torch.ones(1, 2))
    assert ("residual", "human") not in everywhere.grams and any("human_mask" in note for note in report.notes)


@pytest.mark.parametrize(("shape", "count"), [((2, 3, 2, 5, 4), 40), ((2, 6, 5), 6), ((2, 8), 8)])
def test_positions_of_outputs(shape, count):
    grid = Grid(2, 3, 2) if len(shape) == 5 else Grid(1, 2, 3)
    human = torch.zeros(grid.tokens)
    human[1] = 1.0
    values = torch.randn(shape)
    rows, weights = positions(values, grid, human)
    assert rows.shape[:2] == (2, count) and rows.square().sum() == pytest.approx(values.square().sum().item())
    if len(shape) == 5:  # token (0, 0, 1) covers rows 0, 1 and columns 2, 3 of frame 0; the padded row 5 is cut
        assert torch.nonzero(weights)[:, 0].tolist() == [2, 3, 6, 7]
    else:
        assert weights is None or weights is human


def rough_path(seed=0, steps=16, total=4096, channels=24):
    """Values [T, 1, P, C] that bend in sigma, with tokens and channels of very different size."""
    g = torch.Generator().manual_seed(seed)
    scale = torch.exp(0.5 * torch.randn(total, 1, generator=g)) * torch.exp(0.5 * torch.randn(1, channels, generator=g))
    base, line, bend = (torch.randn(1, total, channels, generator=g) * scale for _ in range(3))
    sigmas = [1 - t / steps for t in range(steps)]
    return [base + 0.5 * s * line + 0.2 * bend * np.sin(5 * s) for s in sigmas], np.append(sigmas, 0.0)


def gram_of(values, subset, region="whole"):
    track = Track(len(values), subset)
    for t, value in enumerate(values):
        track.put(t, subset.rows(value))
    return track.gram(region)


def test_the_grams_of_subsets_are_unbiased_and_near():
    """512 of 4096 tokens of very different size: a Gram is off by 20 % at most, the planned error of a schedule by 10 %."""
    values, sigmas = rough_path()
    human = (torch.arange(4096) < 1000).float()
    whole = {region: gram_of(values, Subset.draw(4096, 4096, human), region) for region in ("whole", "human")}
    flat = torch.cat(values).flatten(1).double()
    assert whole["whole"] == pytest.approx((flat @ flat.T).numpy(), rel=1e-6)
    off, wrong = {"whole": [], "human": []}, []
    for seed in range(16):
        subset = Subset.draw(4096, 512, human, seed)
        for region in off:
            off[region].append(gram_of(values, subset, region) - whole[region])
        drawn, true = (trajectory(g, sigmas) for g in (gram_of(values, subset), whole["whole"]))
        ratios = [predicted_error(p, (0, 2, 5, 9, 13), Variant("output", 1)) for p in (drawn, true)]
        wrong.append(abs(ratios[0] / ratios[1] - 1))
    for region, errors in off.items():
        size = np.linalg.norm(whole[region])
        assert max(np.linalg.norm(e) for e in errors) < 0.2 * size and np.linalg.norm(sum(errors)) / 16 < 0.05 * size
    assert max(wrong) < 0.1


def test_half_of_a_subset_lies_in_the_mask():
    human = (torch.arange(100) < 20).float()
    drawn = Subset.draw(100, 10, human)
    assert int((drawn.indices < 20).sum()) == 5 and drawn.counts.tolist() == [4.0] * 5 + [16.0] * 5
    assert drawn.indices.tolist() == Subset.draw(100, 10, human).indices.tolist() == sorted(drawn.indices.tolist())
    all_inside = Subset.draw(100, 50, human)  # 20 in the mask are fewer than half: all of them, once each
    assert all_inside.counts.tolist() == [1.0] * 20 + [80 / 30] * 30
    outside = Subset.draw(100, 50, 1 - human)
    assert int((outside.indices < 20).sum()) == 20 and len(outside.indices) == 50
    assert Subset.draw(7, 99).counts.tolist() == [1.0] * 7


def toy_run(case, session=None, sigmas=SIGMAS, call=None):
    """Final x of an Euler run of a toy, and the schedule it computed."""
    x, audio = case.tensors(0)
    now = x[:, :6]
    call = call or case.call
    for here, there in pairwise(sigmas):
        def model(now=now, here=here):
            return 0.3 * call(case.model, torch.cat([now, x[:, 6:]], 1), here, audio)

        now = now + (there - here) * (session.predict(here, model) if session else model())
    return now, [s.index for s in session.report.steps if s.action == "compute"] if session else []


@pytest.fixture(scope="module", params=["after", "inside"])
def calibrated(request):
    """(case, uncached result, recording) of a toy."""
    case = toy_case(request.param)
    with torch.no_grad():
        plain, _ = toy_run(case)
        with calibrate(case.model, SIGMAS, case.grid, adapter=case.adapter) as session:
            recorded, _ = toy_run(case, session)
            recording = session.recording()
    assert torch.equal(recorded, plain), "calibration changed the output"
    return case, plain, recording


@pytest.mark.parametrize("merge", ["refresh", "freeze"])
@pytest.mark.parametrize("groups", [1, 3])
def test_every_plan_runs_as_planned(calibrated, merge, groups):
    """All recipes: the planned steps, the predicted bytes, an error that is in reach of the predicted one."""
    case, plain, recording = calibrated
    planner, ratios, probe = Planner(recording), [], recording.layout.audio == "inside"
    moved = (plain - case.tensors(0)[0][:, :6]).norm()
    for recipe in (recipe for recipe in planner.recipes if recipe.kind == "cache"):
        level = recipe.variant.level
        choice = planner.make(recipe, 6, groups if level == "residual" else 0)
        plan = replace(planner.plan(choice, Budget(computed=6), "0"), merge=merge, probe=probe)
        with torch.no_grad(), attach(case.model, Config(), SIGMAS, case.grid, adapter=case.adapter, plan=plan) as session:
            got, computed = toy_run(case, session)
        report = session.report
        assert computed == list(plan.schedule) and (report.level, report.order) == (plan.level, plan.order)
        whole = level == "residual" and not probe  # segment 0 has a residual as well
        assert report.bytes_held == report.bytes_predicted >= plan.predicted.bytes
        assert (report.bytes_predicted == plan.predicted.bytes) != whole
        assert report.speedup_ideal == pytest.approx(16 / (6 + 10 * recording.cost.share(level, groups, merge, plan.probe)))
        assert report.plan == describe(plan) and not report.remapped and report.notes == []
        assert (report.corrections > 0) == plan.correction
        ratios.append(((got - plain).norm() / moved).item() / choice.error)
    assert max(ratios) < 8.0, ratios


def test_incomplete_runs_make_no_recording(calibrated):
    case, _, _ = calibrated
    with torch.no_grad(), calibrate(case.model, SIGMAS, case.grid, adapter=case.adapter) as session:
        toy_run(case, session, SIGMAS[:-4])
        assert session.recording() is None
    assert any("ended after 12 of 16 steps" in note for note in session.report.notes)

    class Interrupt(BaseException):
        pass

    def interrupted(model, x, sigma, audio):
        if sigma < 0.5:
            raise Interrupt
        return case.call(model, x, sigma, audio)

    with torch.no_grad(), calibrate(case.model, SIGMAS, case.grid, adapter=case.adapter) as session:
        with pytest.raises(Interrupt):
            toy_run(case, session, call=interrupted)
        assert session.recording() is None


def test_a_recording_can_be_asked_for_early_and_twice():
    case = toy_case()
    with torch.no_grad(), calibrate(case.model, SIGMAS, case.grid, adapter=case.adapter) as session:
        early = []

        def call(*given):
            early.append(session.recording())
            return case.call(*given)

        toy_run(case, session, call=call)
        first, second = session.recording(), session.recording()
    assert early == [None] * STEPS and first.to_json() == second.to_json()
    assert first.residual_bytes == 6 * 8 * 4 == first.output_bytes and session.report.notes == []


def test_samplers_that_evaluate_twice_are_refused_by_name():
    case = toy_case()
    x, audio = case.tensors(0)
    with torch.no_grad():
        plain = [case.call(case.model, x, sigma, audio) for sigma in (1.0, 0.95, 0.95)]
    with torch.no_grad(), calibrate(case.model, SIGMAS[:2] + [0.0], case.grid, adapter=case.adapter) as session:
        session.recorder._facts["sampler"] = "heun"
        for sigma, true in zip((1.0, 0.95, 0.95), plain):
            assert torch.equal(session.predict(sigma, lambda s=sigma: case.call(case.model, x, s, audio)), true)
        assert session.recording() is None
    assert any("heun takes several evaluations per step" in note for note in session.report.notes)


def test_memory_is_bounded_and_freed(calibrated, monkeypatch):
    case, plain, whole = calibrated
    monkeypatch.setattr(calibrating, "LIMIT", 2 * 4 * STEPS * 8 * 2)  # two tokens of two branches; half of the outputs
    with torch.no_grad(), calibrate(case.model, SIGMAS, case.grid, adapter=case.adapter) as session:
        got, _ = toy_run(case, session)
        tracks = [session.recorder._outputs, *session.recorder._tracks.values()]
        sizes = [t._values.numel() * 4 for t in tracks]
        assert sizes == [STEPS * 4 * 8 * 4, STEPS * 2 * 8 * 4] and max(sizes) <= calibrating.LIMIT
        assert session.recording().grams["output", "whole"] != pytest.approx(whole.grams["output", "whole"])
    assert torch.equal(got, plain) and session.recorder._outputs is None and not session.recorder._tracks


def test_our_own_failure_leaves_the_run_alone(monkeypatch):
    monkeypatch.setattr(Subset, "rows", lambda *_: 1 / 0)
    case = toy_case()
    with torch.no_grad():
        plain, _ = toy_run(case)
    with torch.no_grad(), calibrate(case.model, SIGMAS, case.grid, adapter=case.adapter) as session:
        got, _ = toy_run(case, session)
        assert torch.equal(got, plain) and session.recording() is None
    assert any(note.startswith("calibration stopped: ZeroDivisionError") for note in session.report.notes)
    with pytest.raises(StateError, match="already attached"), calibrate(case.model, SIGMAS, case.grid, adapter=case.adapter):
        with calibrate(case.model, SIGMAS, case.grid, adapter=case.adapter):
            pass


def test_a_plan_at_other_sigmas(calibrated):
    case, _, recording = calibrated
    planner = Planner(recording)
    plan = planner.plan(planner.choose(Budget(computed=6)), Budget(computed=6), "0")
    for steps, kept, given, said in (
        (12, 5, plan, "5 of 12 are computed"), (20, 8, plan, "8 of 20 are computed"),
        (32, 12, plan, "12 of 32 are computed, at the nearest sigmas"),
        (12, 5, replace(plan, sketch=()), "5 of 12 are computed, at the nearest sigmas"),
    ):  # fmt: skip
        sigmas = [1 - t / steps for t in range(steps + 1)]
        with torch.no_grad(), attach(case.model, Config(), sigmas, case.grid, adapter=case.adapter, plan=given) as session:
            _, computed = toy_run(case, session, sigmas)
        assert len(computed) == kept and computed[0] == 0 and session.report.remapped
        assert any(said in note for note in session.report.notes)
    with torch.no_grad(), attach(case.model, Config(), SIGMAS, case.grid, adapter=case.adapter, plan=plan) as session:
        toy_run(case, session, SIGMAS[:5])  # fewer evaluations than promised: nothing breaks
    assert len(session.report.steps) == 4


def test_a_plan_that_was_spread_is_spread_anew(calibrated):
    _, _, recording = calibrated
    planner = Planner(recording)
    plan = planner.plan(planner.make(Recipe(Variant("output", 1), 0.5), 6), Budget(computed=6), "0")
    sigmas = [1 - t / 20 for t in range(21)]
    config, moved, notes = fitted_config(plan, Config(), sigmas, Sampler())
    assert [t for t, full in enumerate(config.schedule) if full] == list(blended(sigmas, 8, 0.5)) and moved
    assert notes == ["plan made for 16 evaluations at other sigmas: spread anew, 8 of 20 are computed"]


def test_a_plan_of_fewer_steps_wants_a_loop_of_these(calibrated):
    case, plain, recording = calibrated
    planner = Planner(recording)
    plan = planner.plan(planner.make(Recipe(STILL, None, "plain"), 6), Budget(computed=6), "0")
    settings = {"adapter": case.adapter, "plan": plan}
    with torch.no_grad(), attach(case.model, Config(), plan.own_sigmas, case.grid, **settings) as session:
        got, computed = toy_run(case, session, list(plan.own_sigmas))
    with torch.no_grad():
        alone, _ = toy_run(case, None, list(plan.own_sigmas))
    assert torch.equal(got, alone) and computed == list(range(6)) and session.report.bytes_held == 0
    still = replace(plan, kind="cache")
    with torch.no_grad(), attach(case.model, Config(), SIGMAS, case.grid, adapter=case.adapter, plan=still) as session:
        reused, _ = toy_run(case, session)
    assert torch.allclose(reused, got, atol=1e-5)  # Euler's fewer steps are reuse of the last output
    with pytest.raises(BadInput, match="takes 6 steps and reuses nothing, got sigmas of 16 steps: sample over"):
        with attach(case.model, Config(), SIGMAS, case.grid, **settings):
            pass
    other = [1 - t / 8 for t in range(9)]
    steps, note = fewer(plan, other)
    assert len(steps) == 3 and steps[0] == 0 and "3 of 8" in note
    assert fewer(plan, SIGMAS) == (plan.schedule, "") and fewer(still, SIGMAS) == (tuple(range(16)), "")
    for odd in (other[::-1], [*other[:4], *other[3:]]):
        steps, note = fewer(plan, odd)
        assert steps == tuple(range(len(odd) - 1)) and note.endswith("these do not: all are taken")
        told = settings_of(Config(), Bound(case.adapter, case.model), case.grid, odd, Sampler(), plan)
        assert told.plan == "" and told.config.off
    for each in (plan, still):  # one sigma: SplitSigmas behind the last step
        assert fewer(each, [0.0]) == carried_over(each, [0.0]) == ((), "")
        assert "here its" not in describe(each, [0.0])


def test_a_plan_decides_what_it_decides_and_no_more(calibrated):
    case, _, recording = calibrated
    planner, base = Planner(recording), Config(cache_device="cpu", human_weight=0.5, memory_budget=1 << 20)
    choice = planner.make(Recipe(Variant("residual", 2, True)), 6)
    plan = planner.plan(choice, Budget(computed=6), "0")
    config = planned_config(plan, base, case.adapter.name, recording.layout)
    assert (config.cache_device, config.human_weight, config.memory_budget) == ("cpu", 0.5, 1 << 20)
    assert (config.level, config.forecast_order, config.correction, config.groups) == ("residual", 2, True, plan.groups)
    assert config.schedule == plan.mask and not config.force_last and config.merge == "freeze" and config.probe
    with pytest.raises(BadInput, match="'humo'"):
        planned_config(replace(plan, adapter="humo"), base, case.adapter.name, recording.layout)
    with pytest.raises(BadInput, match="after-9x9"):
        planned_config(replace(plan, layout="after-9x9"), base, case.adapter.name, recording.layout)
    fitted, moved, notes = fitted_config(plan, config, SIGMAS, Sampler("heun"))
    assert len(fitted.schedule) == 2 * STEPS - 1 and moved and sum(fitted.schedule) == 12
    assert any("made with sampler euler, this run uses heun" in note for note in notes)
    assert fitted_config(plan, config, SIGMAS, Sampler(), tokens=6) == (config, False, [])
    assert "6 video tokens, this run has 9" in fitted_config(plan, config, SIGMAS, Sampler(), tokens=9)[2][0]
