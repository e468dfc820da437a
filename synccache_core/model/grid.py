"""Pixel <-> latent <-> token geometry, and the human mask as token weights."""

from dataclasses import dataclass, replace
from math import prod

import torch
import torch.nn.functional as F

from ..errors import BadMask
from ..human.mask import as_mask


@dataclass(frozen=True)
class Grid:
    """The video tokens of one model call, in the order frames, rows, columns.

    frames: latent frames T. height, width: tokens per latent frame. Those of text, reference and motion are never counted
    here; where the video's lie among them is said by `View`. stride: frames of the film per latent frame but the first,
    and, with a cycle, but every cycle-th one, which stand for one. still: latent frames in front that are of no film, such
    as a reference. window: the latent frames of a longer film that these are, () = all; whole: how many that film has.
    """

    frames: int
    height: int
    width: int
    stride: int = 4
    cycle: int = 0
    still: int = 0
    window: tuple[int, ...] = ()
    whole: int = 0

    @property
    def tokens(self) -> int:
        return self.frames * self.height * self.width

    @property
    def spans(self) -> list[int]:
        """Frames of the film per latent frame of it."""
        film = self.frames - self.still
        return [self.stride if frame % (self.cycle or film) else 1 for frame in range(film)]

    @classmethod
    def from_latent(cls, shape, patch: int = 2, stride: int = 4, cycle: int = 0, still: int = 0) -> "Grid":
        """shape: [..., T, H, W] of the latent; the host pads H and W up to a multiple of `patch`."""
        frames, height, width = shape[-3:]
        return cls(int(frames), -(-int(height) // patch), -(-int(width) // patch), stride, cycle, still)

    @classmethod
    def of_any(cls, shape) -> "Grid":
        """Of a latent of any kind, [B, C, T, H, W], [B, C, H, W] or [B, C, ...], one token for each place."""
        if len(shape) == 5:
            return cls.from_latent(shape, patch=1)
        return cls(1, *map(int, shape[2:])) if len(shape) == 4 else cls(1, 1, prod(map(int, shape[2:])))


def token_weights(mask: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Pool a mask to one weight per video token.

    mask: [H, W] or [1, H, W] (holds for every frame), [T, H, W] with T latent frames, or [F, H, W] with
    as many pixel frames as the grid's spans say, 4*(T-1)+1 for most models: latent frame 0 takes the first, and each later
    one the next four (the VAE is causal); latent frames of no film, which nobody sees, then weigh 0. Any H and W: area
    pooling, so the mask must show what the video shows; one of another shape is stretched. bool and uint8 (0..255) are
    accepted; values are clamped to 0..1.
    Returns float32 [T*height*width] in 0..1. Raises BadMask with both numbers where F fits neither rule, or on NaN.
    """
    frames = _to_latent_frames(as_mask(mask), grid)
    pooled = F.adaptive_avg_pool2d(frames[:, None], (grid.height, grid.width))  # [T,1,H,W] -> [T,1,h,w]
    return pooled.expand(grid.frames, 1, -1, -1).reshape(-1).clone()


def _to_latent_frames(frames: torch.Tensor, grid: Grid) -> torch.Tensor:
    """[F, H, W] -> [1 or T, H, W]."""
    if grid.window and len(frames) > 1:
        film = replace(grid, frames=grid.whole, window=(), whole=0)
        return _to_latent_frames(frames, film)[list(grid.window)]
    count, spans = frames.shape[0], grid.spans
    if count in (1, grid.frames):
        return frames
    if count != sum(spans):
        raise BadMask(
            f"human_mask has {count} frames; the video has {sum(spans)} frames ({grid.frames} latent frames): "
            f"use 1, {grid.frames} or {sum(spans)}"
        )
    film = torch.stack([span.mean(dim=0) for span in frames.split(spans)])
    return torch.cat([film.new_zeros(grid.still, *film.shape[1:]), film])
