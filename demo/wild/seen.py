"""What the measuring net sees in a video: mouths, and where people and their mouths are, frame by frame.

The people of a generated video move as its noise decides, so a region follows the video itself, not the renderer's clip.
"""

from __future__ import annotations

from functools import lru_cache

import numpy
import torch
from torch import Tensor

from .canvas import box, ellipse, turned
from .talker import ASSETS, TRACKER
from .tracker import Tracker, load_tracker
from .world import POSE, boxes_of

OPENING, PRESENT = POSE.index("opening"), 0.0


@lru_cache(maxsize=1)
def shipped_tracker() -> Tracker:
    return load_tracker(ASSETS / TRACKER)


@torch.inference_mode()
def poses(frames: numpy.ndarray) -> Tensor:
    """Frames [F, H, W, 3] in 0..1 -> the pose [K, F, len(POSE)] of each speaker who is there; the first always is."""
    seen = shipped_tracker()(torch.from_numpy(numpy.asarray(frames, numpy.float32)).movedim(-1, 1) * 2 - 1)
    there = seen.present.mean(0) > PRESENT
    there[0] = True
    return seen.pose[:, there].transpose(0, 1)


def mouth_curve(frames: numpy.ndarray) -> numpy.ndarray:
    """The opening [F] of whoever's mouth is open the most."""
    return poses(frames)[..., OPENING].amax(0).numpy()


def outline(pose: Tensor, size: int) -> numpy.ndarray:
    """Pose [F, len(POSE)] -> where head and shoulders are, bool [F, size, size]; raised hands are left out."""
    x, y, scale, tilt = (pose[:, POSE.index(name), None, None] for name in ("x", "y", "scale", "tilt"))
    axis = (torch.arange(size) + 0.5) * 2 / size - 1
    across, down = (axis.view(1, 1, size) - x) / scale, (axis.view(1, size, 1) - y) / scale
    turned_x, turned_y = turned(across, down - 0.70, tilt)
    head = ellipse(turned_x, turned_y + 0.70, 0.60, 0.80)
    across = across + 0.70 * tilt.sin()  # the body stays below the neck
    shoulders = torch.minimum(ellipse(across, down - 1.28, 0.98, 0.56), box(across, down - 2.2, 0.96, 0.92))
    neck = box(across, down - 0.7, 0.23, 0.2)
    return (torch.minimum(torch.minimum(head, neck), shoulders) < 0).numpy()


def mouths(pose: Tensor, size: int) -> numpy.ndarray:
    """Pose [F, len(POSE)] -> the box around the mouth, bool [F, size, size]."""
    found = numpy.zeros((len(pose), size, size), bool)
    for frame, (top, bottom, left, right) in enumerate(boxes_of(pose, size)):
        found[frame, top:bottom, left:right] = True
    return found


def regions(frames: numpy.ndarray) -> dict[str, numpy.ndarray]:
    """{region: bool [F, H, W]} of a video [F, H, W, 3]."""
    everyone, size = poses(frames), frames.shape[1]
    human = numpy.logical_or.reduce([outline(pose, size) for pose in everyone])
    mouth = numpy.logical_or.reduce([mouths(pose, size) for pose in everyone])
    return {"whole": numpy.ones_like(human), "human": human, "mouth": mouth, "background": ~human}
