"""Teach the measuring net on the renderer's clips, half of them after a round trip through the VAE."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, smooth_l1_loss

from ..training import whole_clip
from ..training.progress import optimisers_for
from .loop import Clock, Loop, precision, say
from .source import Pool
from .tracker import Tracker, load_tracker, save_tracker
from .train_vae import encode
from .world import POSE

MUON_RATE, RATE = 6e-3, 2e-3
AGAIN = 0.5  # of the learning rates, for weights of an earlier training
STRETCH = 5  # frames that go through the VAE together
KEPT, RENEWED = 16, 12  # restored stretches that are kept, in batches, and the part of a batch that every step renews


def hidden(name: str, value: Tensor) -> bool:
    """Which weights are Muon's: all matrices and convolutions but the first and the last."""
    return value.ndim >= 2 and not name.startswith(("stem.", "head."))


def spoilt(video: Tensor) -> Tensor:
    """Frames [N, 3, H, W] in -1..1, some blurred, noisy, or of another brightness."""
    chance = torch.rand(len(video), 3, 1, 1, 1, device=video.device)
    soft = interpolate(interpolate(video, scale_factor=0.5, mode="area"), scale_factor=2, mode="bilinear")
    video = torch.lerp(video, soft, (chance[:, 0] * 2 - 1).clamp(0, 1))
    video = video + torch.randn_like(video) * 0.08 * (chance[:, 1] * 2 - 1).clamp(0, 1)
    return video * (1 + 0.1 * (chance[:, 2] - 0.5))


@torch.no_grad()
def draw_stretches(pool: Pool, count: int) -> dict[str, Tensor]:
    """Random stretches: video bytes [B, L, 3, H, W], their pose [B, L, 2, P] and traits [B, 2, 14]."""
    frames = pool.data["frames"]
    places = pool.pick(count)
    start = torch.randint(frames.shape[2] - STRETCH + 1, (len(places),), device=places.device)
    rows = start[:, None] + torch.arange(STRETCH, device=places.device)
    return {"video": frames[places[:, None], :, rows], "pose": pool.data["pose"][places[:, None], :, rows],
            "traits": pool.data["traits"][places]}


@torch.no_grad()
def restored(stretches: dict[str, Tensor], vae: nn.Module, half: bool) -> dict[str, Tensor]:
    """The same after a round trip through the VAE, with noise on the way."""
    video = stretches["video"]
    with precision(video.device, half):
        latents = encode(vae, video.transpose(1, 2), half, len(video))
        wrong = torch.rand(len(video), 1, 1, 1, 1, device=video.device) * 0.2 * latents.std()
        made = whole_clip.decode(vae, latents + wrong * torch.randn_like(latents)).float().clamp(-1, 1)
    return stretches | {"video": ((made.transpose(1, 2) + 1) * 127.5).round().to(torch.uint8)}


def as_frames(stretches: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Frames [N, 3, H, W] in -1..1; their pose, who is there, and traits."""
    pose = stretches["pose"].flatten(0, 1)
    traits = stretches["traits"].repeat_interleave(STRETCH, 0)
    return (stretches["video"].flatten(0, 1).float() / 127.5 - 1, pose, (pose[..., POSE.index("scale")] > 0).float(), traits)


class Frames:
    """What the net learns from: half of the stretches as rendered, half from a pool of restored ones, of which every step
    renews a few: the VAE takes far longer than the net."""

    def __init__(self, pool: Pool, vae: nn.Module, batch: int, half: bool):
        self.pool, self.vae, self.half, self.count = pool, vae, half, max(2, batch // STRETCH)
        self.restored = Pool(KEPT * self.count)
        for _ in range(4):
            self.renew(self.count)

    def renew(self, count: int) -> None:
        self.restored.add(restored(draw_stretches(self.pool, count), self.vae, self.half))

    def draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As `as_frames`, some of them spoilt."""
        self.renew(max(1, self.count // RENEWED))
        mine, places = draw_stretches(self.pool, self.count // 2), self.restored.pick(self.count - self.count // 2)
        both = {name: torch.cat([value, self.restored.data[name][places]]) for name, value in mine.items()}
        video, *truth = as_frames(both)
        return spoilt(video), *truth


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


def train_tracker(pool: Pool, vae: nn.Module, start: Path | None, path: Path, until: float, clock: Clock, batch: int,
                  half: bool) -> None:
    """Train until a moment, from earlier weights if there are some, and save; prints the errors on frames that it may have
    seen: as in training, as rendered, and after the VAE."""
    device = pool.data["frames"].device
    torch.manual_seed(3)
    model = Tracker() if start is None else load_tracker(start).train().requires_grad_(True)
    model = model.to(device, memory_format=torch.channels_last)
    share = 1.0 if start is None else AGAIN
    loop = Loop("tracker", model, optimisers_for(model, hidden, MUON_RATE * share, RATE * share), until, clock, 0.995)
    frames = Frames(pool, vae, batch, half)
    for _ in loop.steps():
        loop.advance(tracker_loss(model, *frames.draw(), half))
    loop.report()
    averaged = loop.averaged(Tracker().to(device))
    save_tracker(averaged, path)
    fresh = draw_stretches(pool, frames.count)
    for name, some in (("spoilt", frames.draw()), ("rendered", as_frames(fresh)),
                       ("after the VAE", as_frames(restored(fresh, vae, half)))):
        say(f"tracker errors, {name}: {errors(averaged, *some[:3], half)}", clock)
