"""The measuring net of the wild world: from one frame, what each speaker does and what the cast looks like.

Trained on the renderer's truth (`train_tracker`), on frames that went through the VAE and on spoilt ones, so that it also
reads generated frames.  Its last features serve for a Fréchet distance: they know this world only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .world import POSE

FEATURES, TRAITS = 256, 14
# Every number of a pose in its own unit, so that all count: (x - middle) * gain.
MIDDLE = {"scale": 0.65}
GAIN = {"opening": 3.0, "x": 2.0, "y": 2.0, "scale": 4.0, "tilt": 3.0, "yaw": 2.0, "pitch": 2.0, "lids": 1.0,
        "mouth_x": 2.0, "mouth_y": 2.0}


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


def save_tracker(model: Tracker, path: Path) -> None:
    save_file({name: value.detach().to("cpu", torch.float16).contiguous() for name, value in model.state_dict().items()},
              str(path))


def load_tracker(path: Path, device: torch.device | str = "cpu") -> Tracker:
    """The tracker of a file, frozen."""
    model = Tracker()
    model.load_state_dict({name: value.float() for name, value in load_file(str(path)).items()})
    return model.train(False).requires_grad_(False).to(device)
