"""Clips as one batch through ComfyUI's class: each is what it is by itself through the third party's."""

import shutil

import pytest
import torch

from bench.placement import Batch, near
from bench.settings import Setting
from demo.talker import CONFIG, DIT_FILE
from demo.training.modelling import build_dit, load_weights, open_host


def test_likeness_is_a_mean_of_decibels_over_clips():
    plain = torch.zeros(2, 5, 4, 4, 3)
    frames = torch.stack([torch.full_like(plain[0], 0.1), torch.full_like(plain[0], 0.01)])
    assert near(frames, plain) == pytest.approx((20 + 40) / 2) and near(plain, plain) == 100.0


@pytest.mark.host
@pytest.mark.once
@torch.inference_mode()
def test_a_batch_is_its_clips():
    if not shutil.which("espeak-ng"):
        pytest.skip("espeak-ng is not here, clips are not sampled as one batch")
    open_host(cpu=True)
    setting, clips = Setting(8, 1.0, shift=5.0), (0, 1)
    dit = load_weights(build_dit(dict(CONFIG)), DIT_FILE).requires_grad_(False)
    batch = Batch(setting, clips, dit, "cpu")
    made = batch.guided(batch.noise(), 0.7, None)
    for clip, found in zip(clips, made):
        alone = setting.stage(clip)
        expected = alone.guided(alone.noise(), 0.7, None)[0]
        assert (found - expected).norm() < 0.02 * expected.norm(), clip  # ComfyUI adds the bias of an empty control video
