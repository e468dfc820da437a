"""Clips that continue each other: ComfyUI's own Extend node and the training's own sampler give the same latents."""

import numpy as np
import pytest
import torch

from demo.scene import Settings, read_scene
from demo.talker import AUDIO_FRAMES, LATENT_FRAMES, PORTRAIT_FILE, SPEECH_FILE, VAE_FILE

pytestmark = pytest.mark.host
SETTINGS = Settings(steps=3, guidance=2.0, shift=8.0, seed=5)


@pytest.fixture(scope="module")
def comfy(host_folder):
    from demo.comfy_graph import Comfy
    scene = read_scene(SPEECH_FILE, PORTRAIT_FILE)
    scene.sound[:] = scene.sound.flip(0) * 0.5 + scene.sound * 0.5  # no silence at the end: both chunks hear something
    return Comfy(host_folder, scene, SETTINGS), scene


def extended(comfy, scene):
    """Latents [1, 16, 18, h, w] by the stock nodes: WanSoundImageToVideo, then WanSoundImageToVideoExtend."""
    first = comfy.sampler(comfy.model, SETTINGS.steps)
    audio = {"waveform": scene.sound.repeat(2)[None, None], "sample_rate": scene.rate}
    _, vae, positive, negative, encoded, reference, _ = comfy.call("SyncCacheTinyTalker", portrait=scene.portrait,
                                                                    audio=audio)
    *conditioning, latent = comfy.call(
        "WanSoundImageToVideoExtend", positive=positive, negative=negative, vae=vae, length=4 * LATENT_FRAMES - 3,
        video_latent=first, audio_encoder_output=encoded, ref_image=reference)
    comfy.conditioning, comfy.latent = conditioning, latent
    second = comfy.sampler(comfy.model, SETTINGS.steps)
    return torch.cat([first["samples"], second["samples"]], dim=2)


def test_extend_node_equals_the_studio(comfy):
    from demo.features import audio_features, window
    from demo.training.modelling import build_vae, load_weights
    from demo.training.performance import Sampling, Studio, sample
    comfy, scene = comfy
    made = extended(comfy, scene)
    studio = Studio(vae=load_weights(build_vae(), VAE_FILE))
    face = studio.scale.process_in(studio.vae.encode(scene.portrait.movedim(-1, 1)[:, :, None] * 2 - 1))
    sampling = Sampling(SETTINGS.steps, SETTINGS.guidance, SETTINGS.shift, SETTINGS.seed)
    once, twice = (audio_features(scene.sound.repeat(times)[None], scene.rate) for times in (1, 2))
    first = sample(studio.dit, window(once, AUDIO_FRAMES)[None], face, None, sampling)
    heard = window(twice, AUDIO_FRAMES, AUDIO_FRAMES)[None]
    second = sample(studio.dit, heard, face, first, sampling)
    expected = studio.scale.process_out(torch.cat([first, second], dim=2))
    assert made.shape == expected.shape
    assert np.linalg.norm(made - expected) < 1e-3 * np.linalg.norm(expected)
