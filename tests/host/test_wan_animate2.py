"""Wan-Animate 2 in a real ComfyUI: contract, sampling with WanAnimate2ToVideo, and the branch of the poses."""

from types import SimpleNamespace

import pytest
import torch

from .conftest import SMALL, Stage, StubVae, made, save_random
from .doors import host_case, randomised
from .families import SCHEDULE, OfAFamily
from .test_semantics import close

pytestmark = pytest.mark.host
CONFIG = SMALL | {"model_type": "animate2", "in_dim": 36}
CLIP = (1, 5, 1280)


def kind():
    """The host's class, which older ones do not have."""
    return pytest.importorskip("comfy.ldm.wan.model_animate2", reason="this ComfyUI has no Wan-Animate 2").WanAnimate2Model


def make():
    return randomised(made(kind(), CONFIG))


def contract_case(stage):
    """What stays fresh is what the first block makes of the poses."""
    generator = torch.Generator().manual_seed(5)
    text, clip = torch.randn(1, 3, 16, generator=generator), torch.randn(CLIP, generator=generator)

    def call(model, x, sigma, pose, options):
        times, context = torch.full((len(x),), 1000.0 * sigma), text.expand(len(x), -1, -1)
        seen = clip.expand(len(x), -1, -1)
        return model(x, times, context, clip_fea=seen, pose_latents=pose, transformer_options=options)

    core = stage.core
    adapter = core.find(make())
    return host_case(stage, make, adapter, core.Grid(3, 2, 2), (1, 36, 3, 4, 4), (1, 16, 2, 4, 4), call, tolerance=1e-5)


class Animate2Stage(Stage):
    def conditioning(self, size=32, frames=9, **more):
        """positive, negative, latent: of the reference's frame and the video's."""
        generator = torch.Generator().manual_seed(0)
        text, image = torch.randn(1, 3, 16, generator=generator), torch.rand(1, size, size, 3, generator=generator)
        clip = SimpleNamespace(penultimate_hidden_states=torch.randn(CLIP, generator=generator))
        pose = torch.rand(frames, size, size, 3, generator=generator)
        given = {"clip_vision_output": clip, "reference_image": image, "pose_video": pose} | more
        return self.comfy.wan.WanAnimate2ToVideo.execute(
            [[text, {}]], [[text * 0, {}]], StubVae(), size, size, frames, 1, video_frame_offset=0, **given
        ).args[:3]


@pytest.fixture(scope="module")
def stage(comfy, tmp_path_factory):
    return Animate2Stage(comfy, save_random(kind(), CONFIG, tmp_path_factory.mktemp("model") / "animate2.safetensors"))


class TestWanAnimate2(OfAFamily):
    heard, tokens, block_run = "pose_latents", (1 + 3) * 2 * 2, "forward_gen"

    def test_the_pose_branch_runs_where_its_keys_are_read(self, stage, monkeypatch):
        """In all blocks of a computed step; of a reused one in the probe, and in the block at whose input is added."""
        ran = self.counting(monkeypatch, stage.comfy.guider.diffusion_model(stage.model).blocks[0], "forward_pose")
        model, run, _ = stage.attach(schedule=SCHEDULE)
        stage.sample(model)
        assert run.reports[0].reused == 5 and len(ran) == 7 * 7 + 5 * 2

    @pytest.mark.parametrize("dtype", ["default", "int8"])
    def test_with_comfys_own_cache_of_it(self, stage, monkeypatch, dtype):
        block = stage.comfy.guider.diffusion_model(stage.model).blocks[0]
        posed, read = (self.counting(monkeypatch, block, name) for name in ("forward_pose", "kv_from_input"))
        kept = stage.comfy.wan.WanAnimate2Cache.execute(stage.model, "cpu", dtype).args[0]
        model, run, _ = stage.attach(model=kept, schedule=SCHEDULE)
        out = stage.sample(model)
        assert run.reports[0].reused == 5 and run.reports[0].notes == []
        assert len(posed) == 7 and len(read) == 6 * 7 + 5 * 2
        without = stage.sample(stage.attach(schedule=SCHEDULE)[0])
        assert close(out, without, 1e-4 if dtype == "default" else 0.05)
        assert close(stage.sample(model), out, 1e-5)

    def test_a_failure_of_ours_at_a_reused_step_leaves_the_poses_whole(self, stage, monkeypatch):
        """Caching stops in the second block; from there on the step is computed, poses and all."""

        def fail(*_):
            raise RuntimeError("it failed")

        monkeypatch.setattr(stage.comfy.core.run.call.Call, "_add", fail)
        model, run, _ = stage.attach(schedule=SCHEDULE)
        assert close(stage.sample(model), self.plain(stage), 1e-6)
        assert run.reports[0].reused == 0 and "it failed" in run.reports[0].notes[-1]

    @pytest.mark.parametrize("given", [{"pose_video": None}, {"pose_start_percent": 0.1, "pose_end_percent": 0.6}])
    def test_poses_for_a_part_of_the_run_and_none(self, stage, given):
        conditioning = stage.conditioning(**given)
        model, run, _ = stage.attach(schedule=SCHEDULE)
        out, plain = stage.sample(model, conditioning), stage.sample(stage.model, conditioning)
        assert run.reports[0].reused > 0 and close(out, plain, 0.3)
