"""Batches of clips that soft-edged shapes are painted on, in torch, so that a GPU renders hundreds a second.

Drawing coordinates run from -1 to 1, x to the right and y down.  Shapes of tensors: pictures [B, 3, F, H, W],
coordinates, distances and covers [B, 1, F, H, W], traits [B, 1, 1, 1, 1], colours [B, 3, 1, 1, 1], tracks [B, 1, F, 1, 1];
every one may have a 1 where it does not vary.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def constant(red: float, green: float, blue: float, device: torch.device) -> Tensor:
    """A colour [1, 3, 1, 1, 1], made once: every copy to a GPU would wait for it."""
    return torch.tensor([red, green, blue], device=device).view(1, 3, 1, 1, 1)


class Canvas:
    """The pictures that all views share; black at first."""

    def __init__(self, clips: int, frames: int, size: int, device: torch.device):
        axis = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) * 2 / size - 1
        self.x, self.y = axis.view(1, 1, 1, 1, size), axis.view(1, 1, 1, size, 1)
        self.size = size
        self.picture = torch.zeros(clips, 3, frames, size, size, device=device)


class View:
    """Local coordinates on a canvas, how large its pixels are there, and the mask of what was painted as human."""

    def __init__(self, canvas: Canvas, x: Tensor, y: Tensor, scale: Tensor):
        self.picture, self.x, self.y = canvas.picture, x, y
        self.pixel = 2 / (canvas.size * scale)
        self.mask = torch.zeros_like(canvas.picture[:, :1])

    def coverage(self, distance: Tensor, soft: float = 0.0) -> Tensor:
        """Signed distance (negative inside) -> coverage 0..1 with an edge one pixel (plus `soft`) wide."""
        return (0.5 - distance / (self.pixel + soft)).clamp(0, 1)

    def paint(self, cover: Tensor, colour: Tensor, human: bool = False) -> None:
        """Blend a colour (or a picture) over the frames."""
        self.picture.lerp_(colour, cover)
        if human:
            torch.maximum(self.mask, cover, out=self.mask)


def ellipse(x: Tensor, y: Tensor, width: Tensor | float, height: Tensor | float) -> Tensor:
    """Approximate signed distance to an axis-aligned ellipse of the given half sizes."""
    u, v = x / width, y / height
    near = (u.square() + v.square()).sqrt()
    slope = ((u / width).square() + (v / height).square()).sqrt()
    return near * (near - 1) / slope.clamp(min=1e-4)


def box(x: Tensor, y: Tensor, width: Tensor | float, height: Tensor | float) -> Tensor:
    """Signed distance to an axis-aligned rectangle of the given half sizes (exact on the inside and the sides)."""
    return torch.maximum(x.abs() - width, y.abs() - height)


def stroke(x: Tensor, y: Tensor, half: float, radius: float) -> Tensor:
    """Signed distance to a horizontal stroke of half length `half`."""
    return torch.hypot((x.abs() - half).clamp(min=0), y) - radius


def limb(x: Tensor, y: Tensor, start: tuple[Tensor, Tensor], end: tuple[Tensor, Tensor], radius: Tensor | float) -> Tensor:
    """Signed distance to a thick line from one point to another."""
    along, down = end[0] - start[0], end[1] - start[1]
    dx, dy = x - start[0], y - start[1]
    share = ((dx * along + dy * down) / (along.square() + down.square()).clamp(min=1e-6)).clamp(0, 1)
    return torch.hypot(dx - share * along, dy - share * down) - radius


def finger(x: Tensor, y: Tensor, start: tuple[float, float], end: tuple[float, float], radius: float) -> Tensor:
    """Signed distance to a thick line between two points that are the same in all frames."""
    along, down = end[0] - start[0], end[1] - start[1]
    dx, dy = x - start[0], y - start[1]
    share = ((dx * along + dy * down) / (along**2 + down**2)).clamp(0, 1)
    return torch.hypot(dx - share * along, dy - share * down) - radius


def turned(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates in a frame that is turned by an angle in radians (positive: clockwise on the screen)."""
    cos, sin = angle.cos(), angle.sin()
    return x * cos + y * sin, y * cos - x * sin
