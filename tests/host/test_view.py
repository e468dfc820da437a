"""ComfyUI's own Wan classes, whose video stands not alone, and in some not first: its tokens, and only they, are reused."""

from math import prod
from types import SimpleNamespace

import pytest
import torch

from .conftest import SMALL, Stage, save_random
from .test_semantics import close, run_sampler

pytestmark = pytest.mark.host
CONFIGS = {
    "WanModel": SMALL | {"model_type": "t2v", "in_dim_ref_conv": 16},
    "SCAILWanModel": SMALL | {"model_type": "scail", "in_dim": 20},
}
SCHEDULE = (True, True, False, False) * 3


@pytest.fixture(params=CONFIGS)
def in_front(request, comfy, tmp_path, monkeypatch):
    """A stage with a class of ComfyUI that puts a reference in front of the video, and an adapter that says so.

    The pack has no adapter for either; they have no audio, so that any blocks may end their segments. WanDancer has, but
    ComfyUI 0.33 makes no positions for its reference, and fails in its first block.
    """
    import comfy.ldm.wan.model as wan

    core, name = comfy.core, request.param
    layout, width = core.Layout(7, (0, 2, 4, 6)), SMALL["dim"]

    def view(one, block):
        reference = one.arguments.get("reference_latent")
        front = 0 if reference is None else prod(size // 2 for size in reference.shape[-2:])
        behind = [*(one.arguments.get("context_latents") or ()), one.arguments.get("pose_latents")]
        return core.View(one.grid.tokens, front, sum(prod(more.shape[-3:]) // 4 for more in behind if more is not None))

    adapter = core.Adapter(
        "in_front", name, (name,), lambda model: layout, lambda latent: core.Grid.from_latent(latent.shape),
        lambda model, grid, tokens, text=None: core.CostModel(100.0 * tokens, 1.0, 1.0, layout), lambda model: width,
        view=view,
    )
    monkeypatch.setitem(core.model.adapters._REGISTRY, adapter.name, adapter)
    stage = Stage(comfy, save_random(getattr(wan, name), CONFIGS[name], tmp_path / f"{name}.safetensors"))
    assert type(stage.model.get_model_object("diffusion_model")).__name__ == name
    stage.conditioning = lambda **options: conditioning(name, **options)
    return stage


def conditioning(name, size=32, frames=9, references=(True, True), context=False):
    """positive, negative, latent. references: which of the two has one. context: in-context references as well."""
    generator = torch.Generator().manual_seed(0)
    text, shape = torch.randn(1, 3, 16, generator=generator), (size // 8, size // 8)
    latent = torch.zeros(1, 16, (frames - 1) // 4 + 1, *shape)
    reference = torch.randn(1, 16, 1, *shape, generator=generator)
    given = {}
    if name == "SCAILWanModel":
        clip = SimpleNamespace(penultimate_hidden_states=torch.randn(1, 5, 1280, generator=generator))
        given = {"pose_video_latent": torch.randn(1, 16, 2, *shape, generator=generator), "clip_vision_output": clip}
    if context:
        given["context_latents"] = [torch.randn(1, 16, 1, *shape, generator=generator)]
    both = [given | ({"reference_latents": [reference]} if has else {}) for has in references]
    return [[text, both[0]]], [[text * 0, both[1]]], {"samples": latent}


def behind(stage) -> int:
    """Tokens of the pose, which one of the classes has."""
    return 2 * 4 if type(stage.model.get_model_object("diffusion_model")).__name__ == "SCAILWanModel" else 0


def twice(outs):
    """A sampler function that evaluates at one place twice, so that the second can be reused without an error."""

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None, **_):
        outs.extend(model(x, sigmas[0] * x.new_ones([x.shape[0]]), **extra_args) for _ in range(2))
        return outs[-1]

    return sample


def test_all_computed_is_bit_identical(in_front):
    model, run, _ = in_front.attach(schedule=(True,) * 12)
    assert torch.equal(in_front.sample(model), in_front.sample(in_front.model))
    report = run.reports[0]
    assert report.computed == 12 and report.bytes_held > 0 and report.notes == []
    assert report.tokens == 4 + 3 * 4 + behind(in_front)


@pytest.mark.parametrize(
    "options", [{}, {"references": (True, False)}, {"references": (False, False)}, {"size": 48, "frames": 13}]
)
@pytest.mark.parametrize("settings", [{}, {"probe": False}, {"cache_ratio": 0.3, "merge": "freeze"}])
def test_a_perfect_residual_gives_the_computed_output(in_front, options, settings):
    outs, given = [], in_front.conditioning(**options)
    in_front.conditioning = lambda: given
    model, run, _ = in_front.attach(schedule=(True, False, True), **settings)
    run_sampler(in_front, model, twice(outs))
    assert [step.action for step in run.reports[0].steps] == ["compute", "reuse"]
    assert torch.isfinite(outs[0]).all() and close(outs[1], outs[0], 1e-5)


def test_in_context_references_behind_it_as_well(in_front):
    """Wan's own class takes them in ComfyUI 0.33; where it is told of them and leaves them out, tokens are missing."""
    outs, given = [], in_front.conditioning(context=True)
    in_front.conditioning = lambda: given
    model, run, _ = in_front.attach(schedule=(True, False, True))
    run_sampler(in_front, model, twice(outs))
    report = run.reports[0]
    if report.reused == 0:
        have = 16 + behind(in_front)
        assert f"caching stopped: the model works on {have} tokens and not on the {have + 4} expected" in report.notes[-1]
    else:
        assert report.tokens in (16 + behind(in_front), 16 + 4)
    assert close(outs[1], outs[0], 1e-5)


def test_the_reference_in_front_is_passed_on_as_it_came(in_front):
    """What the last stand-in of a reused step gives back: the reference of its input, the video of the computed step."""
    outs, seen, dit = [], [], in_front.model.get_model_object("diffusion_model")
    head = dit.head.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    probe = dit.blocks[0].register_forward_hook(lambda module, args, out: seen.append(out.clone()))
    model, run, _ = in_front.attach(schedule=(True, False, True))
    with torch.inference_mode():
        run_sampler(in_front, model, twice(outs))
    head.remove()
    probe.remove()
    assert run.reports[0].reused == 1 and len(seen) == 4
    _, computed, block, reused = seen
    assert close(reused[:, 4:16], computed[:, 4:16])
    for others in (slice(4), slice(16, None)):
        assert torch.equal(reused[:, others], block[:, others])
    assert not close(reused[:, :4], computed[:, :4], 1e-3)


def test_the_node_reuses_residuals_there(in_front):
    model, run = in_front.node()
    out = in_front.sample(model)
    report = run.reports[0]
    assert report.level == "residual" and report.reused > 0 and report.finished
    assert close(out, in_front.sample(in_front.model), 0.2)


def test_a_calibration_there_knows_the_residuals(in_front):
    model, run = in_front.execute(in_front.comfy.ids["SyncCacheCalibrate"], model=in_front.model, replays=0)
    latent = in_front.sample(model)
    assert torch.equal(latent, in_front.sample(in_front.model))
    assert ("residual", "whole") in run.of(latent).recording().grams


@pytest.mark.parametrize(("size", "frames", "motion"), [(32, 5, False), (80, 9, True), (112, 13, True)])
def test_every_token_of_wan_s2v_is_accounted_for(stage, size, frames, motion):
    """Sizes that do not divide by the scales of the motion frames; a wrong count would end the reuse."""
    given = stage.conditioning(size=size, frames=frames, motion=motion)
    model, run, _ = stage.attach(schedule=SCHEDULE)
    stage.sample(model, given)
    assert run.reports[0].reused == 5 and run.reports[0].notes == []


def test_wan_s2v_with_frames_joined_to_the_video(stage):
    positive, negative, latent = stage.conditioning()
    for entry in (positive[0][1], negative[0][1]):
        del entry["control_video"], entry["audio_embed"]  # neither of which the host makes longer
        entry["time_dim_concat"] = torch.randn(1, 16, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    model, run, _ = stage.attach(schedule=SCHEDULE)
    stage.sample(model, (positive, negative, latent))
    assert run.reports[0].reused == 5 and run.reports[0].notes == [] and run.reports[0].tokens == 12 + 4 + 4


@pytest.mark.parametrize("level", ["residual", "output"])
def test_tokens_that_another_extension_adds_end_the_reuse_of_residuals(stage, level):
    """Its wrapper runs behind ours, so nobody told us of the second reference frame."""

    def more(executor, *args, **kwargs):
        kwargs["reference_latent"] = kwargs["reference_latent"].repeat(1, 1, 2, 1, 1)
        return executor(*args, **kwargs)

    model, run, said = stage.attach(schedule=SCHEDULE, level=level)
    altered = stage.model.clone()
    for patched in (model, altered):
        patched.add_wrapper_with_key("diffusion_model", "another", more)
    out = stage.sample(model)
    report = run.reports[0]
    if level == "output":
        assert report.reused == 5 and report.notes == []
        return
    assert torch.equal(out, stage.sample(altered))
    assert report.computed == 12 and {step.reason for step in report.steps} == {"caching stopped"}
    [note] = report.notes
    assert note == (
        "caching stopped: the model works on 20 tokens and not on the 16 expected: 12 of the video, 4 behind them. Which "
        "are the video's is not known, so nothing is reused; set reuse to outputs, which needs no tokens"
    )
    assert note in run.of(None).summary() and said
