"""A stack of frames that soft-edged shapes are painted on, in coordinates from -1 to 1 (x right, y down)."""

from __future__ import annotations

import copy

import numpy


class Canvas:
    """The picture [F, size, size, 3] that all views share."""

    def __init__(self, frames: int, size: int):
        axis = ((numpy.arange(size) + 0.5) * 2 / size - 1).astype(numpy.float32)
        self.x, self.y = axis[None, None, :], axis[None, :, None]
        self.size = size
        self.picture = numpy.zeros((frames, size, size, 3), numpy.float32)

    def shade(self, amount: numpy.ndarray) -> None:
        """Multiply the brightness by 1 + amount."""
        self.picture *= 1 + amount[..., None]


class View:
    """Local coordinates around a centre of the canvas, and the mask of what was painted as human there."""

    def __init__(self, canvas: Canvas, centre: tuple[float, float] = (0.0, 0.0), scale: float = 1.0):
        self.picture = canvas.picture
        self.x, self.y = (canvas.x - centre[0]) / scale, (canvas.y - centre[1]) / scale
        self.pixel = 2 / (canvas.size * scale)
        self.mask = numpy.zeros(canvas.picture.shape[:3], numpy.float32)

    def coverage(self, distance: numpy.ndarray, soft: float = 0.0) -> numpy.ndarray:
        """Signed distance (negative inside) -> coverage 0..1 with an edge one pixel (plus `soft`) wide."""
        return numpy.clip(0.5 - distance / (self.pixel + soft), 0, 1)

    def paint(self, cover: numpy.ndarray, colour: object, human: bool = False) -> None:
        """Blend a colour (or a picture) over the frames."""
        picture = self.picture
        picture += cover[..., None] * (numpy.asarray(colour, numpy.float32) - picture)
        if human:
            numpy.maximum(self.mask, cover, out=self.mask)

    def part(self, x: numpy.ndarray, y: numpy.ndarray, edges: tuple[float, float, float, float]) -> tuple:
        """The part of a view between local edges (top, bottom, left, right), and x, y [F, H, W] there: small shapes
        are painted ten times faster on it."""
        top, bottom, left, right = edges
        rows, columns = ((low <= axis.ravel()) & (axis.ravel() <= high)
                         for axis, low, high in ((self.y, top, bottom), (self.x, left, right)))
        window = (slice(None), *(slice(*(inside.nonzero()[0][[0, -1]] + (0, 1)).tolist()) for inside in (rows, columns)))
        smaller = copy.copy(self)
        smaller.picture, smaller.mask = self.picture[window], self.mask[window]
        return smaller, x[window], y[window]


def ellipse(x: numpy.ndarray, y: numpy.ndarray, width: object, height: object) -> numpy.ndarray:
    """Approximate signed distance to an axis-aligned ellipse of the given half sizes."""
    width, height = numpy.maximum(width, 1e-3), numpy.maximum(height, 1e-3)
    near = numpy.sqrt((x / width) ** 2 + (y / height) ** 2)
    slope = numpy.sqrt((x / width**2) ** 2 + (y / height**2) ** 2)
    return near * (near - 1) / numpy.maximum(slope, 1e-4)


def box(x: numpy.ndarray, y: numpy.ndarray, width: float, height: float) -> numpy.ndarray:
    """Signed distance to an axis-aligned rectangle of the given half sizes (exact on the inside and the sides)."""
    return numpy.maximum(numpy.abs(x) - width, numpy.abs(y) - height)


def capsule(x: numpy.ndarray, y: numpy.ndarray, half: float, radius: float) -> numpy.ndarray:
    """Signed distance to a horizontal stroke of half length `half`."""
    return numpy.hypot(numpy.maximum(numpy.abs(x) - half, 0), y) - radius
