"""Geometry of human masks in pixels: shapes, size, grow, feather, frames without anybody, camera cuts, overlay.

A mask is float32 [F, H, W] in 0..1, F 1 for a still picture. `grid.token_weights` makes token weights of it.
"""

import math

import torch
import torch.nn.functional as F

from ..errors import BadMask

CUT_CHANGE, CUT_RATIO = 0.05, 4.0  # the renderer's camera cuts change at least 0.10, anything else at most 0.011
TINT = (0.10, 0.85, 0.75)  # a hue that skin, hair and rooms seldom have


def as_mask(mask, name: str = "a mask") -> torch.Tensor:
    """[H, W], [1, H, W], [F, H, W] or [F, 1, H, W], of float, bool or uint8 (0..255), as a tensor or of numpy -> float32
    [F, H, W] clamped to 0..1.

    Raises BadMask, with the name of the input, for other shapes, for empty ones, and for NaN or infinite values.
    """
    try:
        mask = torch.as_tensor(mask)
    except (TypeError, ValueError, RuntimeError):
        raise BadMask(f"{name} must be a tensor [H, W] or [F, H, W], got {type(mask).__name__}") from None
    mask = mask[:, 0] if mask.ndim == 4 and mask.shape[1] == 1 else mask
    if mask.ndim not in (2, 3) or mask.numel() == 0 or mask.is_complex():
        raise BadMask(f"{name} must be [H, W] or [F, H, W], got shape {list(mask.shape)}")
    scale = 255.0 if mask.dtype == torch.uint8 else 1.0
    frames = (mask.detach().to("cpu", torch.float32) / scale).reshape(-1, *mask.shape[-2:])
    if not torch.isfinite(frames).all():
        raise BadMask(f"{name} must hold finite numbers in 0..1, it has NaN or infinite values")
    return frames.clamp(0.0, 1.0)


def as_pictures(image: torch.Tensor) -> torch.Tensor:
    """IMAGE [F, H, W, C] of any size -> float32 RGB [F, H, W, 3] in 0..1; grey is repeated, alpha dropped.

    Raises BadMask for other shapes, and for NaN or infinite values.
    """
    if image.ndim != 4 or image.numel() == 0 or image.shape[-1] not in (1, 3, 4):
        raise BadMask(f"image must be [F, H, W, C] with 1, 3 or 4 channels, got shape {list(image.shape)}")
    pictures = image.detach().to("cpu", torch.float32)[..., :3].expand(*image.shape[:3], 3)
    low, high = (float(value) for value in pictures.aminmax())  # of a long clip no copy is made without need
    if not math.isfinite(low) or not math.isfinite(high):
        raise BadMask("image holds NaN or infinite values")
    return pictures if low >= 0.0 and high <= 1.0 else pictures.clamp(0.0, 1.0)


def resized(mask: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """[F, h, w] -> [F, height, width]; pixels are averaged where it shrinks and interpolated where it grows."""
    if mask.shape[-2:] == (height, width):
        return mask
    size, smaller = (height, width), height < mask.shape[-2] or width < mask.shape[-1]
    return F.interpolate(mask[:, None], size, mode="bilinear", antialias=smaller, align_corners=False)[:, 0].clamp(0.0, 1.0)


def on_frames(mask: torch.Tensor, frames: int) -> torch.Tensor:
    """[1, H, W] is repeated for every frame, [frames, H, W] taken as it is; else BadMask with both numbers."""
    if mask.shape[0] not in (1, frames):
        raise BadMask(f"the mask has {mask.shape[0]} frames, the image {frames}: connect 1 or {frames}")
    return mask.expand(frames, -1, -1)


def grow(mask: torch.Tensor, pixels: int) -> torch.Tensor:
    """A mask [T, H, W], wider by `pixels` in every direction with an octagonal brush, or narrower by -pixels."""
    if pixels < 0:
        return 1 - grow(1 - mask, -pixels)
    diamond = round(0.586 * pixels)  # a square and a diamond make a regular octagon
    square = pixels - diamond
    mask = _widest(_widest(mask, square, 0), 0, square)
    for _ in range(diamond):
        mask = torch.maximum(_widest(mask, 1, 0), _widest(mask, 0, 1))
    return mask


def _widest(mask: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Maximum over a rectangle of 2*rows+1 by 2*columns+1 pixels."""
    return F.max_pool2d(mask[:, None], (2 * rows + 1, 2 * columns + 1), stride=1, padding=(rows, columns))[:, 0]


def feather(mask: torch.Tensor, pixels: int) -> torch.Tensor:
    """A mask [T, H, W] with edges soft over about `pixels` to either side; an edge stays in its place."""
    if pixels <= 0:
        return mask
    reach = torch.arange(-pixels, pixels + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (reach / (pixels / 2)) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(mask[:, None], [pixels] * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])[:, 0].clamp(0.0, 1.0)


def motion_pixels(percent: float, height: int, width: int) -> int:
    """Pixels of a margin that is given in percent of a picture's shorter side, rounded up."""
    return -int(-percent * min(height, width) // 100)


def cuts(pictures: torch.Tensor) -> list[bool]:
    """Whether a camera cut lies before each of the frames [F, H, W, 3] in 0..1.

    A cut changes the 8 x 8 thumbnail by more than CUT_CHANGE and by CUT_RATIO times what this clip's frames usually do.
    """
    small = F.adaptive_avg_pool2d(pictures.movedim(-1, 1), (8, 8))
    change = (small[1:] - small[:-1]).abs().mean(dim=(1, 2, 3))
    if not len(change):
        return [False]
    return [False, *(change > max(CUT_CHANGE, CUT_RATIO * change.median().item())).tolist()]


def led_in(
    found: list[torch.Tensor | None], cut: list[bool], hold: int
) -> tuple[list[torch.Tensor | None], list[int]]:
    """Per frame [H, W] or None -> the same, with each gap's last `hold` frames as the frame after it, and their numbers.

    A detector often needs some frames before it finds somebody who was there all the time. Never across a camera cut.
    """
    made, early, age = list(found), [], 0
    for number in reversed(range(len(made) - 1)):
        after = None if cut[number + 1] else made[number + 1]
        age = age + 1 if made[number] is None else 0
        if made[number] is None and after is not None and age <= hold:
            made[number] = after
            early.insert(0, number)
    return made, early


def filled(found: list[torch.Tensor | None], height: int, width: int) -> torch.Tensor:
    """One mask [h, w] or None a frame -> [F, height, width]. Frames with None are weighed evenly.

    Evenly is the share of the picture that people take up in the other frames, at every pixel: such a frame counts as
    person and background as much as the others do. With nobody anywhere every pixel is 1, the same as no mask at all.
    """
    known = [resized(mask[None], height, width)[0] for mask in found if mask is not None]
    even = float(torch.stack([mask.mean() for mask in known]).mean()) if known else 1.0
    rest = iter(known)
    return torch.stack([torch.full((height, width), even) if mask is None else next(rest) for mask in found])


def overlay(pictures: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Pictures [F, H, W, 3] with the mask [F, H, W] as a tint and its half-way line as a contour."""
    grey = pictures.mean(dim=-1, keepdim=True)
    tinted = (0.45 * grey + 0.55 * torch.tensor(TINT)) * mask[..., None] + (0.6 * pictures + 0.1) * (1 - mask[..., None])
    inside = (mask > 0.5).float()
    line = (grow(inside, max(1, min(mask.shape[-2:]) // 200)) - inside)[..., None]
    return (tinted * (1 - line) + line).clamp(0.0, 1.0)
