"""WanDancer in a real ComfyUI: contract, and sampling with WanDancerVideo."""

from math import prod
from types import SimpleNamespace

import pytest
import torch

from .conftest import SMALL, Stage, StubVae, made, save_random
from .doors import host_case, randomised
from .families import SCHEDULE, OfAFamily

pytestmark = pytest.mark.host
CONFIG = SMALL | {
    "model_type": "wandancer", "in_dim": 36, "audio_inject_layers": [0, 2, 4], "music_dim": 16, "music_heads": 2,
    "music_feature_dim": 35, "music_latent_dim": 16,
}  # fmt: skip
CLIP = (1, 5, 1280)


def kind(**more):
    import comfy.ldm.wan.model_wandancer as wandancer

    return randomised(made(wandancer.WanDancerModel, CONFIG | more))


def contract_case(stage):
    generator = torch.Generator().manual_seed(5)
    text, clip = torch.randn(1, 3, 16, generator=generator), torch.randn(CLIP, generator=generator)

    def call(model, x, sigma, audio, options):
        count = len(x)
        times, context = torch.full((count,), 1000.0 * sigma), text.expand(count, -1, -1)
        seen = {"clip_fea": clip.expand(count, -1, -1), "clip_fea_ref": clip.expand(count, -1, -1)}
        return model(x, times, context, audio_embed=audio, transformer_options=options, **seen)

    core = stage.core
    adapter = core.find(kind())
    return host_case(stage, kind, adapter, core.Grid(3, 2, 4), (1, 36, 3, 4, 8), (1, 9, 35), call, tolerance=1e-4)


class DancerStage(Stage):
    def conditioning(self, width=64, height=32, frames=9, fps=30.0):
        from comfy_extras.nodes_wandancer import WanDancerVideo

        generator = torch.Generator().manual_seed(0)
        text = torch.randn(1, 3, 16, generator=generator)
        clips = [SimpleNamespace(penultimate_hidden_states=torch.randn(CLIP, generator=generator)) for _ in range(2)]
        music = torch.randn(1, frames, 35, generator=generator)
        return WanDancerVideo.execute(
            [[text, {}]], [[text * 0, {}]], StubVae(), width, height, frames,
            start_image=torch.rand(1, height, width, 3, generator=generator), clip_vision_output=clips[0],
            clip_vision_output_ref=clips[1],
            audio_encoder_output={"audio_feature": music, "fps": fps, "audio_inject_scale": 1.0},
        ).args  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(comfy, tmp_path_factory):
    import comfy.ldm.wan.model_wandancer as wandancer

    return save_random(wandancer.WanDancerModel, CONFIG, tmp_path_factory.mktemp("model") / "dancer.safetensors")


@pytest.fixture
def stage(comfy, checkpoint, monkeypatch):
    """ComfyUI 0.20 takes the frame rate as a tensor per branch, and fails where two branches share a pass."""
    from comfy.conds import CONDConstant
    from comfy.model_patcher import ModelPatcher

    stage = DancerStage(comfy, checkpoint)
    given = stage.model.model.extra_conds(noise=torch.zeros(1, 16, 3, 4, 8), device=torch.device("cpu"), fps=30.0)
    if not isinstance(given["fps"], CONDConstant):
        monkeypatch.setattr(ModelPatcher, "get_free_memory", lambda self, device: 0)
    return stage


class TestWanDancer(OfAFamily):
    tokens, refreshes = 3 * 2 * 4, 3

    @staticmethod
    def refresher(model):
        return model.music_injector.injector[0]

    def test_keyframes_of_another_rate_have_another_head(self, stage):
        """The first of its two stages: few frames a second, with patch embedding and head of their own."""
        given = stage.conditioning(fps=6.0)
        model, run, _ = stage.attach(schedule=SCHEDULE)
        out = stage.sample(model, given)
        assert run.reports[0].reused == 5 and run.reports[0].notes == []
        assert not torch.equal(out, stage.sample(stage.attach(schedule=SCHEDULE)[0]))


@pytest.mark.parametrize("has_convolution", [True, False])
def test_a_reference_stands_in_front(comfy, has_convolution):
    """ComfyUI 0.33 makes no positions for it, so that no pass can be run: the view goes by what its convolution gives."""
    core, model = comfy.core, kind(**({"in_dim_ref_conv": 16} if has_convolution else {}))
    given = {"reference_latent": torch.zeros(1, 16, 6, 8), "time_dim_concat": torch.zeros(1, 36, 2, 6, 8)}
    one = core.Pass(model, core.Grid(3, 3, 4), model._forward, (torch.zeros(1, 36, 3, 6, 8),), given)
    view = core.find(model).view(one, 0)
    reference = prod(model.ref_conv(given["reference_latent"]).shape[-2:]) if has_convolution else 0
    assert (view.front, view.count, view.behind) == (reference, 3 * 3 * 4, 2 * 3 * 4)
