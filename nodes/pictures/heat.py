"""Where in the picture reuse went wrong most, laid over it."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from .drawing import AMBER, FINE, QUIET, RIGHT, TEXT, Box, Canvas, drawable, heading, percent

HEIGHT = 640
MAP = Box(32, 96, 640, 608)
FAINT = 0.35  # of the picture's brightness that is left where the map is cold


def draw(rows: Sequence[Sequence[float]], picture: Image.Image | None, title: str, lines: Sequence[str]) -> Image.Image:
    """rows: [height][width], 0 or more, of the shape of the video. picture: RGB or None; cropped in its middle to that
    shape, as the host crops a portrait. lines: what the colours mean. Colours run from the least value to the
    greatest: most maps are nearly level, and where they are not is what one looks for.
    """
    values = np.asarray(rows, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    canvas = Canvas(HEIGHT)
    heading(canvas, title)
    canvas.paste(_shown((values - low) / (high - low or 1.0), picture), MAP)
    _scale(canvas, low, high, Box(680, 110, 704, 330))
    canvas.lines(Box(680, 356, RIGHT, 620), [drawable(line) for line in lines], TEXT, 14, 21)
    return canvas.finish()


def _shown(heat: np.ndarray, picture: Image.Image | None) -> Image.Image:
    """Amber where it is hot, a dim grey picture where it is cold; as large as fits into MAP."""
    height, width = heat.shape
    scale = min(MAP.width / width, (MAP.y1 - MAP.y0) / height)
    size = (max(1, round(FINE * scale * width)), max(1, round(FINE * scale * height)))
    hot = Image.fromarray(np.round(255 * heat).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    alpha = np.asarray(hot, dtype=np.float32)[..., None] / 255
    below = np.zeros((size[1], size[0], 3), np.float32)
    if picture is not None:
        fitted = ImageOps.fit(picture, size, Image.Resampling.BICUBIC)
        below = np.asarray(ImageOps.grayscale(fitted), dtype=np.float32)[..., None].repeat(3, -1)
    mixed = below * (FAINT + (1 - FAINT) * alpha) * (1 - 0.7 * alpha) + np.array(AMBER, np.float32) * 0.7 * alpha
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def _scale(canvas: Canvas, low: float, high: float, box: Box) -> None:
    """The colours from hot to cold, with their values."""
    steps = 64
    height = (box.y1 - box.y0) / steps
    for i in range(steps):
        share = 1 - i / (steps - 1)
        colour = tuple(round(0.7 * share * c) for c in AMBER)
        canvas.box(Box(box.x0, box.y0 + i * height, box.x1, box.y0 + (i + 1) * height), colour)
    for value, y in ((high, box.y0), ((low + high) / 2, (box.y0 + box.y1) / 2), (low, box.y1)):
        canvas.text(box.x1 + 10, y, percent(value), QUIET, 13)
