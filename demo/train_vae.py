"""Training of the small VAE, through the host's own WanVAE class."""

from __future__ import annotations

from pathlib import Path

import torch

from . import whole_clip
from .dataset import as_video
from .flat import flatten_time
from .modelling import build_vae, initialise_vae, load_weights, save_model
from .portraits import mouth_box_of
from .progress import Run, psnr, worker, write_curve
from .talker import SIZE, VAE_FILE

RATE = 1.5e-3
DECODER_RATE = 1e-3
LATENT_NOISE = 0.05
PATCH_WEIGHT = 2.0
# (share of the time budget, frames, batch of one process): still pictures first, then short clips.
STAGES = ((0.25, 1, 8), (1.0, 9, 1))
DECODER_STAGES = ((1.0, 5, 2),)


def channels_last(model: torch.nn.Module) -> torch.nn.Module:
    """Store convolution weights the way CPU kernels want them: twice the speed for narrow layers."""
    formats = {torch.nn.Conv3d: torch.channels_last_3d, torch.nn.Conv2d: torch.channels_last}
    for module in model.modules():
        for kind, layout in formats.items():
            if isinstance(module, kind):
                module.weight.data = module.weight.data.contiguous(memory_format=layout)
    return model


def draw_batch(frames: torch.Tensor, length: int, batch: int, generator: torch.Generator) -> torch.Tensor:
    """Random stretches of random clips: uint8 [N,F,H,W,3] -> [batch, 3, length, H, W] in -1..1."""
    clips = torch.randint(len(frames), (batch,), generator=generator).tolist()
    starts = torch.randint(frames.shape[1] - length + 1, (batch,), generator=generator).tolist()
    video = torch.stack([frames[clip, start : start + length] for clip, start in zip(clips, starts)])
    if torch.rand((), generator=generator) < 0.5:
        video = video.flip(1)
    return as_video(video)


def weights(video: torch.Tensor) -> torch.Tensor:
    """Where errors count more: the mouth, and edges. [B, 3, F, H, W] -> [B, 1, F, H, W], mean one."""
    grey = video.mean(1, keepdim=True)
    across = torch.nn.functional.pad(grey.diff(dim=-1).abs(), (0, 1))
    down = torch.nn.functional.pad(grey.diff(dim=-2).abs(), (0, 0, 0, 1))
    weight = 1 + 4 * (across + down)
    y0, y1, x0, x1 = mouth_box_of(SIZE)
    weight[..., y0:y1, x0:x1] += 2
    return weight / weight.mean()


def reconstruction_loss(model: torch.nn.Module, video: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Weighted L1 + squared error of a noisy round trip, and its PSNR in dB."""
    latent = whole_clip.encode(model, video)
    noise = torch.randn_like(latent) * latent.detach().std() * LATENT_NOISE
    restored = whole_clip.decode(model, latent + noise)
    error = restored - video
    hue = torch.nn.functional.avg_pool3d(error, (1, 8, 8)).abs().mean()  # whole patches must not change colour
    detail = ((error.abs() + 2 * error.square()) * weights(video)).mean()
    return detail + PATCH_WEIGHT * hue, psnr(restored.detach(), video)


@torch.no_grad()
def encode_all(model: torch.nn.Module, frames: torch.Tensor, batch: int = 10) -> torch.Tensor:
    """uint8 [N, F, H, W, 3] -> latents [N, 16, T, 8, 8]."""
    return torch.cat([whole_clip.encode(model, as_video(part)) for part in frames.split(batch)])


@torch.no_grad()
def fold_normalisation(model: torch.nn.Module, latents: torch.Tensor) -> None:
    """Move the latents [N, 16, T, 8, 8] to the mean and deviation that the host's Wan21 format expects.

    The change goes into the 1x1x1 convolutions on both sides of the latent, so the round trip is unchanged.
    """
    from comfy.latent_formats import Wan21

    wanted = Wan21()
    mean, std = wanted.latents_mean.flatten(), wanted.latents_std.flatten()
    have_mean, have_std = latents.mean((0, 2, 3, 4)), latents.std((0, 2, 3, 4))
    gain, channels = std / have_std, len(mean)
    model.conv1.weight[:channels] *= gain.view(-1, 1, 1, 1, 1)
    model.conv1.bias[:channels] = (model.conv1.bias[:channels] - have_mean) * gain + mean
    kernel = model.conv2.weight.flatten(1)
    model.conv2.bias += kernel @ (have_mean - mean / gain)
    model.conv2.weight /= gain.view(1, -1, 1, 1, 1)


def export_vae(run: Run, frames: torch.Tensor, path: Path = VAE_FILE) -> torch.nn.Module:
    """Average, normalise and save the VAE; returns it."""
    model = channels_last(run.averaged(build_vae()))
    fold_normalisation(model, encode_all(model, frames[:: max(1, len(frames) // 80)]))
    save_model(model, path)
    return load_weights(model, path)


def train_vae(frames: torch.Tensor, folder: Path, seconds: float, report: object) -> None:
    """Train for a time budget on frames uint8 [N, F, H, W, 3]; exports at the end."""
    model = channels_last(flatten_time(initialise_vae(build_vae())))
    run = Run(model, folder / "vae.pt", RATE, seconds, decay=0.99)
    train(run, frames, STAGES, report)
    if not worker():
        export_vae(run, frames)


def train_decoder(frames: torch.Tensor, folder: Path, seconds: float, report: object) -> None:
    """Sharpen the decoder of the exported VAE; its latents, and what a DiT learned about them, stay the same."""
    model = flatten_time(load_weights(channels_last(build_vae()), VAE_FILE))
    model.encoder.requires_grad_(False)
    model.conv1.requires_grad_(False)
    run = Run(model, folder / "decoder.pt", DECODER_RATE, seconds, decay=0.99)
    train(run, frames, DECODER_STAGES, report)
    if not worker():
        save_model(run.averaged(build_vae()), VAE_FILE)


def train(run: Run, frames: torch.Tensor, stages: tuple[tuple[float, int, int], ...], report: object) -> None:
    """Spend a run's time budget on reconstruction, with a checkpoint every two minutes."""
    generator = torch.Generator().manual_seed(run.step * 1000 + worker())
    while run.progress < 1:
        _, length, batch = next(stage for stage in stages if run.progress < stage[0] or stage[0] == 1)
        loss, quality = reconstruction_loss(run.model, draw_batch(frames, length, batch, generator))
        run.advance(loss, psnr=quality, frames=length)
        if run.step % 20 == 0:
            recent = [row["psnr"] for row in run.rows[-20:]]
            report(f"{run.path.stem} {run.step} {run.spent:.0f}s frames {length} psnr {sum(recent) / 20:.2f}")
        if run.clock - run.saved > 120:
            run.save()
    run.save()
    if not worker():
        write_curve(run.rows, run.path.with_name(run.path.stem + "_curve"))
