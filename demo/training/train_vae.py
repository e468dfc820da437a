"""Training of the small VAE, through the host's own WanVAE class."""

from __future__ import annotations

from pathlib import Path

import torch

from ..portraits import mouth_box_of
from ..talker import SIZE, VAE_FILE
from . import whole_clip
from .dataset import as_video, load_clips
from .flat import flatten_time, fuse_norms
from .modelling import build_vae, initialise_vae, save_model
from .progress import Run, device, optimisers_for, psnr, worker, write_curve

MUON_RATE = 1e-2
RATE = 2e-3
LATENT_NOISE = 0.05
# Luminance, red-blue, green-magenta: orthonormal rows, and how much more than luminance the faint ones count.
OPPONENTS = torch.nn.functional.normalize(torch.tensor([[1.0, 1, 1], [1, 0, -1], [-1, 2, -1]]), dim=1)
OPPONENT_WEIGHTS = torch.tensor([1.0, 1.5, 2.5])
# (share of the time budget, frames, batch of one process, crop): still pictures, then short clips.
STAGES = ((0.3, 1, 8, 64), (0.75, 9, 1, 64), (1.0, 5, 1, SIZE))


def channels_last(model: torch.nn.Module) -> torch.nn.Module:
    """Store convolution weights the way CPU kernels want them: twice the speed for narrow layers."""
    formats = {torch.nn.Conv3d: torch.channels_last_3d, torch.nn.Conv2d: torch.channels_last}
    for module in model.modules():
        for kind, layout in formats.items():
            if isinstance(module, kind):
                module.weight.data = module.weight.data.contiguous(memory_format=layout)
    return model


def mouth_map() -> torch.Tensor:
    """[SIZE, SIZE]: two where the mouth of a single speaker is, else zero."""
    weight = torch.zeros(SIZE, SIZE)
    y0, y1, x0, x1 = mouth_box_of(SIZE)
    weight[y0:y1, x0:x1] = 2.0
    return weight


def draw_stretch(chunks: list[dict], length: int, crop: int, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """A random stretch and crop of a random clip: uint8 [length, crop, crop, 3], and the mouth's weights there."""
    def below(limit: int) -> int:
        return int(torch.randint(limit, (), generator=generator))

    chunk = chunks[below(len(chunks))]["frames"]
    clip, start = below(len(chunk)), below(chunk.shape[1] - length + 1)
    top, left = below(SIZE - crop + 1), below(SIZE - crop + 1)
    window = (slice(top, top + crop), slice(left, left + crop))
    return chunk[clip, start : start + length, window[0], window[1]], mouth_map()[window]


def draw_batch(chunks: list[dict], length: int, batch: int, crop: int,
               generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Random video [batch, 3, length, crop, crop] in -1..1, and the mouths' weights [batch, 1, 1, crop, crop]."""
    stretches, mouths = zip(*(draw_stretch(chunks, length, crop, generator) for _ in range(batch)))
    video = torch.stack(stretches)
    if torch.rand((), generator=generator) < 0.5:
        video = video.flip(1)
    return as_video(video), torch.stack(mouths)[:, None, None]


def weights(video: torch.Tensor, mouth: torch.Tensor) -> torch.Tensor:
    """Where errors count more: the mouth, and edges. [B, 3, F, H, W] -> [B, 1, F, H, W], mean one."""
    grey = video.mean(1, keepdim=True)
    across = torch.nn.functional.pad(grey.diff(dim=-1).abs(), (0, 1))
    down = torch.nn.functional.pad(grey.diff(dim=-2).abs(), (0, 0, 0, 1))
    weight = 1 + 4 * (across + down) + mouth
    return weight / weight.mean()


def reconstruction_loss(model: torch.nn.Module, video: torch.Tensor, mouth: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Weighted L1 + squared error of a noisy round trip in opponent colours, and its PSNR in dB.

    In plain RGB the green-magenta axis, which varies least, is learned last: after the same time 22 dB instead of 25.
    """
    video, mouth = (tensor.to(model.conv1.weight.device) for tensor in (video, mouth))
    latent = whole_clip.encode(model, video)
    noise = torch.randn_like(latent) * latent.detach().std() * LATENT_NOISE
    restored = whole_clip.decode(model, latent + noise)
    opponents = (OPPONENTS * OPPONENT_WEIGHTS[:, None]).to(video.device)
    error = torch.einsum("oc,bcfhw->bofhw", opponents, restored - video)
    return ((error.abs() + 2 * error.square()) * weights(video, mouth)).mean(), psnr(restored.detach(), video)


@torch.no_grad()
def encode_all(model: torch.nn.Module, frames: torch.Tensor, batch: int = 10) -> torch.Tensor:
    """uint8 [N, F, H, W, 3] -> latents [N, 16, T, H/8, W/8]."""
    device = model.conv1.weight.device
    return torch.cat([whole_clip.encode(model, as_video(part.to(device))).cpu() for part in frames.split(batch)])


@torch.no_grad()
def fold_normalisation(model: torch.nn.Module, latents: torch.Tensor) -> None:
    """Move the latents [N, 16, T, h, w] to the mean and deviation that the host's Wan21 format expects.

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


def export_vae(run: Run, chunks: list[dict], path: Path) -> None:
    """Average, normalise and save the VAE."""
    model = channels_last(run.averaged(build_vae()))
    some = torch.cat([chunk["frames"][::7, :33] for chunk in chunks[:: max(1, len(chunks) // 24)]])
    fold_normalisation(model, encode_all(model, some))
    save_model(model, path)


def convolution(name: str, value: torch.Tensor) -> bool:
    """Which weights of the VAE are Muon's."""
    return value.ndim >= 4


def train_vae(folder: Path, seconds: float, report: object) -> None:
    """Train for a time budget on the clips in a work folder, with a checkpoint every two minutes; exports at the end."""
    model = fuse_norms(channels_last(flatten_time(initialise_vae(build_vae()))).to(device()))
    run = Run(model, folder / "vae.pt", optimisers_for(model, convolution, MUON_RATE, RATE), seconds)
    generator = torch.Generator().manual_seed(run.step * 1000 + worker())
    chunks = load_clips(folder / "clips")
    while run.progress < 1:
        _, length, batch, crop = next(stage for stage in STAGES if run.progress < stage[0] or stage[0] == 1)
        loss, quality = reconstruction_loss(run.model, *draw_batch(chunks, length, batch, crop, generator))
        run.advance(loss, psnr=quality, frames=length)
        if run.step % 20 == 0:
            recent = [row["psnr"] for row in run.rows[-20:]]
            report(f"vae {run.step} {run.spent:.0f}s frames {length} psnr {sum(recent) / 20:.2f}")
        if run.clock - run.saved > 120:
            run.save()
            chunks = load_clips(folder / "clips")
    run.save()
    if not worker():
        write_curve(run.rows, folder / "vae_curve")
        export_vae(run, load_clips(folder / "clips"), folder / VAE_FILE.name)
