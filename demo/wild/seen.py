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
from .tracker import Seen, Tracker, load_tracker
from .world import POSE, boxes_of

OPENING, PRESENT = POSE.index("opening"), 0.0


@lru_cache(maxsize=1)
def shipped_tracker() -> Tracker:
    return load_tracker(ASSETS / TRACKER)


@torch.inference_mode()
def read(frames: numpy.ndarray) -> Seen:
    """What the net reads in frames [F, H, W, 3] in 0..1."""
    return shipped_tracker()(torch.from_numpy(numpy.asarray(frames, numpy.float32)).movedim(-1, 1) * 2 - 1)


def there(seen: Seen) -> Tensor:
    """The pose [K, F, len(POSE)] of each speaker who is there; the first always is."""
    present = seen.present.mean(0) > PRESENT
    present[0] = True
    return seen.pose[:, present].transpose(0, 1)


def poses(frames: numpy.ndarray) -> Tensor:
    """Frames [F, H, W, 3] in 0..1 -> the pose [K, F, len(POSE)] of each speaker who is there."""
    return there(read(frames))


def open_most(everyone: Tensor) -> numpy.ndarray:
    """Poses [K, F, len(POSE)] -> the opening [F] of whoever's mouth is open the most."""
    return everyone[..., OPENING].amax(0).numpy()


def mouth_curve(frames: numpy.ndarray) -> numpy.ndarray:
    """The opening [F] of whoever's mouth is open the most."""
    return open_most(poses(frames))


def of_body(pose: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Pose [F, len(POSE)] -> where pixels are on the person: across [F, 1, size] and down [F, size, 1] from the middle of
    the head, in units of the person's scale."""
    x, y, scale = (pose[:, POSE.index(name), None, None] for name in ("x", "y", "scale"))
    axis = (torch.arange(size) + 0.5) * 2 / size - 1
    return (axis.view(1, 1, size) - x) / scale, (axis.view(1, size, 1) - y) / scale


def of_head(pose: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The same on the head, turned as it is tilted: both [F, size, size]."""
    across, down = of_body(pose, size)
    turned_x, turned_y = turned(across, down - 0.70, pose[:, POSE.index("tilt"), None, None])
    return turned_x, turned_y + 0.70


def outline(pose: Tensor, size: int) -> numpy.ndarray:
    """Pose [F, len(POSE)] -> where head and shoulders are, bool [F, size, size]; raised hands are left out."""
    head = ellipse(*of_head(pose, size), 0.60, 0.80)
    across, down = of_body(pose, size)
    across = across + 0.70 * pose[:, POSE.index("tilt"), None, None].sin()  # the body stays below the neck
    shoulders = torch.minimum(ellipse(across, down - 1.28, 0.98, 0.56), box(across, down - 2.2, 0.96, 0.92))
    neck = box(across, down - 0.7, 0.23, 0.2)
    return (torch.minimum(torch.minimum(head, neck), shoulders) < 0).numpy()


def people(everyone: Tensor, size: int) -> numpy.ndarray:
    """Poses [K, F, len(POSE)] -> where any of them is, bool [F, size, size]."""
    return numpy.logical_or.reduce([outline(pose, size) for pose in everyone])


def mouths(pose: Tensor, size: int) -> numpy.ndarray:
    """Pose [F, len(POSE)] -> the box around the mouth, bool [F, size, size]."""
    found = numpy.zeros((len(pose), size, size), bool)
    for frame, (top, bottom, left, right) in enumerate(boxes_of(pose, size)):
        found[frame, top:bottom, left:right] = True
    return found


def regions(frames: numpy.ndarray) -> dict[str, numpy.ndarray]:
    """{region: bool [F, H, W]} of a video [F, H, W, 3]."""
    everyone, size = poses(frames), frames.shape[1]
    human = people(everyone, size)
    mouth = numpy.logical_or.reduce([mouths(pose, size) for pose in everyone])
    return {"whole": numpy.ones_like(human), "human": human, "mouth": mouth, "background": ~human}
