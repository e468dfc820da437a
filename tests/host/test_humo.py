"""HuMo in a real ComfyUI: contract on the small model's shape, sampling with WanHuMoImageToVideo on the large one's."""

import pytest
import torch

from .conftest import SMALL, Stage, StubVae, made, save_random
from .doors import host_case, randomised
from .families import SCHEDULE, OfAFamily

pytestmark = pytest.mark.host
CONFIG = SMALL | {"model_type": "humo"}
LARGE = CONFIG | {"in_dim": 36}  # gets its reference with a mask, as the 17B does


def make():
    import comfy.ldm.wan.model as wan

    return randomised(made(wan.HumoWanModel, CONFIG))


def contract_case(stage):
    generator = torch.Generator().manual_seed(5)
    text, reference = torch.randn(1, 3, 16, generator=generator), torch.randn(1, 16, 1, 4, 4, generator=generator)

    def call(model, x, sigma, audio, options):
        count = len(x)
        times, context = torch.full((count,), 1000.0 * sigma), text.expand(count, -1, -1)
        beside = reference.expand(count, -1, -1, -1, -1)
        return model(x, times, context, audio_embed=audio, reference_latent=beside, transformer_options=options)

    core = stage.core
    adapter = core.find(make())
    return host_case(stage, make, adapter, core.Grid(3, 2, 2), (1, 16, 3, 4, 4), (1, 3, 8, 5, 1280), call, tolerance=1e-4)


class HumoStage(Stage):
    def conditioning(self, size=32, frames=9, sound=True, reference=True):
        generator = torch.Generator().manual_seed(0)
        text, image = torch.randn(1, 3, 16, generator=generator), torch.rand(1, size, size, 3, generator=generator)
        layers = [torch.randn(1, 40, 1280, generator=generator) for _ in range(33)]
        heard = {"encoded_audio_all_layers": layers, "audio_samples": 40 * 320}
        return self.comfy.wan.WanHuMoImageToVideo.execute(
            [[text, {}]], [[text * 0, {}]], StubVae(), size, size, frames, 1, ref_image=image if reference else None,
            audio_encoder_output=heard if sound else None,
        ).args  # fmt: skip


@pytest.fixture(scope="module")
def stage(comfy, tmp_path_factory):
    import comfy.ldm.wan.model as wan

    return HumoStage(comfy, save_random(wan.HumoWanModel, LARGE, tmp_path_factory.mktemp("model") / "humo.safetensors"))


class TestHumo(OfAFamily):
    tokens, refreshes = (3 + 1) * 2 * 2, 7

    @staticmethod
    def refresher(model):
        return model.blocks[0].audio_cross_attn_wrapper

    def test_without_a_reference(self, stage):
        """The node hands an empty one over."""
        model, run, _ = stage.attach(schedule=SCHEDULE)
        stage.sample(model, stage.conditioning(reference=False))
        assert run.reports[0].reused == 5 and run.reports[0].notes == []

    def test_audio_rests_inside_merged_blocks(self, stage, monkeypatch):
        """Of seven refreshes the three groups leave those at their ends, and the probe's."""
        dit = stage.comfy.guider.diffusion_model(stage.model)
        refreshed = self.counting(monkeypatch, self.refresher(dit), "forward")
        model, run, _ = stage.attach(schedule=SCHEDULE, cache_ratio=0.4)
        stage.sample(model)
        report = run.reports[0]
        assert report.groups == 3 and report.reused == 5
        assert len(refreshed) == report.computed * 7 + report.reused * 3

    def test_presets_keep_the_papers_share_of_the_residuals(self, stage):
        """Three of seven; the slider is taken at its word."""
        for settings, groups in (({"preset": "Faithful"}, 3), ({}, 7)):
            model, run = stage.node(**settings)
            stage.sample(model)
            assert run.reports[0].groups == groups and run.reports[0].reused > 0

    def test_audio_that_nobody_hands_over_is_reason_enough_to_compute(self, stage):
        """Without it the host leaves the audio out of every block, so that no segment ever ends."""
        positive, negative, latent = stage.conditioning()
        for entry in (positive, negative):
            del entry[0][1]["audio_embed"]
        model, run, _ = stage.attach(schedule=SCHEDULE)
        out = stage.sample(model, (positive, negative, latent))
        report = run.reports[0]
        assert report.computed == 12 and torch.equal(out, stage.sample(stage.model, (positive, negative, latent)))
        assert report.steps[2].reason
