"""HunyuanVideo 1.0 and 1.5 in a real ComfyUI: text in a stream of its own, then in front of the video."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from .conftest import Stage
from .doors import host_case, randomised
from .families import cancel_leaves_nothing, plan_is_made_and_taken
from .test_any_model import patcher
from .test_semantics import close, run_sampler
from .test_view import twice

pytestmark = pytest.mark.host
TINY = {
    "image_model": "hunyuan_video", "in_channels": 16, "out_channels": 16, "vec_in_dim": 8, "context_in_dim": 16,
    "hidden_size": 32, "mlp_ratio": 2.0, "num_heads": 2, "depth": 3, "depth_single_blocks": 4, "axes_dim": [4, 6, 6],
    "theta": 256, "patch_size": [1, 2, 2], "qkv_bias": True, "guidance_embed": True, "byt5": False, "meanflow": False,
    "use_cond_type_embedding": False, "vision_in_dim": None, "meanflow_sum": False,
}  # fmt: skip
TINY_15 = TINY | {
    "in_channels": 65, "out_channels": 32, "vec_in_dim": None, "depth": 7, "depth_single_blocks": 0, "patch_size": [1, 1, 1],
    "guidance_embed": False, "byt5": True, "use_cond_type_embedding": True, "vision_in_dim": 1152, "meanflow_sum": True,
}  # fmt: skip
CONFIGS = {"HunyuanVideo": TINY, "HunyuanVideo15": TINY_15}
CONTROL = {"input": [torch.full((1, 1, 32), 0.1)] * 3, "output": []}
SCHEDULE = (True, True, False, False) * 3


def hunyuan(config, host):
    """The case of a family for `doors.check`: what is said is the prompt, which the first block hears at every step."""
    import comfy.ldm.hunyuan_video.model as model
    from comfy import ops

    settings = {key: value for key, value in config.items() if key != "image_model"}

    def make():
        made = model.HunyuanVideo(**settings, device="cpu", dtype=torch.float32, operations=ops.disable_weight_init)
        return randomised(made, scale=0.2)

    def call(model, x, sigma, text, options):
        times, whole = torch.full((len(x),), 1000.0 * sigma), torch.ones(len(x), 8)
        x = x.repeat(1, -(-config["in_channels"] // 16), 1, 1, 1)[:, : config["in_channels"]]
        return model(x, times, text, y=whole, guidance=torch.full((len(x),), 6.0), transformer_options=options)

    core = host.core
    adapter, rows = core.find(make()), 4 // config["patch_size"][-1]
    return host_case(host, make, adapter, core.Grid(3, rows, rows), (1, 16, 3, 4, 4), (1, 3, 16), call, tolerance=1e-4)


def hunyuan_video(host):
    return hunyuan(TINY, host)


def hunyuan_video_15(host):
    return hunyuan(TINY_15, host)


class HunyuanStage(Stage):
    """A stage with one of the two. more: of both conditionings."""

    def __init__(self, comfy, name):
        import comfy.supported_models as supported

        self.comfy, self.name, self.more = comfy, name, {}
        self.model = patcher(getattr(supported, name), dict(CONFIGS[name]))

    def conditioning(self, size=4, frames=3, **_):
        generator = torch.Generator().manual_seed(0)
        text, pooled = torch.randn(1, 3, 16, generator=generator), torch.randn(1, 8, generator=generator)
        entries = [[[each, {"pooled_output": more} | self.more]] for each, more in ((text, pooled), (0 * text, 0 * pooled))]
        return *entries, {"samples": torch.zeros(1, CONFIGS[self.name]["out_channels"], frames, size, size)}

    def node(self, model=None, **inputs):
        return super().node(model, **{"reuse": "residuals", **inputs})


_made = {}


@pytest.fixture(params=CONFIGS)
def video(request, comfy):
    if request.param not in _made:
        _made[request.param] = HunyuanStage(comfy, request.param)
    stage = _made[request.param]
    stage.more = {}
    return stage


def test_off_and_all_computed_are_bit_identical(video):
    plain = video.sample(video.model)
    model, run = video.node(target_speedup=1.0)
    assert torch.equal(video.sample(model), plain) and run.reports == []
    model, run, _ = video.attach(schedule=(True,) * 12)
    assert torch.equal(video.sample(model), plain)
    report = run.reports[0]
    assert report.computed == 12 and report.bytes_held > 0 and report.notes == []


def test_it_is_recognised(video):
    sent = []
    handle = video.comfy.run.RunHandle(watcher=sent.append)
    model = video.comfy.host.attach(video.model, video.comfy.core.Config(), None, handle)
    found = next(event["recognised"] for event in sent if "recognised" in event)
    title = {"HunyuanVideo": "HunyuanVideo", "HunyuanVideo15": "HunyuanVideo 1.5"}[video.name]
    assert found == {"model": title, "blocks": 7, "refreshes": 0} and model is not video.model


def test_models_for_pictures_have_whole_results_reused(comfy):
    import comfy.ldm.hunyuan_video.model as model
    from comfy import ops

    for patch in ([1, 1], [1, 1, 1]):
        settings = {key: value for key, value in TINY.items() if key != "image_model"} | {"patch_size": patch}
        settings["axes_dim"] = [8, 8] if len(patch) == 2 else [4, 6, 6]
        made = model.HunyuanVideo(**settings, device="meta", operations=ops.disable_weight_init)
        assert comfy.core.serve(made).layout(made).unknown


@pytest.mark.parametrize("sampler", ["euler", "uni_pc", "dpmpp_2m"])
def test_blocks_are_not_run_on_reused_steps(video, sampler):
    dit = video.comfy.guider.diffusion_model(video.model)
    ran, blocks = [], [*dit.double_blocks, *dit.single_blocks]
    removers = [block.register_forward_hook(lambda module, *_: ran.append(blocks.index(module))) for block in blocks]
    plain = video.sample(video.model, sampler=sampler)
    ran.clear()
    model, run = video.node()
    out, report = video.sample(model, sampler=sampler), run.reports[0]
    for remover in removers:
        remover.remove()
    assert report.level == "residual" and report.reused > 2 and report.finished and report.notes == []
    assert [ran.count(block) for block in (0, 1, 6)] == [len(report.steps), report.computed, report.computed]
    assert not torch.equal(out, plain) and close(out, plain, 0.25)


def others(video) -> tuple[dict, int]:
    """Conditioning that brings tokens beside the prompt's, and how many tokens of the first block these are."""
    generator = torch.Generator().manual_seed(3)
    if video.name == "HunyuanVideo":
        return {"ref_latent": torch.randn(1, 16, 1, 4, 4, generator=generator)}, 4
    seen = SimpleNamespace(last_hidden_state=torch.randn(1, 5, 1152, generator=generator))
    return {"conditioning_byt5small": torch.randn(1, 2, 1472, generator=generator), "clip_vision_output": seen}, 0


@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("settings", [{}, {"probe": False}])
def test_a_perfect_residual_gives_the_computed_output(video, more, settings, monkeypatch):
    from comfy.model_patcher import ModelPatcher

    monkeypatch.setattr(ModelPatcher, "get_free_memory", lambda self, device: 0)  # ComfyUI takes a reference one by one only
    extra, front = others(video) if more else ({}, 0)
    video.more, outs = extra, []
    model, run, _ = video.attach(schedule=(True, False, True), **settings)
    run_sampler(video, model, twice(outs))
    report = run.reports[0]
    assert [step.action for step in report.steps] == ["compute", "reuse"] and report.notes == []
    tokens = 3 * (4 if video.name == "HunyuanVideo" else 16)
    assert report.tokens == tokens + front and close(outs[1], outs[0], 1e-5)


def test_an_image_that_replaces_the_first_frame(video):
    if video.name != "HunyuanVideo":
        pytest.skip("1.5 takes its image as channels")
    video.more, outs = {"guiding_frame_index": 0}, []
    model, run, _ = video.attach(schedule=(True, False, True))
    run_sampler(video, model, twice(outs))
    assert run.reports[0].reused == 1 and close(outs[1], outs[0], 1e-5)


def test_a_controlnet_ends_the_reuse_of_residuals(video):
    """It adds to the video between blocks, and would again where blocks were not run."""

    def controlled(executor, x, t, channels, text, control, *args, **kwargs):
        return executor(x, t, channels, text, CONTROL, *args, **kwargs)

    model, run, _ = video.attach(schedule=SCHEDULE)
    plain = video.model.clone()
    for patched in (model, plain):
        patched.add_wrapper_with_key("apply_model", "control", controlled)
    out = video.sample(model)
    assert torch.equal(out, video.sample(plain)) and not torch.equal(out, video.sample(video.model))
    [note] = run.reports[0].notes
    assert note.startswith("caching stopped: a ControlNet adds to the video") and note.endswith("leaves the blocks alone")


def test_cancel_leaves_nothing(video):
    cancel_leaves_nothing(video)


def test_from_calibration_to_a_planned_run(video):
    plan_is_made_and_taken(video, {"HunyuanVideo": "hunyuan_video", "HunyuanVideo15": "hunyuan_video_15"}[video.name], 2.0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_cost_against_the_counter(comfy, name, monkeypatch):
    import comfy.ldm.flux.math as flux
    import comfy.ldm.hunyuan_video.model as model
    import comfy.ldm.modules.attention as attention
    from comfy import ops

    # The counter does not see into the CPU's fused attention.
    for module in (flux, model):
        monkeypatch.setattr(module, "optimized_attention", attention.attention_basic)
    settings = {key: value for key, value in CONFIGS[name].items() if key != "image_model"}
    settings |= {"hidden_size": 256, "num_heads": 2, "axes_dim": [16, 56, 56], "context_in_dim": 64}
    settings |= {"depth_single_blocks": 40 if name == "HunyuanVideo" else 0, "depth": 20}
    made = model.HunyuanVideo(**settings, device="meta", dtype=torch.float32, operations=ops.disable_weight_init)
    adapter, latent = comfy.core.find(made), torch.empty(1, settings["in_channels"], 5, 16, 16, device="meta")
    grid = adapter.grid(latent)
    made.vision_in = None if made.vision_in is None else made.vision_in.to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        made(
            latent, torch.ones(1, device="meta"), torch.empty(1, 33, 64, device="meta"), y=torch.empty(1, 8, device="meta"),
            guidance=torch.ones(1, device="meta"),
        )
    cost = adapter.cost(made, grid, grid.tokens, 33)
    assert cost.full == pytest.approx(counter.get_total_flops(), rel=0.03)
    counts = counter.get_flop_counts()
    first = sum(counts["HunyuanVideo.double_blocks.0"].values())
    assert cost.first == pytest.approx(first, rel=0.03)
    assert cost.reused == pytest.approx(first + cost.other) and cost.reuse_share < 0.1


@pytest.mark.parametrize(
    ("name", "size", "millions", "speed"),  # README: 720×1280, 129 frames, and 480×832, 121 frames
    [("HunyuanVideo", (33, 90, 160), 12821, (3.81, 2.44)), ("HunyuanVideo15", (31, 30, 52), 8327, (3.79, 2.43))],
)
def test_the_true_size(stage, name, size, millions, speed):
    import comfy.ldm.hunyuan_video.model as model
    from comfy import ops

    wide = {"mlp_ratio": 4.0, "axes_dim": [16, 56, 56]}
    wide |= {
        "HunyuanVideo": {"hidden_size": 3072, "num_heads": 24, "depth": 20, "depth_single_blocks": 40, "vec_in_dim": 768,
                         "context_in_dim": 4096},
        "HunyuanVideo15": {"hidden_size": 2048, "num_heads": 16, "depth": 54, "context_in_dim": 3584},
    }[name]  # fmt: skip
    settings = {key: value for key, value in CONFIGS[name].items() if key != "image_model"} | wide
    made = model.HunyuanVideo(**settings, device="meta", operations=ops.disable_weight_init)
    assert round(sum(each.numel() for each in made.parameters()) / 1e6) == millions
    adapter = stage.comfy.core.find(made)
    grid = adapter.grid(torch.empty(1, 16, *size, device="meta"))
    cost = adapter.cost(made, grid, grid.tokens)
    assert (round(cost.speedup(40, 10), 2), round(cost.speedup(20, 8), 2)) == speed
