"""Let the trained models perform, without nodes: one chunk, or chunks that continue each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy
import torch

from ..sampling import euler, guided, seeded_noise, simple_sigmas
from ..talker import AUDIO_FRAMES, CONFIG, DIT_FILE, LATENT_FRAMES, VAE_FILE, negative, positive
from .dataset import as_video
from .modelling import build_dit, build_vae, load_weights
from .train_dit import MOTION_LATENTS, audio_embed


@dataclass(frozen=True)
class Sampling:
    """How to sample; the stock nodes' names."""

    steps: int = 40
    guidance: float = 2.0
    shift: float = 8.0
    seed: int = 0


def both_velocities(model: torch.nn.Module, latent: torch.Tensor, sigma: float,
                    given: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Velocity without prompt and sound, and with both, as the host's two branches give them."""
    twice = {name: torch.cat([value * 0.0 if name == "audio_embed" else value, value]) for name, value in given.items()}
    context, latents = torch.cat([negative(), positive()]), torch.cat([latent, latent])
    made = model(latents, torch.full((2,), 1000.0 * sigma), context=context, control_video=torch.zeros_like(latents),
                 **twice)
    return made.chunk(2)


@torch.no_grad()
def sample(model: torch.nn.Module, sound: torch.Tensor, reference: torch.Tensor, motion: torch.Tensor | None = None,
           sampling: Sampling = Sampling()) -> torch.Tensor:
    """Euler sampling: sound [1, 36, D], reference [1, 16, 1, h, w], past latents [1, 16, t, h, w] -> [1, 16, 9, h, w]."""
    given = {"audio_embed": audio_embed(sound), "reference_latent": reference}
    if motion is not None:
        given["reference_motion"] = motion[:, :, -MOTION_LATENTS:]
    noise = seeded_noise((1, 16, LATENT_FRAMES, *reference.shape[-2:]), sampling.seed)
    return euler(noise, simple_sigmas(sampling.steps, sampling.shift),
                 lambda latent, sigma: guided(*both_velocities(model, latent, sigma, given), sampling.guidance))


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
