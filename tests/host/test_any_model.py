"""Models that SyncCache does not know, in a real ComfyUI: whole results are reused, whatever the latent and the noise."""

import json
from types import SimpleNamespace

import pytest
import torch

from .conftest import TINY, Stage, save_random
from .families import cancel_leaves_nothing
from .test_planned import calibrated, core  # noqa: F401 - core is a fixture
from .test_semantics import close

pytestmark = pytest.mark.host
SENTENCE = "This model is not known to SyncCache: whole results are reused, audio included."
UNET = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": [1, 1],
    "channel_mult": [1, 2], "transformer_depth": [1, 1], "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1, "num_heads": 2, "num_head_channels": -1, "use_spatial_transformer": True,
    "context_dim": 16, "use_linear_in_transformer": False, "adm_in_channels": None, "use_temporal_attention": False,
    "legacy": False,
}  # fmt: skip
FLUX = {
    "image_model": "flux", "in_channels": 16, "out_channels": 16, "vec_in_dim": 8, "context_in_dim": 16, "hidden_size": 32,
    "mlp_ratio": 2.0, "num_heads": 2, "depth": 2, "depth_single_blocks": 2, "axes_dim": [4, 6, 6], "theta": 10_000,
    "patch_size": 2, "qkv_bias": True,
    "guidance_embed": False, "txt_ids_dims": [],
}  # fmt: skip
LTXAV = {
    "image_model": "ltxav", "in_channels": 16, "audio_in_channels": 128, "cross_attention_dim": 32,
    "audio_cross_attention_dim": 32, "attention_head_dim": 16, "audio_attention_head_dim": 16, "num_attention_heads": 2,
    "audio_num_attention_heads": 2, "caption_channels": 16, "num_layers": 1, "connector_attention_head_dim": 8,
    "connector_num_attention_heads": 2, "connector_num_layers": 1, "audio_connector_attention_head_dim": 8,
    "audio_connector_num_attention_heads": 2,
}  # fmt: skip
OF_S2V = ("audio_dim", "num_audio_token", "enable_adain", "cond_dim", "audio_inject_layers", "framepack_drop_mode")
WAN = {key: value for key, value in TINY.items() if key not in OF_S2V} | {"model_type": "t2v", "num_layers": 3}
CASES = {  # shapes of latents
    "UNetModel": (1, 4, 8, 8), "VPrediction": (1, 4, 8, 8), "Flux": (2, 16, 8, 8), "WanModel": (1, 16, 3, 8, 8),
    "AudioVideo": ((1, 16, 3, 4, 4), (1, 8, 5, 16)),
}  # fmt: skip


def patcher(kind, config: dict, model_type=None):
    """A ModelPatcher with random weights of a supported model of the host."""
    import comfy.model_patcher

    made = kind(config | {"dtype": torch.float32})
    made.unet_config.pop("image_model", None)
    made.set_inference_dtype(torch.float32, None)
    if model_type is not None:
        made.model_type = lambda *_: model_type
    model = made.get_model({}, "").requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.diffusion_model.named_parameters():
            one = weight.ndim == 1 and name.endswith("weight")
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.08 + one)
    return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def loaded(comfy, name, path):
    import comfy.ldm.wan.model as wan
    import comfy.model_base
    import comfy.supported_models as supported

    if name == "WanModel":
        return comfy.sd.load_diffusion_model(save_random(wan.WanModel, WAN, path / "wan.safetensors"))
    if name == "AudioVideo":  # LTX-2 under a name that is not known
        made = patcher(supported.LTXAV, LTXAV)
        made.model.diffusion_model.__class__ = type(name, (type(made.model.diffusion_model),), {})
        return made
    if name == "Flux":
        return patcher(supported.FluxSchnell, FLUX)
    kind = comfy.model_base.ModelType.V_PREDICTION if name == "VPrediction" else None
    return patcher(supported.SD15, UNET, kind)


class AnyStage(Stage):
    """A stage with any model. shape: of its latent, or several of picture and sound; results are packed into one tensor."""

    def __init__(self, comfy, model, shape):
        self.comfy, self.model, self.shape = comfy, model, shape
        self.packs = isinstance(shape[0], tuple)

    def conditioning(self, **_):
        from comfy.nested_tensor import NestedTensor

        generator = torch.Generator().manual_seed(0)
        width = 2 * LTXAV["caption_channels"] if self.packs else 16
        text, pooled = torch.randn(1, 3, width, generator=generator), torch.randn(1, 8, generator=generator)
        entries = [[[each, {"pooled_output": more}]] for each, more in ((text, pooled), (0 * text, 0 * pooled))]
        latent = NestedTensor([torch.zeros(each) for each in self.shape]) if self.packs else torch.zeros(self.shape)
        return *entries, {"samples": latent}

    def sample(self, *args, **kwargs):
        from comfy.utils import pack_latents

        latent = super().sample(*args, **kwargs)
        return pack_latents(latent.unbind())[0] if self.packs else latent

    def node(self, model=None, **inputs):
        return super().node(model, **{"reuse": "auto", **inputs})


_made = {}


@pytest.fixture(params=CASES)
def unknown(request, comfy, tmp_path_factory):
    name = request.param
    if name not in _made:
        _made[name] = loaded(comfy, name, tmp_path_factory.mktemp(name))
    return AnyStage(comfy, _made[name], CASES[name])


def test_off_is_bit_identical(unknown):
    model, run = unknown.node(target_speedup=1.0)
    assert torch.equal(unknown.sample(model), unknown.sample(unknown.model)) and run.reports == []


@pytest.mark.parametrize("sampler", ["euler", "uni_pc"])
def test_all_computed_is_bit_identical(unknown, sampler):
    model, run, _ = unknown.attach(schedule=(True,) * 12, level="output")
    out = unknown.sample(model, sampler=sampler)
    assert torch.equal(out, unknown.sample(unknown.model, sampler=sampler))
    assert run.reports[0].computed == 12 and run.reports[0].bytes_held > 0


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "uni_pc", "euler_ancestral", "heun", "lcm"])
def test_whole_results_are_reused(unknown, sampler):
    calls = []

    def count(executor, *args, **kwargs):
        calls.append(1)
        return executor(*args, **kwargs)

    plain = unknown.sample(unknown.model, sampler=sampler)
    model, run = unknown.node()
    model.add_wrapper_with_key("diffusion_model", "count", count)
    out, report = unknown.sample(model, sampler=sampler), run.reports[0]
    assert report.level == "output" and report.reused > 0 and report.finished and report.notes[0] == SENTENCE
    assert len(calls) == report.computed and not torch.equal(out, plain) and torch.isfinite(out).all()
    assert report.speedup_ideal == pytest.approx(len(report.steps) / report.computed) and report.reuse_share == 0
    if sampler in ("euler", "dpmpp_2m", "uni_pc"):
        assert report.corrections > 0 and close(out, plain, 0.25), (out - plain).norm() / plain.norm()
        assert 0 <= report.steps[-1].sigma < report.steps[0].sigma <= 1


def test_the_report_the_strip_and_the_picture_say_so(unknown, monkeypatch):
    sent = []
    server = SimpleNamespace(client_id="us", send_sync=lambda _, event, sid: sent.append(event), send_progress_text=print)
    monkeypatch.setattr(unknown.comfy.text, "PromptServer", SimpleNamespace(instance=server))
    model, run = unknown.node(human_mask=torch.ones(1, 8, 8), cache_ratio=0.5)
    latent = unknown.sample(model)
    kind = type(unknown.model.get_model_object("diffusion_model")).__name__
    found = next(event["recognised"] for event in sent if "recognised" in event)
    assert found == {"model": kind, "blocks": 0, "refreshes": 0}
    last = [event["run"] for event in sent if "run" in event][-1]
    assert last["why"][0]["values"]["note"] == {"key": SENTENCE, "values": {}}
    assert last["share"] == 0 and last["level"] == "output"
    for name in ("human_mask", "cache_ratio"):
        assert sum("has no effect" in str(line) and f"'{name}'" in str(line) for line in last["why"]) == 1
    _, text, timeline, heat = unknown.execute(unknown.comfy.ids["SyncCacheReport"], run=run, samples={"samples": latent})
    assert SENTENCE in run.of(latent).summary() and json.loads(text)["runs"][0]["notes"][0] == SENTENCE
    picture = unknown.shape[0] if unknown.packs else unknown.shape
    assert timeline.std() > 0.01 and heat.std() > 0.01 and len(json.loads(text)["runs"][0]["heat"]) == picture[-2]


def test_from_calibration_to_a_planned_run(unknown):
    plain, run = calibrated(unknown, replays=3, target_speedup=2.0)
    recording, ids = run.of(None).recording(), unknown.comfy.ids
    assert list(recording.grams) == [("output", "whole")] and recording.replays
    assert SENTENCE in run.of(None).summary()
    assert all(0 < plan.measured.error < 1 for plan in recording.replays) and recording.run.sigmas[0] <= 1
    text, chart, _ = unknown.execute(
        ids["SyncCacheScheduleOptimizer"], run=run, samples={"samples": plain}, target_speedup=2.0, cache_ratio=0.5
    )
    plan = json.loads(text)
    assert plan["level"] == "output" and "cache_ratio has no effect" in plan["provenance"]["note"] and chart.std() > 0.01
    model, planned = unknown.node(plan_json=text)
    out, report = unknown.sample(model), planned.reports[0]
    assert report.computed == len(plan["schedule"]) == 6 and close(out, plain, 0.25)
    assert [step.index for step in report.steps if step.action == "compute"] in (plan["schedule"], list(range(6)))


def test_a_plan_that_takes_fewer_steps(unknown, core):  # noqa: F811
    _, run = calibrated(unknown)
    planner = core.planning.planner.Planner(run.of(None).recording())
    choice = planner.make(core.planning.recipes.Recipe(core.planning.recipes.STILL, None, "plain"), 5)
    plan = planner.plan(choice, core.planning.plan.Budget(computed=5), "0")
    model, planned = unknown.node(plan_json=plan.to_json())
    unknown.sample(model)
    assert planned.reports[0].taken() == "takes fewer steps: 5 of 12, all computed"


def test_cancel_leaves_nothing(unknown):
    cancel_leaves_nothing(unknown)


def test_prompts_with_an_end_and_inpainting(unknown):
    positive, negative, latent = unknown.conditioning()
    timed = [[positive[0][0], positive[0][1] | {"start_percent": 0.0, "end_percent": 0.5}]]
    rest = [[positive[0][0] * 0.5, positive[0][1] | {"start_percent": 0.5, "end_percent": 1.0}]]
    mask = torch.zeros(1, 1, *(unknown.shape[0] if unknown.packs else unknown.shape)[-2:])
    mask[..., :4] = 1.0
    model, run = unknown.node()
    out = unknown.sample(model, (timed + rest, negative, latent | {"noise_mask": mask}), steps=20)
    report = run.reports[0]
    assert torch.isfinite(out).all() and report.reused > 0 and report.finished
    assert [step.reason for step in report.steps].count("nothing cached") <= 2  # where one ends and one begins


def test_a_part_of_the_steps(unknown):
    import comfy.sample

    if unknown.packs and not hasattr(comfy.sample, "prepare_empty_noise"):
        pytest.skip("this ComfyUI cannot go on with a latent of picture and sound")
    conditioning = unknown.conditioning()
    model, run = unknown.node()
    ksampler = unknown.comfy.nodes.common_ksampler
    options = {"start_step": 0, "last_step": 6, "force_full_denoise": False}
    half = ksampler(model, 1, 12, 3.0, "euler", "simple", *conditioning, **options)[0]
    options = {"disable_noise": True, "start_step": 6, "last_step": 12, "force_full_denoise": True}
    ksampler(model, 1, 12, 3.0, "euler", "simple", *conditioning[:2], half, **options)
    assert [report.finished for report in run.reports] == [True, True] and all(report.reused for report in run.reports)


def test_what_needs_blocks_is_refused_by_name_or_passed_through(unknown):
    kind = type(unknown.model.get_model_object("diffusion_model")).__name__
    error = unknown.comfy.core.UnsupportedModel
    asked = {
        "reuse is 'residuals'.*reuse to auto": {"reuse": "residuals"},
        "preset is 'Paper'.*another preset": {"preset": "Paper"},
        "probe_threshold is 0.1.*probe_threshold to 0": {"probe_threshold": 0.1},
    }
    for sentence, inputs in asked.items():
        with pytest.raises(error, match=f"{sentence.partition('.*')[0]}.*Wan2.2-S2V.*{kind}.*{sentence.partition('.*')[2]}"):
            unknown.node(**inputs)
        model, run = unknown.node(if_unsupported="pass through", **inputs)
        assert model is unknown.model and run.of(None).summary().startswith("passed through unchanged")


def test_a_plan_for_another_model_is_refused(unknown, core):  # noqa: F811
    _, run = calibrated(unknown)
    planner = core.planning.planner.Planner(run.of(None).recording())
    plan = planner.plan(planner.choose(core.planning.plan.Budget(speedup=2.0)), core.planning.plan.Budget(speedup=2.0), "0")
    other = json.loads(plan.to_json()) | {"adapter": "wan_s2v"}
    with pytest.raises(core.files.checked.BadInput, match="made for 'wan_s2v', this model is"):
        unknown.node(plan_json=json.dumps(other))


def test_another_cache_that_skips_the_model_is_noticed(unknown):
    count = [0]

    def skipping(executor, x, *args, **kwargs):
        count[0] += 1
        return x if count[0] == 2 else executor(x, *args, **kwargs)

    model, run, _ = unknown.attach(schedule=(True, True, False) * 4, level="output")
    model.add_wrapper_with_key("predict_noise", "cache", skipping)
    unknown.sample(model)
    assert any("another extension skipped the model" in note for note in run.reports[0].notes)


def test_samplers_that_need_the_model_compute_and_say_so(unknown):
    model, run = unknown.node()
    out = unknown.sample(model, sampler="euler_cfg_pp")
    assert torch.equal(out, unknown.sample(unknown.model, sampler="euler_cfg_pp"))
    assert run.reports[0].reused == 0 and any("needs the model at every step" in note for note in run.reports[0].notes)


@pytest.mark.parametrize("kind", ["IMG_TO_IMG", "IMG_TO_IMG_FLOW", "IMG_TO_IMG_VELOCITY"])
def test_a_model_without_noise_is_unsupported(unknown, kind):
    """Hosts have the last kind from 0.37 on."""
    import comfy.model_sampling as sampling

    turning = getattr(sampling, kind, type(kind, (sampling.CONST,), {}))
    other = unknown.model.clone()
    other.add_object_patch("model_sampling", type("Turning", (sampling.ModelSamplingDiscrete, turning), {})())
    with pytest.raises(unknown.comfy.core.UnsupportedModel, match="without noise"):
        unknown.node(model=other)
    model, run = unknown.node(model=other, if_unsupported="pass through")
    assert model is other and "without noise" in run.of(None).summary()


@pytest.mark.parametrize("name", ["uni_pc", "uni_pc_bh2", "dpmpp_2m", "deis", "ipndm", "ipndm_v", "lms"])
def test_the_response_at_levels_tells_where_a_sampler_goes(comfy, name):
    """Stable Diffusion's sigmas: x over 1 + sigma is the sum that the response says, of any velocities at the levels."""
    noise, steps = comfy.core.Noise(flow=False), 10
    sigmas = torch.tensor([*(14.6 ** (1 - t / 9) * 0.03 ** (t / 9) for t in range(10)), 0.0])
    sampler = comfy.samplers.sampler_object(name)
    learnt = comfy.hooks.sampler_of(sampler, sigmas, noise)
    given, seen = torch.randn(steps, 1, 2, 1, 3, 3, generator=torch.Generator().manual_seed(0)), []

    def model(x, sigma, **_):
        seen.append(x / (1 + sigma))
        return seen[-1] - sigma / (1 + sigma) * given[len(seen) - 1]

    x = 14.6 * torch.randn(1, 2, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    seen.append(sampler.sampler_function(model, x.clone(), sigmas.clone(), {}, None, True))
    rows = torch.tensor(learnt.response)
    assert rows.shape == (steps + 1, steps) and rows.triu().abs().max() == 0
    for row, position in zip(rows, seen):
        expected = x / (1 + sigmas[0]) + torch.tensordot(row, given, 1)
        assert (position - expected).abs().max() < 2e-3 * expected.abs().max()
