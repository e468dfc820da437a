"""Prompts and guidance that hold for a part of the run: what was reused before must not be taken for what holds now."""

from types import SimpleNamespace

import pytest
import torch

from .test_semantics import close, run_custom

pytestmark = pytest.mark.host
STEPS = 12


def ranged(stage, start, end):
    """Conditioning whose second prompt begins at `start` and whose guidance ends at `end` (share of the run)."""
    import node_helpers

    positive, negative, latent = stage.conditioning()
    other, _, _ = stage.conditioning(seed=5)
    first = node_helpers.conditioning_set_values(positive, {"start_percent": 0.0, "end_percent": start})
    second = node_helpers.conditioning_set_values(other, {"start_percent": start, "end_percent": 1.0})
    guidance = node_helpers.conditioning_set_values(negative, {"start_percent": 0.0, "end_percent": end})
    return first + second, guidance, latent


def grid(stage):
    return stage.comfy.samplers.calculate_sigmas(stage.model.get_model_object("model_sampling"), "simple", STEPS)


def actions(report):
    return "".join(step.action[0] for step in report.steps)


def errors(stage, level, conditioning, monkeypatch):
    """Of a run that knows where the conditioning changes, 0.46, and computes there, and of one that does not; its report."""
    sigmas, settings = grid(stage), {"level": level, "schedule": (True,) + (False,) * 11}
    plain = run_custom(stage, stage.model, "euler", sigmas, conditioning)
    model, run, _ = stage.attach(**settings)
    out, report = run_custom(stage, model, "euler", sigmas, conditioning), run.reports[0]
    start = stage.model.get_model_object("model_sampling").percent_to_sigma(0.46)
    boundary = next(i for i, sigma in enumerate(sigmas.tolist()) if sigma <= start)
    assert actions(report) == "c" + "r" * (boundary - 1) + "c" + "r" * (10 - boundary) + "c"
    assert report.steps[boundary].reason == "nothing cached"
    monkeypatch.setattr(stage.comfy.host, "ranges", lambda guider: [])
    blind = run_custom(stage, stage.attach(**settings)[0], "euler", sigmas, conditioning)
    return *(((x - plain).norm() / plain.norm()).item() for x in (out, blind)), report


@pytest.mark.parametrize("level", ["output", "residual"])
def test_a_step_after_the_conditioning_changed_is_computed(stage, level, monkeypatch):
    seeing, blind, _ = errors(stage, level, ranged(stage, 0.46, 1.0), monkeypatch)
    assert seeing < blind / 2 if level == "output" else seeing == blind  # residuals are kept per conditioning anyway


def lora(stage, scale=0.3):
    """Random low-rank changes of every block."""
    generator, found = torch.Generator().manual_seed(3), {}
    for key, weight in stage.model.model.state_dict().items():
        if key.startswith("diffusion_model.blocks") and key.endswith("ffn.0.weight"):
            name, (out, into) = key.removesuffix(".weight"), weight.shape
            found[f"{name}.lora_up.weight"] = torch.randn(out, 4, generator=generator) * scale
            found[f"{name}.lora_down.weight"] = torch.randn(4, into, generator=generator) * scale
    return found


@pytest.mark.parametrize("level", ["output", "residual"])
def test_weights_that_change_under_the_same_prompt(stage, level, monkeypatch):
    """A LoRA, hooked onto both prompts, is switched on at 0.46 of the run: nothing of before stands in for what is now."""
    from comfy import hooks

    keyed = hooks.create_hook_lora(lora(stage), 1.0, 0.0)
    frames = hooks.HookKeyframeGroup()
    for strength, start in ((0.0, 0.0), (1.0, 0.46)):
        frames.add(hooks.HookKeyframe(strength=strength, start_percent=start))
    keyed.set_keyframes_on_hooks(frames)
    *prompts, latent = stage.conditioning()
    conditioning = *(hooks.set_hooks_for_conditioning(prompt, keyed) for prompt in prompts), latent
    seeing, blind, report = errors(stage, level, conditioning, monkeypatch)
    assert seeing < 0.6 * blind and report.notes == []


def test_ranges_that_change_the_blocks_are_told_from_prompts(comfy):
    """ControlNets and keyframes; what holds all the time is none."""
    keyframes = [SimpleNamespace(start_percent=start) for start in (0.0, 0.25)]
    older = SimpleNamespace(timestep_percent_range=(0.0, 0.75))
    entry = {
        "start_percent": 0.5, "clip_end_percent": 0.625,
        "control": SimpleNamespace(timestep_percent_range=(0.125, 1.0), previous_controlnet=older),
        "hooks": SimpleNamespace(hooks=[SimpleNamespace(hook_keyframe=SimpleNamespace(keyframes=keyframes))]),
    }  # fmt: skip
    assert [*comfy.guider.percents(entry)] == [
        (0.5, 0.625, False), (0.125, 1.0, True), (0.0, 0.75, True), (0.0, 1.0, True), (0.25, 1.0, True),
    ]  # fmt: skip
    linear = SimpleNamespace(percent_to_sigma=lambda percent: 1 - percent)  # noise levels are the sigmas' own
    comfy_model = SimpleNamespace(get_model_object=lambda name: flow(linear))
    guider = SimpleNamespace(model_patcher=comfy_model, conds={"positive": [entry], "negative": [{}, entry]})
    inf = float("inf")
    assert comfy.guider.ranges(guider) == [
        (inf, 0.25, True), (0.875, 0.0, True), (0.75, 0.0, True), (0.5, 0.375, False),
    ]  # fmt: skip


def flow(sampling):
    """With the host's mark of a model whose noise is counted from 0 to 1."""
    from comfy.model_sampling import CONST

    return type("Flow", (CONST,), {"percent_to_sigma": staticmethod(sampling.percent_to_sigma)})()


def test_lines_are_not_drawn_across_a_change(stage):
    """Guidance that ends: order 1 begins anew from the outputs without it."""
    conditioning, sigmas = ranged(stage, 0.0, 0.5), grid(stage)
    model, run, _ = stage.attach(level="output", forecast_order=1, schedule=(True, True, False) * 4)
    out, report = run_custom(stage, model, "euler", sigmas, conditioning), run.reports[0]
    assert report.finished and close(out, run_custom(stage, stage.model, "euler", sigmas, conditioning), 0.1)


@pytest.mark.parametrize("level", ["output", "residual"])
def test_a_gap_in_which_no_prompt_holds_is_no_other_cache(stage, level):
    """Without guidance the host calls no model there, and gives zeros."""
    import node_helpers

    positive, negative, latent = stage.conditioning()
    spans = [
        node_helpers.conditioning_set_values(positive, {"start_percent": start, "end_percent": end})
        for start, end in ((0.0, 0.4), (0.6, 1.0))
    ]
    conditioning = spans[0] + spans[1], negative, latent
    plain = stage.sample(stage.model, conditioning, cfg=1.0)
    model, run, _ = stage.attach(level=level, schedule=(True,) * STEPS)
    assert (stage.sample(model, conditioning, cfg=1.0) == plain).all()
    model, run, _ = stage.attach(level=level, schedule=(True, True, False) * 4)
    out, report = stage.sample(model, conditioning, cfg=1.0), run.reports[0]
    reasons = {step.reason for step in report.steps}
    assert report.finished and report.notes == [] and report.reused > 0 and close(out, plain, 0.2)
    assert level == "output" or {"no conditioning holds here"} <= reasons
    model, run = stage.execute(stage.comfy.ids["SyncCacheCalibrate"], model=stage.model, replays=0)
    assert (stage.sample(model, conditioning, cfg=1.0) == plain).all()
    assert run.reports[0].notes == [] and run.of(None).recording().levels == ("output",)
