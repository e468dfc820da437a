"""What is read of guiders of other extensions."""

import json
from types import SimpleNamespace

import pytest
import torch

from .test_semantics import close

pytestmark = pytest.mark.host
STEPS = 12


@pytest.mark.parametrize(
    ("held", "scale"),
    [
        ({"cfg": 3.5}, 3.5), ({"cfg": 3}, 3.0), ({"cfg": [1.0, 6.1, 3.0]}, 6.1), ({"cfg": (2.0,)}, 2.0),
        ({"cfg": torch.tensor([4.0, 5.0])}, 5.0), ({"cfg": None}, 1.0), ({"cfg": []}, 1.0), ({"cfg": "auto"}, 1.0),
        ({"cfg": [None, 2.0]}, 1.0), ({}, 1.0), ({"cfg1": 2.5, "cfg": 7.0}, 2.5), ({"cfg1": [2.0, 4.0]}, 4.0),
    ],
)  # fmt: skip
def test_the_scale_of_guidance(comfy, held, scale):
    assert comfy.guider.guidance(SimpleNamespace(**held)) == scale


def scheduled(stage, model, cfg):
    """Sampled as KJNodes' Scheduled CFG Guidance does: its guider keeps a scale per step where others have one number."""
    from comfy.samplers import CFGGuider, calculate_sigmas, sampler_object, sampling_function

    class Scheduled(CFGGuider):
        def predict_noise(self, x, timestep, model_options=None, seed=None):
            at = int((sigmas == timestep.flatten()[0]).nonzero()[0])
            conds = self.conds.get("negative"), self.conds.get("positive")
            return sampling_function(
                self.inner_model, x, timestep, *conds, self.cfg[at], model_options=model_options, seed=seed
            )

    positive, negative, latent = stage.conditioning()
    sigmas = calculate_sigmas(stage.model.get_model_object("model_sampling"), "simple", STEPS)
    guider = Scheduled(model)
    guider.set_conds(positive, negative)
    guider.cfg = cfg
    noise = torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return guider.sample(noise, latent["samples"], sampler_object("euler"), sigmas.clone())


def test_a_scale_for_every_step(stage):
    cfg = [1.0, *[3.0] * (STEPS - 1)]
    plain = scheduled(stage, stage.model, cfg)
    model, run = stage.node()
    assert close(scheduled(stage, model, cfg), plain, 0.2) and run.reports[0].reused > 0
    model, run = stage.execute(stage.comfy.ids["SyncCacheCalibrate"], model=stage.model, replays=0)
    latent = scheduled(stage, model, cfg)
    plan, *_ = stage.execute(
        stage.comfy.ids["SyncCacheScheduleOptimizer"], run=run, samples={"samples": latent}, target_speedup=2.0
    )
    assert torch.equal(latent, plain) and json.loads(plan)["run"]["cfg"] == 3.0
