"""Let the trained models perform, without nodes: one chunk, or chunks that continue each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy
import torch

from .dataset import as_video
from .modelling import build_dit, build_vae, load_weights
from .talker import AUDIO_FRAMES, CONFIG, DIT_FILE, LATENT_FRAMES, SIZE, VAE_FILE, negative, positive
from .train_dit import MOTION_LATENTS, audio_embed, shifted


@dataclass(frozen=True)
class Sampling:
    """How to sample; the stock nodes' names."""

    steps: int = 40
    guidance: float = 2.0
    shift: float = 8.0
    seed: int = 0


def guided_velocity(model: torch.nn.Module, latent: torch.Tensor, sigma: torch.Tensor, given: dict[str, torch.Tensor],
                    guidance: float) -> torch.Tensor:
    """Classifier-free guidance as the host does it: prompt and sound against no prompt and no sound."""
    count = len(latent)
    twice = {name: torch.cat([value, value * 0.0 if name == "audio_embed" else value]) for name, value in given.items()}
    context = torch.cat([positive().expand(count, -1, -1), negative().expand(count, -1, -1)])
    both = model(torch.cat([latent, latent]), (sigma * 1000).expand(2 * count), context=context,
                 control_video=torch.zeros_like(torch.cat([latent, latent])), **twice)
    with_sound, without = both.chunk(2)
    return without + guidance * (with_sound - without)


@torch.no_grad()
def sample(model: torch.nn.Module, sound: torch.Tensor, reference: torch.Tensor, motion: torch.Tensor | None = None,
           sampling: Sampling = Sampling()) -> torch.Tensor:
    """Euler sampling: sound [B, 36, D], reference [B, 16, 1, h, w], past latents [B, 16, t, h, w] -> [B, 16, 9, h, w]."""
    given = {"audio_embed": audio_embed(sound), "reference_latent": reference}
    if motion is not None:
        given["reference_motion"] = motion[:, :, -MOTION_LATENTS:]
    generator = torch.Generator().manual_seed(sampling.seed)
    latent = torch.randn(len(sound), 16, LATENT_FRAMES, SIZE // 8, SIZE // 8, generator=generator)
    levels = shifted(torch.linspace(1, 0, sampling.steps + 1), sampling.shift)
    for sigma, following in zip(levels[:-1], levels[1:]):
        latent = latent + (following - sigma) * guided_velocity(model, latent, sigma, given, sampling.guidance)
    return latent


def pictures(video: torch.Tensor) -> numpy.ndarray:
    """[1, 3, F, H, W] in -1..1 -> [F, H, W, 3] in 0..1."""
    return ((video[0].clamp(-1, 1) + 1) / 2).movedim(0, -1).numpy()


class Studio:
    """The two models, and the way from an example of the data set to generated pictures."""

    def __init__(self, dit: torch.nn.Module | None = None, vae: torch.nn.Module | None = None):
        from comfy.latent_formats import Wan21

        self.scale = Wan21()
        self.vae = vae or load_weights(build_vae(), VAE_FILE)
        self.dit = dit or load_weights(build_dit(dict(CONFIG)), DIT_FILE)

    @torch.no_grad()
    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 [F, H, W, 3] -> the VAE's own latents [1, 16, T, h, w]."""
        return self.vae.encode(as_video(frames[None]))

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> numpy.ndarray:
        """The VAE's own latents -> frames [F, H, W, 3] in 0..1."""
        return pictures(self.vae.decode(latents))

    def perform(self, reference: torch.Tensor, sound: torch.Tensor, sampling: Sampling = Sampling()) -> numpy.ndarray:
        """The person of a picture uint8 [H, W, 3] says the windowed sound [36 * chunks, D]: frames [F, H, W, 3].

        Every chunk after the first is given the latents so far as motion frames, as WanSoundImageToVideoExtend does.
        """
        face, past = self.scale.process_in(self.encode(reference[None])), None
        for number, heard in enumerate(sound.split(AUDIO_FRAMES)):
            made = sample(self.dit, heard[None], face, past, replace(sampling, seed=sampling.seed + number))
            past = made if past is None else torch.cat([past, made], dim=2)
        return self.decode(self.scale.process_out(past))
