"""Wan-Animate in a real ComfyUI: contract, and sampling with WanAnimateToVideo."""

from types import SimpleNamespace

import pytest
import torch

from .conftest import SMALL, Stage, StubVae, made, save_random
from .doors import host_case, randomised
from .families import SCHEDULE, OfAFamily

pytestmark = pytest.mark.host
CONFIG = SMALL | {"model_type": "animate", "in_dim": 36, "num_layers": 10}
CLIP = (1, 5, 1280)


def small_eyes(encoder):
    """The host's face encoder takes 40 GFLOP a frame, at 512x512; here a fixed map of a few pixels stands in for it."""
    project = torch.randn(3 * 8 * 8, 512, generator=torch.Generator().manual_seed(3))
    encoder.get_motion = lambda pixels: torch.nn.functional.adaptive_avg_pool2d(pixels, 8).flatten(1) @ project.to(pixels)


def make():
    import comfy.ldm.wan.model_animate as animate

    model = randomised(made(animate.AnimateWanModel, CONFIG))
    small_eyes(model.motion_encoder)
    return model


def contract_case(stage):
    generator = torch.Generator().manual_seed(5)
    text, clip = torch.randn(1, 3, 16, generator=generator), torch.randn(CLIP, generator=generator)
    pose = torch.randn(1, 16, 2, 4, 4, generator=generator)

    def call(model, x, sigma, face, options):
        count = len(x)
        times, context = torch.full((count,), 1000.0 * sigma), text.expand(count, -1, -1)
        given = {"clip_fea": clip.expand(count, -1, -1), "pose_latents": pose.expand(count, -1, -1, -1, -1)}
        return model(x, times, context, face_pixel_values=face, transformer_options=options, **given)

    core = stage.core
    adapter = core.find(make())
    return host_case(stage, make, adapter, core.Grid(3, 2, 2), (1, 36, 3, 4, 4), (1, 3, 5, 8, 8), call, tolerance=1e-4)


class AnimateStage(Stage):
    def __init__(self, comfy, checkpoint):
        super().__init__(comfy, checkpoint)
        self.eyes = self.model.get_model_object("diffusion_model").motion_encoder
        self.all_of_it = self.eyes.get_motion
        small_eyes(self.eyes)

    def conditioning(self, size=32, frames=9, **more):
        """positive, negative, latent: of the reference's frame and the video's."""
        generator = torch.Generator().manual_seed(0)
        text, image = torch.randn(1, 3, 16, generator=generator), torch.rand(1, size, size, 3, generator=generator)
        clip = SimpleNamespace(penultimate_hidden_states=torch.randn(CLIP, generator=generator))
        face, pose = (torch.rand(frames, size, size, 3, generator=generator) for _ in range(2))
        given = {"clip_vision_output": clip, "reference_image": image, "face_video": face, "pose_video": pose} | more
        return self.comfy.wan.WanAnimateToVideo.execute(
            [[text, {}]], [[text * 0, {}]], StubVae(), size, size, frames, 1, continue_motion_max_frames=5,
            video_frame_offset=0, **given,
        ).args[:3]  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(comfy, tmp_path_factory):
    import comfy.ldm.wan.model_animate as animate

    return save_random(animate.AnimateWanModel, CONFIG, tmp_path_factory.mktemp("model") / "animate.safetensors")


@pytest.fixture(scope="module")
def stage(comfy, checkpoint):
    return AnimateStage(comfy, checkpoint)


class TestWanAnimate(OfAFamily):
    heard, tokens, refreshes = "face_pixel_values", (1 + 3) * 2 * 2, 2

    @staticmethod
    def refresher(model):
        return model.face_adapter.fuser_blocks[0]

    @pytest.mark.parametrize(
        "given", [{"face_video": None}, {"continue_motion": torch.full((5, 32, 32, 3), 0.3)}, {"clip_vision_output": None}]
    )
    def test_without_a_face_and_going_on(self, stage, given):
        model, run, _ = stage.attach(schedule=SCHEDULE)
        stage.sample(model, stage.conditioning(**given))
        assert run.reports[0].reused == 5 and run.reports[0].notes == []

    def test_a_mask_for_every_frame_of_the_film(self, stage):
        """Of which the latent has one more, the reference's, that nobody sees."""
        mask = torch.zeros(9, 8, 8)
        mask[:, :4] = 1.0
        model, run = stage.node(human_mask=mask)
        stage.sample(model)
        report = run.reports[0]
        assert report.reused > 2
        assert all("out of reach" in note for note in report.notes)

    def test_the_whole_encoder_of_faces(self, stage, monkeypatch):
        """Of one frame."""
        monkeypatch.setattr(stage.eyes, "get_motion", stage.all_of_it)
        model, run, _ = stage.attach(schedule=(True, True, False, True))
        out = stage.sample(model, stage.conditioning(frames=1), steps=4, cfg=1.0)
        assert run.reports[0].reused == 1 and torch.isfinite(out).all()
