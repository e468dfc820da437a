"""How alike two videos are, by region and frame: error, SSIM, flicker, and where they differ.

Frames are [F, H, W, 3] in 0..1. Videos are added in pieces, so that long ones need no memory of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F

LUMA = (0.299, 0.587, 0.114)
WINDOW, DEVIATION = 11, 1.5  # px, of SSIM
FLOORS = (0.01**2, 0.03**2)  # C1 and C2 of Wang et al. 2004 for pixels in 0..1
COARSE = 256  # px that SSIM's authors reduce the shorter side to before they look


@dataclass(frozen=True)
class Likeness:
    """Of one region. psnr: dB, inf where every pixel is equal. ssim: None where the region is too small for it.

    frames: psnr of every frame, NaN where the region is not in it; worst: the frame with the least, from 0.
    flicker: mean change from frame to frame over that of the first video, None where nothing moves there.
    """

    psnr: float
    ssim: float | None
    frames: np.ndarray
    worst: int
    flicker: float | None


class Comparison:
    """Two videos, piece by piece; the same regions each time."""

    def __init__(self):
        self.names: tuple[str, ...] = ()
        self._sums: list[torch.Tensor] = []  # [F, region, figure]
        self._added: list[torch.Tensor] = []
        self._before: tuple[torch.Tensor, ...] = ()
        self._apart: torch.Tensor | float = 0.0

    def add(self, plain: torch.Tensor, other: torch.Tensor, regions: Mapping[str, torch.Tensor | None]) -> None:
        """The next frames of both. regions: {name: bool [F, H, W], or None where it is all of the picture}."""
        self.names, first = tuple(regions), not self._before
        every = torch.ones(plain.shape[:3], dtype=torch.bool)
        masks = torch.stack([every if mask is None else mask for mask in regions.values()], dim=1).float()
        apart = other - plain
        self._apart = self._apart + grey(apart.abs()).sum(0)
        alike = ssim(luma(plain), luma(other))
        small = (reduced(masks, alike.shape[-2:]) >= 0.5).float()
        here, there, both = self._moved(plain, other, masks)
        still = [F.pad(each, (0, 0, first, 0)) for each in (inside(here, both), inside(there, both))]
        sums = [inside(grey(apart.square_()), masks), masks.sum((2, 3)), inside(alike, small), small.sum((2, 3)), *still]
        self._sums.append(torch.stack(sums, dim=2))
        self._before = plain[-1:], other[-1:], masks[-1:]

    def region(self, name: str) -> Likeness | None:
        """None where no pixel of any frame is in it."""
        sums = torch.cat(self._sums)[:, self.names.index(name)].double()
        error, pixels, alike, small, here, there = sums.numpy().T
        if not pixels.any():
            return None
        frames = decibels(error / np.where(pixels, pixels, np.nan))
        return Likeness(
            float(decibels(error.sum() / pixels.sum())), float(alike.sum() / small.sum()) if small.any() else None,
            frames, int(np.nanargmin(frames)), float(there.sum() / here.sum()) if here.sum() > 0 else None,
        )  # fmt: skip

    @property
    def added_flicker(self) -> float:
        """What the second video adds to the changes from frame to frame, a mean over all pixels, of white = 1."""
        added = torch.cat(self._added)
        return float(added.mean()) if len(added) else 0.0

    def difference(self) -> np.ndarray:
        """Mean absolute difference of each pixel [H, W], of white = 1."""
        return (self._apart / sum(map(len, self._sums))).numpy()

    def _moved(self, plain: torch.Tensor, other: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Change of both videos from each frame before to it, and where a region was in both; of the first frame of all
        there is none.
        """
        if self._before:
            plain, other, masks = map(torch.cat, zip(self._before, (plain, other, masks)))
        here, there = plain.diff(dim=0), other.diff(dim=0)
        self._added.append((there - here).abs_().flatten(1).mean(1))
        return grey(here.abs_()), grey(there.abs_()), masks[1:] * masks[:-1]


def inside(values: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Sums [F, region] of [F, H, W] over each region [F, region, H, W]."""
    return (masks.flatten(2) @ values.flatten(1)[..., None])[..., 0]


def grey(frames: torch.Tensor) -> torch.Tensor:
    """The mean of the colours: [..., 3] -> [...]."""
    return frames @ frames.new_full((3,), 1 / 3)


def decibels(error):
    """PSNR of mean squared errors of any shape; inf where there is none."""
    with np.errstate(divide="ignore"):
        return -10 * np.log10(np.asarray(error, np.float64))


def luma(frames: torch.Tensor) -> torch.Tensor:
    """[..., 3] -> [...]"""
    return frames @ frames.new_tensor(LUMA)


def ssim(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Structural similarity [P, h, w] of planes [P, H, W] (Wang et al. 2004), which are reduced first as its authors do: to
    about COARSE pixels on the shorter side.
    """
    step = max(1, round(min(one.shape[-2:]) / COARSE))
    size = tuple(side // step for side in one.shape[-2:])
    return ssim_map(reduced(one, size), reduced(other, size))


def reduced(planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """[..., H, W] -> [..., *size]: means over square blocks; what is left over at the far edges is left out."""
    height, width = size
    step = planes.shape[-2] // height
    if step == 1:
        return planes
    blocks = (planes[..., y : height * step : step, x : width * step : step] for y, x in product(range(step), repeat=2))
    return sum(blocks) / step**2


def ssim_map(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Structural similarity [P, H, W] of planes of any size, without reducing them; borders are reflected."""
    mean_a, mean_b = blurred(one), blurred(other)
    squares, product = blurred(one * one + other * other), blurred(one * other)
    spread = squares - mean_a**2 - mean_b**2
    alike = (2 * mean_a * mean_b + FLOORS[0]) * (2 * (product - mean_a * mean_b) + FLOORS[1])
    return alike / ((mean_a**2 + mean_b**2 + FLOORS[0]) * (spread + FLOORS[1]))


def blurred(planes: torch.Tensor) -> torch.Tensor:
    """[P, H, W] through SSIM's Gaussian window."""
    reach = WINDOW // 2
    kernel = torch.exp(-torch.arange(-reach, reach + 1.0).square() / (2 * DEVIATION**2)).to(planes)
    kernel, count = kernel / kernel.sum(), len(planes)
    padded = F.pad(planes[None], [reach] * 4, mode="reflect" if min(planes.shape[-2:]) > reach else "replicate")
    along, down = (kernel.view(1, 1, *shape).expand(count, 1, *shape).contiguous() for shape in ((1, WINDOW), (WINDOW, 1)))
    return F.conv2d(F.conv2d(padded, along, groups=count), down, groups=count)[0]
