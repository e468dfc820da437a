"""Calibrate, plan, sample by the plan, in a real ComfyUI; output reuse and correction with samplers of all kinds."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from .test_semantics import close, run_sampler

pytestmark = pytest.mark.host
OUTPUT = {"level": "output", "schedule": (True, True, False, False) * 3, "force_last": False}


@pytest.fixture(scope="module")
def core(comfy):
    """The core's modules as the host imported them."""
    return comfy.core


def calibrate(stage, **inputs):
    """(MODEL, run) of the Calibrate node."""
    return stage.execute(stage.comfy.ids["SyncCacheCalibrate"], **{"model": stage.model, **inputs})


def calibrated(stage, steps=12, **inputs):
    """(uncached latent, run) of a run of the Calibrate node; the latent is vanilla, bit for bit."""
    conditioning, sampler = inputs.pop("conditioning", None), inputs.pop("sampler", "euler")
    plain = stage.sample(stage.model, conditioning, steps=steps, sampler=sampler)
    model, run = calibrate(stage, **{"replays": 0, **inputs})
    assert torch.equal(stage.sample(model, conditioning, steps=steps, sampler=sampler), plain)
    return plain, run


def halved():
    mask = torch.zeros(1, 32, 32)
    mask[:, :16] = 1.0
    return mask


def plan_of(core, recording, computed, merge="refresh", probe=True, kind="cache", alpha=None, **variant):
    """The plan of a recipe."""
    planner, wanted = core.planning.planner.Planner(recording), core.planning.schedule.Variant(**variant)
    choice = planner.make(core.planning.recipes.Recipe(wanted, alpha, kind), computed)
    return replace(planner.plan(choice, core.planning.plan.Budget(computed=computed), "0"), merge=merge, probe=probe)


def computed_steps(report):
    return [step.index for step in report.steps if step.action == "compute"]


def test_calibration_changes_nothing_and_measures(stage):
    _, run = calibrated(stage, human_mask=halved())
    recording, report = run.of(None).recording(), run.reports[0]
    assert report.calibration and report.computed == 12 and report.notes == []
    assert "calibration: 12 steps" in run.of(None).summary()
    assert recording.adapter == "wan_s2v" and recording.run.sampler == "euler" and recording.run.cfg == 3.0
    assert len(recording.run.sigmas) == 13 and recording.run.tokens == 3 * 4 and recording.run.shift > 0
    assert set(recording.grams) == {(a, b) for a in ("output", "residual") for b in ("whole", "human")}
    assert recording.residual_bytes == 2 * 12 * 48 * 4 and recording.output_bytes == 16 * 3 * 4 * 4 * 4
    assert recording.audio.shape == (4, 4) and recording.audio.diagonal()[:3].min() > 0  # the last one nobody can see
    assert 0 < recording.shares["residual"] < 1  # of seconds, which a busy machine spends where it likes


def test_calibration_of_separate_and_of_changing_guidance(stage, monkeypatch):
    from comfy.model_patcher import ModelPatcher

    _, batched = calibrated(stage)
    for free in (lambda count: 0, lambda count: 0 if count % 3 else 1 << 40):
        count = [0]

        def memory(self, device, free=free, count=count):
            count[0] += 1
            return free(count[0])

        monkeypatch.setattr(ModelPatcher, "get_free_memory", memory)
        model, run = calibrate(stage, replays=0)
        stage.sample(model)
        for track, gram in batched.of(None).recording().grams.items():
            assert run.of(None).recording().grams[track] == pytest.approx(gram, rel=1e-3, abs=1e-3 * gram.max())
    monkeypatch.setattr(ModelPatcher, "get_free_memory", lambda self, device: 0)
    calibrated(stage)


def test_from_calibration_to_a_planned_run(stage, core):
    """The whole way through the nodes: the steps, bytes and level of the plan, and a result near the uncached one."""
    plain, run = calibrated(stage)
    recording = run.of(None).recording()
    for variant in (
        {"level": "output", "order": 2, "correction": True}, {"level": "residual", "order": 1, "correction": True},
        {"level": "residual", "order": 1, "merge": "freeze", "probe": False},
    ):  # fmt: skip
        plan = plan_of(core, recording, 6, **variant)
        model, planned = stage.node(plan_json=plan.to_json())
        out, report = stage.sample(model), planned.reports[0]
        assert computed_steps(report) == list(plan.schedule) and report.level == plan.level
        # predicted is the fullest: no gap may come while all anchors of order 2 are there
        assert 0.7 * plan.predicted.bytes < report.bytes_held <= report.bytes_predicted
        assert (report.bytes_predicted == plan.predicted.bytes) == plan.probe  # without it segment 0 has a residual as well
        assert (report.corrections > 0) == plan.correction and not report.remapped
        assert report.plan.startswith("6 of 12 steps computed") and f"plan: {report.plan}" in planned.of(None).summary()
        assert any(note.startswith("a plan decides: preset, target_speedup") for note in report.notes)
        assert close(out, plain, 0.3) and not torch.equal(out, plain)


def test_the_guidance_of_a_guider_with_two_scales_is_recorded(stage):
    from comfy_extras.nodes_custom_sampler import DualCFGGuider

    from .test_samplers import falling

    positive, negative, latent = stage.conditioning()
    model, run = calibrate(stage, replays=0)
    scales = {"cfg_conds": 2.5, "cfg_cond2_negative": 4.0, "style": "regular"}
    guider = DualCFGGuider.execute(model, positive, positive, negative, **scales).args[0]
    noise = torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(0))
    sampler = stage.comfy.samplers.sampler_object("euler")
    result = guider.sample(noise, latent["samples"], sampler, falling(stage, 6), seed=1)
    assert run.of(result).recording().run.cfg == 2.5


@pytest.mark.parametrize("sampler", ["euler", "uni_pc", "dpmpp_2m"])
def test_a_plan_of_fewer_steps_exchanges_the_sigmas(stage, core, sampler):
    """The same as the sampler over these sigmas by itself, with progress and previews that count them."""
    _, run = calibrated(stage, sampler=sampler)
    plan = plan_of(core, run.of(None).recording(), 5, level="output", order=0, kind="plain")
    model, planned = stage.node(plan_json=plan.to_json())
    got, counts = progress_of(lambda: stage.sample(model, sampler=sampler))
    report, (event, *_) = planned.reports[0], planned.reports
    assert torch.equal(got, alone(stage, sampler, plan.own_sigmas)) and event is report
    # A busy host leaves some out.
    assert counts == sorted(set(counts)) and counts[-1] == (5, 5) and {whole for _, whole in counts} == {5}
    assert (report.computed, report.reused, report.asked, report.finished) == (5, 0, 12, True)
    assert report.speedup_ideal == pytest.approx(12 / 5) and report.bytes_held == 0 and report.corrections == 0
    text = planned.of(None).summary()
    assert "takes fewer steps: 5 of 12, all computed" in text and "nothing was reused" not in text
    assert report.plan == "5 of 12 steps taken, nothing reused" and not report.remapped
    again = stage.sample(stage.model, sampler=sampler)
    assert torch.equal(stage.sample(model, sampler=sampler), got) and not torch.equal(again, got)


def test_fewer_steps_at_other_sigmas_and_over_a_part(stage, core):
    _, run = calibrated(stage)
    plan = plan_of(core, run.of(None).recording(), 6, level="output", order=0, kind="plain")
    model, planned = stage.node(plan_json=plan.to_json())
    stage.sample(model, steps=20)
    report = planned.reports[0]
    assert (len(report.steps), report.asked, report.remapped) == (10, 20, True)
    assert any("10 of 20 are computed" in note for note in report.notes)
    model, planned = stage.node(plan_json=plan.to_json())
    stage.sample(model, denoise=0.5)
    report = planned.reports[0]
    assert report.asked == 12 and 1 < len(report.steps) <= 8 and report.steps[0].sigma < 1 and report.finished


def alone(stage, sampler, sigmas):
    """The latent of the sampler over `sigmas`, without us."""
    import comfy.sample
    import comfy.samplers

    positive, negative, latent = stage.conditioning()
    samples = latent["samples"]
    kind, noise = comfy.samplers.sampler_object(sampler), comfy.sample.prepare_noise(samples, 1)
    return comfy.sample.sample_custom(
        stage.model, noise, 3.0, kind, torch.tensor(sigmas), positive, negative, samples, disable_pbar=True, seed=1
    )


def progress_of(work):
    """(result, [(steps done, of how many)]) as the host shows progress."""
    import comfy.utils

    before, seen = comfy.utils.PROGRESS_BAR_HOOK, []
    comfy.utils.set_progress_bar_global_hook(lambda value, total, *_, **__: seen.append((value, total)))
    try:
        return work(), seen
    finally:
        comfy.utils.set_progress_bar_global_hook(before)


def test_a_plan_for_forty_steps_on_thirty_and_fifty(stage, core):
    _, run = calibrated(stage, steps=40)
    plan = plan_of(core, run.of(None).recording(), 10, level="output", order=1)
    for steps, kept in ((30, 8), (50, 13)):
        model, planned = stage.node(plan_json=plan.to_json())
        out, report = stage.sample(model, steps=steps), planned.reports[0]
        assert report.computed == kept and report.remapped and len(report.steps) == steps
        assert any(f"{kept} of {steps} are computed" in note for note in report.notes)
        assert close(out, stage.sample(stage.model, steps=steps), 0.5)


def test_several_calibrations_of_a_prompt_are_merged(stage, core):
    model, run = calibrate(stage, replays=0)
    for seed in (1, 2):
        stage.sample(model, seed=seed)
    assert run.of(None).recording().count == 2
    stage.sample(model, steps=8)
    with pytest.raises(core.files.checked.BadInput, match="do not merge: 12 and 8"):
        run.of(None).recording()


def test_an_interrupted_calibration_records_nothing(stage):
    from comfy.model_management import InterruptProcessingException

    model, run = calibrate(stage, replays=0)
    with pytest.raises(stage.comfy.core.StateError, match="there is no calibration: connect the run"):
        run.of(None).recording()
    count = [0]

    def cancel(executor, *args, **kwargs):
        count[0] += 1
        if count[0] == 12:
            raise InterruptProcessingException()
        return executor(*args, **kwargs)

    model.add_wrapper_with_key("diffusion_model", "cancel", cancel)
    with pytest.raises(InterruptProcessingException):
        stage.sample(model)
    with pytest.raises(stage.comfy.core.StateError, match="not interrupted"):
        run.of(None).recording()
    model.remove_wrappers_with_key("diffusion_model", "cancel")
    stage.sample(model)
    assert run.of(None).recording().count == 1


def test_replays_measure_what_plans_really_give(stage, core):
    """The first kinds of the list, against the latent that the sampler gives by the same plan."""
    plain, run = calibrated(stage, replays=5, target_speedup=1.5, cache_ratio=0.5, human_mask=halved())
    recording, report = run.of(None).recording(), run.reports[0]
    plans, tried = recording.replays, [core.planning.recipes.of_plan(plan) for plan in recording.replays]
    assert tried == core.planning.recipes.telling(recording, plans[0].budget)[:5]
    assert len(run.reports) == 1 and sum(p.plain for p in plans) == 1
    assert [note[:9] for note in report.notes] == ["replayed "] * 5 + ["5 replays"]
    moved = recording.displacement("whole")
    for plan in plans:
        model, planned = stage.node(plan_json=plan.to_json(), human_mask=halved())
        got = stage.sample(model)
        assert planned.reports[0].computed == len(plan.schedule) and plan.measured.bytes == planned.reports[0].bytes_held
        assert planned.reports[0].asked == 12 * plan.plain
        scale = stage.model.model.latent_format.latents_std.view(1, 16, 1, 1, 1)
        apart, height = ((got - plain) / scale).double(), got.shape[3] // 2
        parts = (apart.norm().item() / moved, apart[..., :height, :].norm().item() / recording.displacement("human"))
        assert plan.measured.error == pytest.approx((0.25 * parts[0] ** 2 + 0.75 * parts[1] ** 2) ** 0.5, rel=2e-2)
    chosen = core.planning.planner.Planner(recording).choose(core.planning.plan.Budget(speedup=1.5, cache_ratio=0.5))
    again = core.planning.planner.Planner(recording).plan(chosen, plans[0].budget, "0")
    assert again.measured in [plan.measured for plan in plans]
    assert again.predicted.error == pytest.approx(again.measured.error)


@pytest.mark.parametrize(("trial", "done"), [(1, 0), (1, 3), (2, 0)])
def test_an_interrupted_replay_is_told_as_ended(stage, monkeypatch, trial, done):
    """At the first step of a trial too, of which nothing was told yet."""
    from comfy.model_management import InterruptProcessingException

    said = []
    monkeypatch.setattr(stage.comfy.text.Strip, "__call__", lambda self, event: said.append(event.get("run", {})))
    model, _ = calibrate(stage, replays=2)

    def cancel(executor, *args, **kwargs):
        steps = sum(bool(run) and not run.get("ended") for run in said)  # 12 of the calibration, then of each trial
        if steps >= 12 * trial + done:
            raise InterruptProcessingException()
        return executor(*args, **kwargs)

    model.add_wrapper_with_key("diffusion_model", "cancel", cancel)
    with pytest.raises(InterruptProcessingException):
        stage.sample(model)
    last = said[-1]
    assert last["ended"] and not last["finished"] and done <= len(last["cells"]) < last["expected"] <= 12
    assert last["replay"]["values"] == {"number": str(trial), "count": "2"}


def test_an_interrupted_replay_keeps_nothing(stage, tmp_path, monkeypatch):
    import folder_paths
    from comfy.model_management import InterruptProcessingException

    kept = tmp_path / "kept"
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "synccache_calibrations", ([str(kept)], set()))
    model, run = calibrate(stage, replays=2, save_as="studio")
    count = [0]

    def cancel(executor, *args, **kwargs):
        count[0] += 1
        if count[0] == 14:
            raise InterruptProcessingException()
        return executor(*args, **kwargs)

    model.add_wrapper_with_key("diffusion_model", "cancel", cancel)
    options = model.model_options
    with pytest.raises(InterruptProcessingException):
        stage.sample(model)
    with pytest.raises(stage.comfy.core.StateError, match="no calibration"):
        run.of(None).recording()
    assert not kept.exists() and model.model_options is options
    model.remove_wrappers_with_key("diffusion_model", "cancel")
    stage.sample(model)
    text = (kept / "studio.json").read_text()
    assert stage.comfy.core.Recording.from_json(text).to_json() == run.of(None).recording().to_json() == text
    kept.rename(tmp_path / "gone")
    kept.write_text("a file where the folder should be")
    assert torch.equal(stage.sample(model), stage.sample(stage.model))  # the video is not lost for it
    assert any("the calibration was not saved: studio.json: cannot be written" in note for note in run.reports[-1].notes)
    with pytest.raises(ValueError, match="the name 'a/b' may hold"):
        calibrate(stage, save_as="a/b")


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({"replays": -1}, "replays must be a whole number in 0..12, got -1"),
        ({"replays": True}, "replays must be a whole number"),
        ({"target_speedup": 0.5}, "target_speedup must be a number in 1.0..8.0, got 0.5"),
        ({"cache_ratio": float("nan")}, "cache_ratio must be a number in 0.05..1.0, got nan"),
    ],
)
def test_bad_values_are_refused_by_name(stage, core, inputs, message):
    with pytest.raises(core.files.checked.BadInput, match=message):
        calibrate(stage, **inputs)


def test_a_sampler_of_two_evaluations_is_no_calibration_and_says_so(stage):
    model, run = calibrate(stage, replays=0)
    assert torch.equal(stage.sample(model, sampler="heun"), stage.sample(stage.model, sampler="heun"))
    with pytest.raises(stage.comfy.core.StateError, match="heun takes several evaluations per step: calibrate with euler"):
        run.of(None).recording()


def test_one_of_our_nodes_per_model_line(stage):
    model, _ = stage.node()
    calibrating, _ = calibrate(stage, replays=0)
    for first, second in ((model, "SyncCacheCalibrate"), (calibrating, "SyncCacheCalibrate"), (calibrating, "SyncCache")):
        name = "SyncCache" if first is model else "SyncCache Calibrate"
        with pytest.raises(stage.comfy.core.StateError, match=f"^{name} is already applied"):
            if second == "SyncCache":
                stage.node(model=first)
            else:
                stage.execute(stage.comfy.ids[second], model=first)


def test_a_plan_of_another_model_or_no_plan_at_all_is_refused(stage, core):
    _, run = calibrated(stage)
    plan = plan_of(core, run.of(None).recording(), 6, level="output", order=0)
    for bad, match in (
        (replace(plan, adapter="humo"), "'humo', this model is 'wan_s2v'"),
        (replace(plan, layout="after-40x12-1c291ca3"), "after-40x12-1c291ca3.*after-7x4"),
    ):
        with pytest.raises(core.files.checked.BadInput, match=match):
            stage.node(plan_json=bad.to_json())
    with pytest.raises(core.files.checked.BadInput, match="not JSON"):
        stage.node(plan_json="{")
    assert stage.sample(stage.node(plan_json=" ")[0]) is not None  # an empty text is no plan


@pytest.mark.parametrize("order", [0, 1, 2])
def test_output_reuse_does_not_call_the_model_and_holds_one_latent_per_anchor(stage, order):
    calls = [0]

    def count(executor, *args, **kwargs):
        calls[0] += 1
        return executor(*args, **kwargs)

    model, run, _ = stage.attach(**{**OUTPUT, "forecast_order": order, "correction": True})
    model.add_wrapper_with_key("diffusion_model", "count", count)
    out, report = stage.sample(model), run.reports[0]
    assert calls[0] == report.computed == 6 and report.corrections == 2
    # 16 x 3 x 4 x 4 float32 an anchor, and as much for the sum of what a gap used
    assert report.bytes_held == report.bytes_predicted == 16 * 3 * 4 * 4 * 4 * (order + 2)
    assert close(out, stage.sample(stage.model), 0.3)


@pytest.mark.parametrize("settings", [OUTPUT, {**OUTPUT, "level": "residual"}])
def test_guidance_batched_apart_or_changing(stage, monkeypatch, settings):
    from comfy.model_patcher import ModelPatcher

    settings = {**settings, "correction": True, "forecast_order": 1}
    batched = stage.sample(stage.attach(**settings)[0])
    count = [0]

    def sometimes(self, device):
        count[0] += 1
        return 0 if count[0] % 3 else 1 << 40

    for memory in (lambda self, device: 0, sometimes):
        monkeypatch.setattr(ModelPatcher, "get_free_memory", memory)
        model, run, _ = stage.attach(**settings)
        assert close(stage.sample(model), batched, 1e-4)
        assert run.reports[0].corrections == 2 and run.reports[0].notes == []


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_2m", "dpm_2", "uni_pc", "euler_ancestral", "dpmpp_2m_sde", "lcm"])
@pytest.mark.parametrize("level", ["output", "residual"])
def test_plans_on_samplers_of_all_kinds(stage, core, sampler, level):
    """Made with euler. What adds noise is left out of the comparison: the uncached run has other noise in its details."""
    _, run = calibrated(stage)
    plan = plan_of(core, run.of(None).recording(), 8, level=level, order=1, correction=True)
    model, planned = stage.node(plan_json=plan.to_json())
    out, report = stage.sample(model, sampler=sampler), planned.reports[0]
    evaluations = 23 if sampler in ("heun", "dpm_2") else 12
    corrects = sampler in ("dpmpp_2m", "uni_pc")
    assert len(report.steps) == evaluations and report.reused >= 3 and (report.corrections > 0) == corrects
    assert report.computed <= 8 * evaluations / 12 + 3
    assert any("correction is off" in note for note in report.notes) != corrects and torch.isfinite(out).all()
    assert any(f"this run uses {sampler}" in note for note in report.notes)
    assert close(out, stage.sample(stage.model, sampler=sampler), 0.5)


def test_cfg_pp_needs_the_model(stage):
    model, run, _ = stage.attach(**OUTPUT)
    assert torch.equal(stage.sample(model, sampler="euler_cfg_pp"), stage.sample(stage.model, sampler="euler_cfg_pp"))
    assert any("needs the model" in note for note in run.reports[0].notes)


@pytest.mark.parametrize("settings", [{}, {"probe": False}, {"merge": "freeze"}, {"merge": "freeze", "probe": False}])
def test_every_variant_at_the_very_same_input(stage, settings):
    """Computed, then reused from what was stored there: whatever the host injected into a frozen group is undone."""
    outs, blocks = [], [0]

    def twice(model, x, sigmas, extra_args=None, callback=None, disable=None, **_):
        for _ in range(2):
            outs.append(model(x, sigmas[0] * x.new_ones([x.shape[0]]), **extra_args))
        return outs[-1]

    groups = ((1, 2), (3,)) if "merge" in settings else None
    model, run, _ = stage.attach(schedule=(True, False, True), groups=groups, **settings)
    dit = stage.model.get_model_object("diffusion_model")
    handle = dit.blocks[0].register_forward_hook(lambda *_: blocks.__setitem__(0, blocks[0] + 1))
    run_sampler(stage, model, twice)
    handle.remove()
    assert [s.action for s in run.reports[0].steps] == ["compute", "reuse"] and run.reports[0].notes[1:] == []
    assert blocks[0] == (2 if settings.get("probe", True) else 1)
    assert close(outs[1], outs[0], 1e-5)


def test_output_runs_in_a_row_are_fresh_and_leave_no_tensor(stage):
    import gc

    model, _, _ = stage.attach(**OUTPUT, correction=True)
    conditioning = stage.conditioning()

    def tensors():
        gc.collect()
        return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())

    first = stage.sample(model, conditioning)
    before = tensors()
    for _ in range(3):
        assert torch.equal(stage.sample(model, conditioning), first)
    assert tensors() <= before + 2


def test_room_for_a_plan_is_asked_of_the_host(stage):
    core, host, asked, shape = stage.comfy.core, stage.comfy.host, [], [1, 16, 3, 4, 4]
    need = stage.model.model.memory_required
    for settings, wanted in (
        ({"level": "output", "correction": True}, 3 * 4 * 16 * 3 * 4 * 4),
        ({"groups": ((1, 2), (3,)), "probe": False}, 3 * 2 * 2 * 12 * 48 * 4),
    ):
        config = core.Config(schedule=(True,), **settings)
        run = host.CacheRun(None, None, config, "gpu")
        run.prepare_sampling(lambda model, noise_shape: asked.append(noise_shape), stage.model, shape)
        assert need(asked[-1]) - need(shape) == pytest.approx(wanted, rel=1e-3)
        # A replay comes through the wrappers of its calibration, which holds nothing itself.
        options = {"transformer_options": {stage.comfy.hooks.KEY: SimpleNamespace(run=run, parts=())}}
        host.HostRun(None, None).prepare_sampling(
            lambda model, noise_shape, **_: asked.append(noise_shape), stage.model, shape, model_options=options
        )
        assert asked[-1] == asked[-2]
