"""Teach the small VAE the textures of the wild world, starting from the quiet world's weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate, silu

from ..training import whole_clip
from ..training.flat import flatten_time
from ..training.modelling import build_vae, load_weights, save_model
from ..training.progress import optimisers_for
from ..training.train_vae import OPPONENT_WEIGHTS, OPPONENTS, convolution, fold_normalisation, weights
from .loop import Clock, Loop, precision, say
from .source import Pool

MUON_RATE, RATE = 5e-3, 1e-3
LATENT_NOISE = 0.04
LENGTHS = (5, 5, 5, 9)
EDGES = 0.5  # weight of the error in the differences between neighbouring pixels


def as_video(frames: Tensor) -> Tensor:
    """Bytes [B, F, 3, H, W] -> the VAE's input [B, 3, F, H, W] in -1..1, colours innermost in memory."""
    video = frames.permute(0, 1, 3, 4, 2).contiguous().float() / 127.5 - 1
    return video.permute(0, 4, 1, 2, 3)


def draw_video(pool: Pool, batch: int, length: int) -> tuple[Tensor, Tensor]:
    """Random stretches [B, 3, L, H, W] in -1..1 and the mouths' weights [B, 1, 1, H, W]."""
    frames, mouths = pool.data["frames"], pool.data["mouths"]
    places = pool.pick(batch)
    start = torch.randint(frames.shape[2] - length + 1, (batch,), device=places.device)
    rows = start[:, None] + torch.arange(length, device=places.device)
    video = as_video(frames[places[:, None], :, rows])
    cells = mouths[places, (start + length // 2 + 3) // 4].float()
    return video, 2 * interpolate(cells[:, None], size=frames.shape[-2:])[:, :, None]


def norm_silu(rows: Tensor, gamma: Tensor) -> Tensor:
    """The VAE's channel-wise RMS norm of pixels [N, C] and the SiLU that always follows it, in full precision."""
    wide = rows.float()
    return silu(wide * torch.rsqrt(wide.square().mean(1, keepdim=True) + 1e-12) * gamma).to(rows.dtype)


def on_pixels(x: Tensor, norm: torch.nn.Module, fused: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Run `norm_silu` on a video [B, C, F, H, W]: one compiled kernel serves every shape."""
    last = x.movedim(1, -1)
    return fused(last.reshape(-1, x.shape[1]), norm.gamma.flatten()).view(last.shape).movedim(-1, 1)


def fuse_norms(model: torch.nn.Module, compiled: bool) -> torch.nn.Module:
    """Let each pair of norm and SiLU run as one function, in place."""
    from comfy.ldm.wan.vae import RMS_norm

    fused = torch.compile(norm_silu, dynamic=True) if compiled else norm_silu
    for layers in (list(module) for module in model.modules() if isinstance(module, torch.nn.Sequential)):
        for norm, activation in zip(layers, layers[1:]):
            if isinstance(norm, RMS_norm) and isinstance(activation, torch.nn.SiLU):
                norm.forward, activation.forward = partial(on_pixels, norm=norm, fused=fused), torch.nn.Identity().forward
    return model


def vae_loss(model: torch.nn.Module, video: Tensor, mouth: Tensor, half: bool) -> tuple[Tensor, Tensor]:
    """Weighted L1 + squared error of a noisy round trip in opponent colours and of its edges; the squared error."""
    with precision(video.device, half):
        latent = whole_clip.encode(model, video)
        noise = torch.randn_like(latent) * latent.detach().std() * LATENT_NOISE
        restored = whole_clip.decode(model, latent + noise)
    error = restored.float() - video
    opponents = (OPPONENTS * OPPONENT_WEIGHTS[:, None]).to(video.device)
    seen = torch.einsum("oc,bcfhw->bofhw", opponents, error)
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    loss = ((seen.abs() + 2 * seen.square()) * weights(video, mouth)).mean() + EDGES * edges
    return loss, error.detach().square().mean()


@torch.no_grad()
def encode(model: torch.nn.Module, frames: Tensor, half: bool, at_once: int = 16) -> Tensor:
    """Bytes [B, 3, F, H, W] -> latents [B, 16, T, h, w] in float32."""
    with precision(frames.device, half):
        return torch.cat([whole_clip.encode(model, as_video(part.transpose(1, 2))).float()
                          for part in frames.split(at_once)])


@torch.no_grad()
def decode(model: torch.nn.Module, latents: Tensor, half: bool, at_once: int = 16) -> Tensor:
    """Latents [B, 16, T, h, w] -> frames [B, 3, F, H, W] in 0..1."""
    with precision(latents.device, half):
        return torch.cat([whole_clip.decode(model, part).float().clamp(-1, 1) * 0.5 + 0.5
                          for part in latents.split(at_once)])


def ready_vae(path: Path, device: torch.device) -> torch.nn.Module:
    """The VAE of a file, frozen, set up to encode quickly."""
    model = fuse_norms(flatten_time(load_weights(build_vae(), path)), False)
    return model.to(device).requires_grad_(False).train(False)


def compiles(device: torch.device) -> bool:
    """Whether small compiled kernels work here; a failure must not end the training."""
    if device.type != "cuda":
        return False
    try:
        rows = torch.randn(512, 16, device=device, requires_grad=True)
        torch.compile(norm_silu, dynamic=True)(rows, torch.ones(16, device=device)).sum().backward()
        return True
    except Exception as error:  # the compiler may be missing or broken in many ways
        print(f"no compiled kernels: {error}", flush=True)
        return False


def train_vae(pool: Pool, start: Path, path: Path, until: float, clock: Clock, batch: int, half: bool) -> None:
    """Fine-tune until a moment, normalise the latents, save."""
    device = pool.data["frames"].device
    model = fuse_norms(flatten_time(load_weights(build_vae(), start)), compiles(device)).to(device).train()
    say("vae: first step", clock)
    loop = Loop("vae", model, optimisers_for(model, convolution, MUON_RATE, RATE), until, clock, 0.99)
    for step in loop.steps():
        length = LENGTHS[step % len(LENGTHS)]
        loss, error = vae_loss(model, *draw_video(pool, max(1, batch * 5 // length), length), half)
        loop.advance(loss, f"psnr {(10 * torch.log10(4 / error)).item():.2f}" if step % 10 == 9 else "")
    loop.report(f"psnr {(10 * torch.log10(4 / error)).item():.2f}")
    averaged = flatten_time(loop.averaged(build_vae().to(device)))
    some = pool.data["frames"][pool.pick(min(64, pool.count)), :, :33]
    latents = encode(averaged, some, half).cpu()
    averaged = averaged.cpu()
    fold_normalisation(averaged, latents)
    save_model(averaged, path)
