"""How alike two videos are, by region and frame: error, SSIM, flicker, and where they differ.

Frames are [F, H, W, 3] in 0..1. Videos are added in pieces, so that long ones need no memory of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

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
        self._sums: dict[str, list[torch.Tensor]] = {}
        self._before: tuple | None = None
        self._apart: torch.Tensor | None = None
        self._added: list[torch.Tensor] = []

    def add(self, plain: torch.Tensor, other: torch.Tensor, regions: Mapping[str, torch.Tensor | None]) -> None:
        """The next frames of both. regions: {name: bool [F, H, W], or None where it is all of the picture}."""
        apart = other - plain
        error, far = apart.square().mean(-1), apart.abs().mean(-1).sum(0)
        self._apart = far if self._apart is None else self._apart + far
        alike, masks = ssim(luma(plain), luma(other)), dict(regions)
        here, there = self._moved(plain, other, masks)
        small = {name: coarse_mask(mask, alike.shape[-2:]) for name, mask in masks.items()}
        for name, mask in masks.items():
            both = None if mask is None else self._in_a_row(name, mask)
            sums = [*added_up(error, mask), *added_up(alike, small[name])]
            sums += [fitting(part, len(plain)) for part in (added_up(here, both)[0], added_up(there, both)[0])]
            self._sums.setdefault(name, []).append(torch.stack(sums))
        self._before = plain[-1:], other[-1:], {name: mask if mask is None else mask[-1:] for name, mask in masks.items()}

    def region(self, name: str) -> Likeness | None:
        """None where no pixel of any frame is in it."""
        error, pixels, alike, small, here, there = torch.cat(self._sums[name], dim=1).numpy()
        if not pixels.any():
            return None
        with np.errstate(invalid="ignore"):
            frames = decibels(error / np.where(pixels, pixels, np.nan))
        return Likeness(
            float(decibels(error.sum() / pixels.sum())), float(alike.sum() / small.sum()) if small.any() else None,
            frames, int(np.nanargmin(frames)), float(there.sum() / here.sum()) if here.sum() > 0 else None,
        )  # fmt: skip

    @property
    def added_flicker(self) -> float:
        """What the second video adds to the changes from frame to frame, a mean over all pixels, of white = 1."""
        return float(torch.cat(self._added).mean()) if self._added else 0.0

    def difference(self) -> np.ndarray:
        """Mean absolute difference of each pixel [H, W], of white = 1."""
        frames = sum(part.shape[1] for part in next(iter(self._sums.values())))
        return (self._apart / frames).numpy()

    def _moved(self, plain: torch.Tensor, other: torch.Tensor, masks: Mapping) -> tuple[torch.Tensor, torch.Tensor]:
        """Change of both from each frame before to it [F, H, W], or one frame less at the start."""
        if self._before is not None:
            plain, other = torch.cat([self._before[0], plain]), torch.cat([self._before[1], other])
        here, there = plain.diff(dim=0), other.diff(dim=0)
        if len(here):
            self._added.append((there - here).abs().flatten(1).mean(1, dtype=torch.float64))
        return here.abs().mean(-1), there.abs().mean(-1)

    def _in_a_row(self, name: str, mask: torch.Tensor) -> torch.Tensor:
        """Where a region was in the frame before as well; as long as the changes are."""
        if self._before is not None:
            mask = torch.cat([self._before[2][name], mask])
        return mask[1:] & mask[:-1]


def added_up(values: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum over a region and its pixels, of each frame [F]."""
    if mask is None:
        return values.flatten(1).sum(1, dtype=torch.float64), values.new_full((len(values),), values[0].numel()).double()
    return (values * mask).flatten(1).sum(1, dtype=torch.float64), mask.flatten(1).sum(1, dtype=torch.float64)


def fitting(values: torch.Tensor, count: int) -> torch.Tensor:
    """[count] with a zero in front where the first frame has none before it."""
    return F.pad(values, (count - len(values), 0))


def decibels(error):
    """PSNR of mean squared errors of any shape; inf where there is none."""
    with np.errstate(divide="ignore"):
        return -10 * np.log10(np.asarray(error, np.float64))


def luma(frames: torch.Tensor) -> torch.Tensor:
    return frames @ frames.new_tensor(LUMA)


def ssim(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Structural similarity [P, h, w] of planes [P, H, W] (Wang et al. 2004), which are reduced first as its authors do: to
    about COARSE pixels on the shorter side.
    """
    step = max(1, round(min(one.shape[-2:]) / COARSE))
    return ssim_map(*(F.avg_pool2d(plane[:, None], step)[:, 0] if step > 1 else plane for plane in (one, other)))


def coarse_mask(mask: torch.Tensor | None, size: tuple[int, int]) -> torch.Tensor | None:
    """A region as `ssim` sees it: where at least half of the pixels were in it."""
    if mask is None or mask.shape[-2:] == size:
        return mask
    step = max(1, mask.shape[-2] // size[0])
    return F.avg_pool2d(mask[:, None].float(), step)[:, 0] >= 0.5


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
