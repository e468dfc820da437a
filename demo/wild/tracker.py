"""The measuring net of the wild world: from one frame, what each speaker does and what the cast looks like.

Trained on the renderer's truth, on frames that went through the VAE and on spoilt ones, so that it also reads
generated frames.  Its last features serve for a Fréchet distance: they know this world only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import interpolate, smooth_l1_loss

from .loop import Clock, Loop, precision, say
from .source import Pool
from .train_vae import encode
from .world import POSE

FEATURES, TRAITS = 256, 14
# Every number of a pose in its own unit, so that all count: (x - middle) * gain.
MIDDLE = {"scale": 0.65}
GAIN = {"opening": 3.0, "x": 2.0, "y": 2.0, "scale": 4.0, "tilt": 3.0, "yaw": 2.0, "pitch": 2.0, "lids": 1.0,
        "mouth_x": 2.0, "mouth_y": 2.0}
RATE = 2e-3
STRETCH = 5  # frames that go through the VAE together


class Residual(nn.Module):
    """Two convolutions beside a shortcut; halves the resolution."""

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, inside), nn.SiLU(), nn.Conv2d(inside, outside, 3, 2, 1),
            nn.GroupNorm(8, outside), nn.SiLU(), nn.Conv2d(outside, outside, 3, 1, 1))
        self.shortcut = nn.Conv2d(inside, outside, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


@dataclass(frozen=True)
class Seen:
    """What the net reads in frames [N]: pose [N, 2, len(POSE)], present logits [N, 2], traits [N, 2, 14] and
    features [N, FEATURES]."""

    pose: Tensor
    present: Tensor
    traits: Tensor
    features: Tensor


class Tracker(nn.Module):
    """Frames [N, 3, 96, 96] in -1..1 -> Seen."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 1, 1)
        self.stages = nn.Sequential(Residual(32, 64), Residual(64, 128), Residual(128, 192), Residual(192, 256))
        self.squeeze = nn.Sequential(nn.GroupNorm(8, 256), nn.SiLU(), nn.Conv2d(256, 64, 1))
        self.wide = nn.Sequential(nn.Linear(64 * 36, FEATURES), nn.SiLU())
        self.head = nn.Linear(FEATURES, 2 * (len(POSE) + 1 + TRAITS))
        self.register_buffer("middle", torch.tensor([MIDDLE.get(name, 0.0) for name in POSE]))
        self.register_buffer("gain", torch.tensor([GAIN[name] for name in POSE]))

    def forward(self, frames: Tensor) -> Seen:
        features = self.wide(self.squeeze(self.stages(self.stem(frames))).flatten(1))
        pose, present, traits = self.head(features).float().unflatten(1, (2, -1)).split([len(POSE), 1, TRAITS], -1)
        return Seen(pose / self.gain + self.middle, present[..., 0], traits, features.float())


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
    from .. import whole_clip

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


def save_tracker(model: Tracker, path: Path) -> None:
    save_file({name: value.detach().to("cpu", torch.float16).contiguous() for name, value in model.state_dict().items()},
              str(path))


def load_tracker(path: Path, device: torch.device | str = "cpu") -> Tracker:
    """The tracker of a file, frozen."""
    model = Tracker()
    model.load_state_dict({name: value.float() for name, value in load_file(str(path)).items()})
    return model.train(False).requires_grad_(False).to(device)
