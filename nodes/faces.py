"""Mouths of real faces, by MediaPipe's landmarks where it is installed. This pack never installs it (Apache-2.0)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

UPPER, LOWER = 13, 14  # the inner lips' middle
EYES = (33, 263)  # their outer corners: a measure of the face that speech does not change
LIPS = (0, 17, 37, 39, 40, 61, 84, 91, 146, 181, 185, 267, 269, 270, 291, 314, 321, 375, 405, 409)  # their outline
MARGIN = 0.3  # of the mouth's width, on every side
LEAST = 0.5  # share of the frames in which a face must be found


class Mouths(NamedTuple):
    """opening: [F], of the distance of the eyes. boxes: whole pixels y0, y1, x0, x1 [F, 4]. found: frames with a face; the
    others are between their neighbours.
    """

    opening: np.ndarray
    boxes: np.ndarray
    found: int


def landmarker():
    """MediaPipe's face mesh, to be closed after use; None where it is not installed, or has no such part any more."""
    try:
        from mediapipe.python.solutions.face_mesh import FaceMesh
    except (ImportError, AttributeError):  # AttributeError: built for another numpy
        return None
    return FaceMesh(static_image_mode=False, max_num_faces=1)


def version() -> str | None:
    """MediaPipe's, None where it is not installed."""
    try:
        from mediapipe import __version__
    except (ImportError, AttributeError):
        return None
    return __version__


def mouths(frames, size: tuple[int, int], watch: Callable[[], None]) -> Mouths | None:
    """Of frames [H, W, 3] in 0..1 of a size H, W; None where too few have a face, or without MediaPipe."""
    mesh = landmarker()
    if mesh is None:
        return None
    with mesh:
        points = []
        for frame in frames:
            watch()
            points.append(_points(mesh, frame))
    known = [number for number, found in enumerate(points) if found is not None]
    if len(known) < max(1, LEAST * len(points)):
        return None
    scale = np.array(size[::-1])
    seen = np.stack([np.concatenate([[_opening(points[n] * scale)], _box(points[n] * scale)]) for n in known])
    every = np.stack([np.interp(np.arange(len(points)), known, column) for column in seen.T], axis=1)
    height, width = size
    boxes = np.round(every[:, 1:]).astype(int).clip(0, [height, height, width, width])
    return Mouths(every[:, 0], boxes, len(known))


def _points(mesh, frame: torch.Tensor) -> np.ndarray | None:
    """Landmarks [468, 2] of the face in a frame, x and y in 0..1; None where there is none."""
    faces = mesh.process((255 * frame).round().byte().contiguous().numpy()).multi_face_landmarks
    return np.array([(point.x, point.y) for point in faces[0].landmark]) if faces else None


def _opening(points: np.ndarray) -> float:
    """How far the inner lips are apart. points: in pixels."""
    apart = np.linalg.norm(points[UPPER] - points[LOWER])
    return float(apart / max(np.linalg.norm(points[EYES[0]] - points[EYES[1]]), 1e-6))


def _box(points: np.ndarray) -> tuple[float, float, float, float]:
    """y0, y1, x0, x1 around the lips."""
    (x0, y0), (x1, y1) = points[list(LIPS)].min(0), points[list(LIPS)].max(0)
    margin = MARGIN * (x1 - x0)
    return y0 - margin, y1 + margin, x0 - margin, x1 + margin
