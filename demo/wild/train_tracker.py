"""Teach the measuring net on the renderer's clips, half of them after a round trip through the VAE."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, smooth_l1_loss

from .. import whole_clip
from .loop import Clock, Loop, precision, say
from .source import Pool
from .tracker import Tracker, save_tracker
from .train_vae import encode
from .world import POSE

RATE = 2e-3
STRETCH = 5  # frames that go through the VAE together


def spoilt(video: Tensor) -> Tensor:
    """Frames [N, 3, H, W] in -1..1, some blurred, noisy, or of another brightness."""
    chance = torch.rand(len(video), 3, 1, 1, 1, device=video.device)
    soft = interpolate(interpolate(video, scale_factor=0.5, mode="area"), scale_factor=2, mode="bilinear")
    video = torch.lerp(video, soft, (chance[:, 0] * 2 - 1).clamp(0, 1))
    video = video + torch.randn_like(video) * 0.08 * (chance[:, 1] * 2 - 1).clamp(0, 1)
    return video * (1 + 0.1 * (chance[:, 2] - 0.5))


@torch.no_grad()
def draw_frames(pool: Pool, vae: nn.Module, count: int, half: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Frames [N, 3, H, W] in -1..1, half of them after the VAE; their pose, who is there, and traits."""
    frames = pool.data["frames"]
    places = pool.pick(max(2, count // STRETCH))
    start = torch.randint(frames.shape[2] - STRETCH + 1, (len(places),), device=places.device)
    rows = start[:, None] + torch.arange(STRETCH, device=places.device)
    stretch = frames[places[:, None], :, rows]  # [B, L, 3, H, W]
    video, some = stretch.float() / 127.5 - 1, len(places) // 2
    with precision(frames.device, half):
        latents = encode(vae, stretch[:some].transpose(1, 2), half)
        wrong = torch.rand(some, 1, 1, 1, 1, device=places.device) * 0.2 * latents.std()
        restored = whole_clip.decode(vae, latents + wrong * torch.randn_like(latents)).float().clamp(-1, 1)
    video = torch.cat([restored.transpose(1, 2), video[some:]]).flatten(0, 1)
    pose = pool.data["pose"][places[:, None], :, rows].flatten(0, 1)
    traits = pool.data["traits"][places].repeat_interleave(STRETCH, 0)
    return spoilt(video), pose, (pose[..., POSE.index("scale")] > 0).float(), traits


def tracker_loss(model: Tracker, video: Tensor, pose: Tensor, present: Tensor, traits: Tensor, half: bool) -> Tensor:
    with precision(video.device, half):
        seen = model(video.contiguous(memory_format=torch.channels_last))
    weight = present[..., None]
    wrong = smooth_l1_loss(seen.pose * model.gain, pose * model.gain, beta=0.1, reduction="none") * weight
    looks = smooth_l1_loss(seen.traits, traits, beta=0.1, reduction="none") * weight
    there = nn.functional.binary_cross_entropy_with_logits(seen.present, present)
    return wrong.sum(-1).mean() + looks.sum(-1).mean() + 0.1 * there


@torch.no_grad()
def errors(model: Tracker, video: Tensor, pose: Tensor, present: Tensor, half: bool) -> dict[str, float]:
    """Root mean square error of every number of a pose, and the correlation of the opening."""
    with precision(video.device, half):
        seen = model(video)
    there = present > 0.5
    found, true = seen.pose[there], pose[there]
    rms = (found - true).square().mean(0).sqrt()
    both = torch.stack([found[:, 0], true[:, 0]])
    return {name: round(value, 3) for name, value in zip(POSE, rms.tolist())} | {
        "opening_r": round(torch.corrcoef(both)[0, 1].item(), 4)}


def train_tracker(pool: Pool, vae: nn.Module, path: Path, until: float, clock: Clock, batch: int, half: bool) -> None:
    """Train until a moment and save; prints the errors on frames that it may have seen."""
    device = pool.data["frames"].device
    torch.manual_seed(3)
    model = Tracker().to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.02)
    loop = Loop("tracker", model, [optimiser], until, clock, 0.99)
    for _ in loop.steps():
        loop.advance(tracker_loss(model, *draw_frames(pool, vae, batch, half), half))
    loop.report()
    averaged = loop.averaged(Tracker().to(device))
    save_tracker(averaged, path)
    say(f"tracker errors {errors(averaged, *draw_frames(pool, vae, batch, half)[:3], half)}", clock)
