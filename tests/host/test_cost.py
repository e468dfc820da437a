"""The cost formula against PyTorch's own operation counter, on ComfyUI's class at small and at true size."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def true_size(comfy):
    """Wan2.2-S2V-14B without weights."""
    import comfy.ldm.wan.model
    import comfy.ops

    return comfy.ldm.wan.model.WanModel_S2V(
        dim=5120, ffn_dim=13824, num_heads=40, num_layers=40, freq_dim=256, text_dim=4096, text_len=512, in_dim=16,
        out_dim=16, device="meta", dtype=torch.bfloat16, operations=comfy.ops.disable_weight_init,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size", "block", "refresh", "total", "share"),
    # research/models.md A4, counted over ComfyUI's module: TFLOP per heavy block, per injector, per call; light share
    [((480, 832, 77), 41.96, 3.287, 1717.9, 0.0230), ((720, 1280, 77), 163.08, 7.570, 6614.3, 0.0138)],
)
def test_the_fourteen_billion_model(comfy, true_size, size, block, refresh, total, share):
    height, width, frames = size
    latent = torch.empty(1, 16, (frames - 1) // 4 + 1, height // 8, width // 8, device="meta")
    adapter = comfy.core.find(true_size)
    grid = adapter.grid(latent)
    cost = adapter.cost(true_size, grid, grid.tokens + grid.height * grid.width)
    assert cost.block / 1e12 == pytest.approx(block, rel=1e-3)
    assert cost.refresh / 1e12 == pytest.approx(refresh, rel=1e-3)
    assert cost.full / 1e12 == pytest.approx(total, rel=1e-3)
    assert (cost.full - 40 * cost.block) / cost.full == pytest.approx(share, rel=0.02)


def test_a_small_model_against_the_counter(stage, monkeypatch):
    import comfy.ldm.modules.attention as attention
    import comfy.ldm.wan.model as wan

    # The counter does not see into the CPU's fused attention.
    monkeypatch.setattr(wan, "optimized_attention", attention.attention_basic)
    core, dit = stage.comfy.core, stage.comfy.guider.diffusion_model(stage.model)
    counted = []

    def count(executor, *args, **kwargs):
        with FlopCounterMode(display=False) as counter:
            out = executor(*args, **kwargs)
        counted.append(counter.get_total_flops() / args[0].shape[0])
        return out

    plain = stage.model.clone()
    plain.add_wrapper_with_key("diffusion_model", "count", count)
    with torch.no_grad():
        stage.sample(plain, steps=1)
    adapter = core.find(dit)
    grid = adapter.grid(torch.empty(1, 16, 3, 4, 4))
    cost = adapter.cost(dit, grid, grid.tokens + grid.height * grid.width)
    assert cost.full == pytest.approx(counted[0], rel=0.03)


def test_a_step_costs_what_this_runs_prompt_costs(stage):
    """A prompt of 9 tokens, where the model would take 3: the share of a reused step is that of 9."""
    positive, negative, latent = stage.conditioning()
    longer = [[positive[0][0].repeat(1, 3, 1), positive[0][1]]]
    model, run = stage.node(target_speedup=2.0)
    stage.sample(model, (longer, negative, latent), steps=4)
    dit = stage.comfy.guider.diffusion_model(stage.model)
    adapter, report = stage.comfy.core.find(dit), run.reports[0]
    grid = adapter.grid(torch.empty(1, 16, 3, 4, 4))
    of_nine, of_three = (adapter.cost(dit, grid, report.tokens, text).reuse_share for text in (9, None))
    assert report.reuse_share == pytest.approx(of_nine) != pytest.approx(of_three)


def test_the_memory_that_the_help_page_names(comfy, true_size):
    """web/docs/SyncCache.md: 832x480, 77 frames, bf16: about 0.30 GiB a residual, about 13 GiB for Balanced."""
    from types import SimpleNamespace

    inner = SimpleNamespace(get_dtype_inference=lambda: torch.bfloat16)
    model = SimpleNamespace(get_model_object=lambda name: true_size, model=inner, model_options={}, object_patches={})
    held = comfy.host.residual_bytes(model, [1, 16, 20, 60, 104], comfy.core.Config(), comfy.core.Sampler()) / 2**30
    assert held == pytest.approx(13.1, abs=0.05) and held / (11 * 2 * 2) == pytest.approx(0.30, abs=0.005)
