"""Pixel <-> latent <-> token geometry, and the human mask as token weights."""

from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F

from ..errors import BadMask
from ..human.mask import as_mask


@dataclass(frozen=True)
class Grid:
    """The video tokens of one model call, in the order frames, rows, columns.

    frames: latent frames T. height, width: tokens per latent frame. Those of text, reference and motion are never counted
    here; where the video's lie among them is said by `View`. stride: frames of the film per latent frame but the first.
    """

    frames: int
    height: int
    width: int
    stride: int = 4

    @property
    def tokens(self) -> int:
        return self.frames * self.height * self.width

    @classmethod
    def from_latent(cls, shape, patch: int = 2, stride: int = 4) -> "Grid":
        """shape: [..., T, H, W] of the latent; the host pads H and W up to a multiple of `patch`."""
        frames, height, width = shape[-3:]
        return cls(int(frames), -(-int(height) // patch), -(-int(width) // patch), stride)

    @classmethod
    def of_any(cls, shape) -> "Grid":
        """Of a latent of any kind, [B, C, T, H, W], [B, C, H, W] or [B, C, ...], one token for each place."""
        if len(shape) == 5:
            return cls.from_latent(shape, patch=1)
        return cls(1, *map(int, shape[2:])) if len(shape) == 4 else cls(1, 1, prod(map(int, shape[2:])))


def token_weights(mask: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Pool a mask to one weight per video token.

    mask: [H, W] or [1, H, W] (holds for every frame), [T, H, W] with T latent frames, or [F, H, W] with
    F = stride*(T-1)+1 pixel frames, of which latent frame 0 takes the first and latent frame i the stride frames that end
    at stride*i (the VAE is causal). Any H and W: area pooling, so the mask must
    show what the video shows; one of another shape is stretched. bool and uint8 (0..255) are accepted; values are clamped
    to 0..1.
    Returns float32 [T*height*width] in 0..1. Raises BadMask with both numbers where F fits neither rule, or on NaN.
    """
    frames = _to_latent_frames(as_mask(mask), grid.frames, grid.stride)
    pooled = F.adaptive_avg_pool2d(frames[:, None], (grid.height, grid.width))  # [T,1,H,W] -> [T,1,h,w]
    return pooled.expand(grid.frames, 1, -1, -1).reshape(-1).clone()


def _to_latent_frames(frames: torch.Tensor, latent_frames: int, stride: int) -> torch.Tensor:
    """[F, H, W] -> [1 or T, H, W]."""
    count, pixel_frames = frames.shape[0], stride * (latent_frames - 1) + 1
    if count in (1, latent_frames):
        return frames
    if count != pixel_frames:
        raise BadMask(
            f"human_mask has {count} frames; the video has {pixel_frames} frames ({latent_frames} latent frames): "
            f"use 1, {latent_frames} or {pixel_frames}"
        )
    later = frames[1:].reshape(latent_frames - 1, stride, *frames.shape[1:]).mean(dim=1)
    return torch.cat([frames[:1], later])
