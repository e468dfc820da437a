"""The adapter of HunyuanVideo-Avatar: its contract through both doors, its cost against PyTorch's counter, its 4.12x."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.host.doors import check, contract, host_case, randomised

pytestmark = pytest.mark.host
TINY = {
    "image_model": "hunyuan_video", "in_channels": 16, "out_channels": 16, "patch_size": [1, 2, 2], "vec_in_dim": 8,
    "context_in_dim": 12, "hidden_size": 128, "mlp_ratio": 4.0, "num_heads": 1, "depth": 6, "depth_single_blocks": 3,
    "axes_dim": [16, 56, 56], "theta": 256, "qkv_bias": True, "guidance_embed": False, "byt5": False, "meanflow": False,
    "use_cond_type_embedding": False, "vision_in_dim": None, "meanflow_sum": False,
    "adapter_width": 32, "audio_heard": 10, "audio_hidden": 16,
}  # fmt: skip
LARGE = {
    **TINY, "vec_in_dim": 768, "context_in_dim": 4096, "hidden_size": 3072, "num_heads": 24, "depth": 20,
    "depth_single_blocks": 40, "adapter_width": 1024, "audio_heard": 19200, "audio_hidden": 1024,
}  # fmt: skip
FRAMES = 3


@pytest.fixture(scope="module")
def make(rooms):
    import comfy.ops

    def made(config=TINY, device="cpu", dtype=torch.float32):
        kind = rooms["transformer"].HunyuanVideoAvatar
        return kind(**config, device=device, dtype=dtype, operations=comfy.ops.disable_weight_init)

    return made


def call(model, x, sigma, audio, options=None):
    """Of a batch; what is not asked for is the same at every call."""
    generator = torch.Generator().manual_seed(5)
    given = {
        "context": torch.randn(1, 5, 12, generator=generator), "y": torch.randn(1, 8, generator=generator),
        "avatar_ref": torch.randn(1, 16, FRAMES, 4, 4, generator=generator), "avatar_face": torch.ones(1, 1, 32, 32),
        "avatar_fps": torch.full((1,), 25.0),
    }  # fmt: skip
    given = {name: value.expand(len(x), *value.shape[1:]) for name, value in given.items()}
    times = torch.full((len(x),), 1000.0 * sigma)
    return model(x, times, avatar_audio=audio, transformer_options=options or {}, **given)


SHAPES = (1, 16, FRAMES, 4, 4), (1, 1, FRAMES, 4, 10)


@torch.no_grad()
def test_contract_through_the_hosts_hooks(comfy, make):
    def random():
        return randomised(make())

    core = comfy.core
    case = host_case(comfy, random, core.find(random()), core.Grid(FRAMES, 2, 2), *SHAPES, call, tolerance=1e-4)
    assert len(check(comfy, case)) >= 12


@torch.no_grad()
def test_contract_through_attach(comfy, make):
    def random():
        return randomised(make())

    core = comfy.core
    case = contract(comfy).case.Case(random, core.find(random()), core.Grid(FRAMES, 2, 2), *SHAPES, call, tolerance=1e-4)
    assert len(check(comfy, case)) >= 12


@pytest.fixture(scope="module")
def large(make):
    """The real model without weights."""
    return make(LARGE, "meta", torch.bfloat16)


LATENT = (1, 16, 33, 96, 88)  # 704 x 768, 129 frames
WORDS = 831


def priced(comfy, dit):
    """Grid and cost of one branch at 704 x 768 x 129, all tokens of the first block counted."""
    adapter = comfy.core.find(dit)
    grid = adapter.grid(torch.empty(LATENT, device="meta"))
    return grid, adapter.cost(dit, grid, grid.tokens + grid.height * grid.width, WORDS)


def counted(dit, skipped: bool) -> int:
    """FLOPs of one forward at 704 x 768 x 129 by PyTorch's counter, on no memory; with every block skipped, or none."""

    def skip(args, extra):
        return {"img": args["img"] + 1, "txt": args["txt"]} if "txt" in args else {"img": args["img"] + 1}

    places = [("double_block", i) for i in range(20)] + [("single_block", i) for i in range(40)]
    options = {"patches_replace": {"dit": dict.fromkeys(places, skip)}} if skipped else {}
    shapes = {
        "context": (1, WORDS, 4096), "y": (1, 768), "avatar_ref": LATENT, "avatar_audio": (1, 1, 33, 4, 19200),
        "avatar_face": (1, 1, 768, 704), "avatar_fps": (1,),
    }  # fmt: skip
    given = {name: torch.empty(shape, device="meta", dtype=torch.bfloat16) for name, shape in shapes.items()}
    x, time = torch.empty(LATENT, device="meta", dtype=torch.bfloat16), torch.empty(1, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        dit(x, time, transformer_options=options, **given)
    return counter.get_total_flops()


def test_what_a_step_costs_at_true_size(comfy, large, monkeypatch):
    """By formula, by the figures that were counted over the official code, and by running ComfyUI's module."""
    import comfy.ldm.flux.math as math
    import comfy.ldm.modules.attention as attention

    # What the counter sees through, where a fused kernel would hide it.
    monkeypatch.setattr(math, "optimized_attention", attention.attention_pytorch)
    grid, cost = priced(comfy, large)
    assert grid.tokens == 69_696 and cost.block / 1e12 == pytest.approx(81.3, rel=2e-3)
    assert cost.refresh / 1e12 == pytest.approx(0.888, rel=2e-3)
    assert cost.full == pytest.approx(counted(large, skipped=False), rel=2e-3)
    share = shares(cost)[1]
    assert share == pytest.approx(0.0021, rel=0.05) and share * cost.full == pytest.approx(counted(large, True), rel=0.02)


def shares(cost) -> tuple[float, float]:
    """What a reused step costs of a computed one: with the probe, as the presets have it, and without."""
    return tuple(cost.share("residual", 11, "freeze", probe) for probe in (True, False))


def test_twelve_of_fifty_steps_are_more_than_4_12_times_faster(comfy, large):
    """1x is 50 computed steps. The paper's figure is without a probe; with the first two blocks at every step it is 3.7x."""
    _, cost = priced(comfy, large)
    layout = comfy.core.find(large).layout(large)
    assert (layout.blocks, layout.segments, layout.refresh) == (60, 11, tuple(range(1, 20, 2)))
    probed, bare = shares(cost)
    assert cost.speedup(50, 12, bare) >= 4.12 and cost.speedup(50, 12, bare) == pytest.approx(4.14, abs=0.005)
    assert cost.speedup(50, 12, probed) == pytest.approx(3.74, abs=0.01)
    in_table = (round(cost.speedup(40, 10, probed), 2), round(cost.speedup(20, 8, probed), 2))
    assert in_table == (3.62, 2.37)  # README
    # the official code's own cache: on 20 of 50 steps one of 60 blocks, no audio
    assert cost.speedup(50, 30, cost.block / cost.full) == pytest.approx(1.65, abs=0.005)


@pytest.mark.parametrize(
    ("target", "computed", "speed"), [(2.0, 24, 2.01), (3.0, 15, 3.08), (4.0, 11, 4.04)],
    ids=["Faithful", "Balanced", "Fast"],
)
def test_what_a_preset_computes_of_fifty_steps(comfy, large, target, computed, speed):
    """As the templates' notes say."""
    _, cost = priced(comfy, large)
    assert cost.computed_steps(50, target, shares(cost)[0]) == computed
    assert cost.speedup(50, computed, shares(cost)[0]) == pytest.approx(speed, abs=0.005)
    from tools.workflows.graphs import NOTES

    config, bound = comfy.core.Config(target_speedup=target, level="auto"), comfy.core.Bound(comfy.core.find(large), large)
    leveled = comfy.core.planning.planned.leveled
    config, _ = leveled(config, bound, comfy.host.grid_of(bound, LATENT), 50, comfy.core.Sampler(), WORDS)
    assert config.level == "residual"
    assert f"| {computed} of 50 | {speed:.1f}× |" in NOTES["HUNYUAN_AVATAR"]


@pytest.mark.parametrize(
    ("ratio", "probe", "order", "residuals", "held"),
    [
        (1.0, True, 0, 10, 8.0), (1.0, True, 1, 20, 16.0), (1.0, False, 0, 11, 8.8), (0.4, True, 0, 4, 3.2),
        (0.4, True, 1, 8, 6.4),
    ],
)
def test_the_memory_by_ratio_probe_and_order(comfy, large, ratio, probe, order, residuals, held):
    """bf16, 704 x 768 x 129, both branches: 0.40 GiB a residual and branch."""
    inner = SimpleNamespace(get_dtype_inference=lambda: torch.bfloat16)
    model = SimpleNamespace(get_model_object=lambda name: large, model=inner, model_options={}, object_patches={})
    config = comfy.core.Config(cache_ratio=ratio, forecast_order=order, correction=False, level="residual", probe=probe)
    size = comfy.host.residual_bytes(model, LATENT, config, comfy.core.Sampler()) / 2**30
    assert size == pytest.approx(held, abs=0.05) and size / (2 * residuals) == pytest.approx(0.3988, abs=0.001)
