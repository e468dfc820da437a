"""Where LIVE evaluations compute, as masks of the small grid that the talkers have."""

from collections.abc import Callable

import numpy as np
import torch

from demo.worlds import WORLDS
from synccache_core import Grid
from synccache_core.human.mask import grow, motion_pixels

MOTION = 2.0  # percent, the Human Mask node's own
# "human": where people are. "wrong": that moved by half a picture. "portrait": where they are in the portrait, widened as
# the node does. A number: that share of the tokens, those nearest to the mouth.
KINDS = ("human", "wrong", "portrait")


def places(
    kind: str, world: str, number: int, human: torch.Tensor, video: Callable[[], np.ndarray]
) -> torch.Tensor:
    """A mask [F or T, H, W]. human: true mask [F, H, W] of clip `number`. video: gives its uncached frames."""
    if kind == "human":
        return human
    if kind == "wrong":
        return human.roll(human.shape[-1] // 2, dims=-1)
    if kind == "portrait":
        portrait = WORLDS[world].scene(number).portrait.numpy()
        size = portrait.shape[1]
        still = WORLDS[world].human(number, lambda: portrait) if world == "wild" else human.amax(0, keepdim=True)
        return grow(still, motion_pixels(MOTION, size, size))
    return near_mouth(float(kind), WORLDS[world].regions(frames := video())["mouth"], frames.shape)


def near_mouth(share: float, mouth: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
    """[T, height, width] of 0 and 1: in every latent frame the share of tokens whose centres are nearest to the mouth's.
    mouth: bool [H, W] or [F, H, W] of frames of this shape.
    """
    moving = np.broadcast_to(mouth, shape[:3])
    grid = Grid.from_latent(((shape[0] - 1) // 4 + 1, shape[1] // 8, shape[2] // 8))
    size = shape[1] / grid.height
    rows, columns = ((np.mgrid[: grid.height, : grid.width] + 0.5) * size).reshape(2, -1)
    made = torch.zeros(grid.frames, grid.height * grid.width)
    for frame in range(grid.frames):
        y, x = np.nonzero(moving[max(0, 4 * frame - 3) : 4 * frame + 1].any(0))
        centre = (y.mean(), x.mean()) if len(y) else (shape[1] / 2, shape[2] / 2)
        far = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2
        made[frame, torch.from_numpy(far.argsort(kind="stable")[: round(share * len(far))].copy())] = 1
    return made.reshape(grid.frames, grid.height, grid.width)
