"""Two videos beside each other: frames, mouths and differences as a strip, and curves over the frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from PIL import Image

from .drawing import (
    AMBER,
    BLUE,
    FINE,
    LEFT,
    PALE_BLUE,
    QUIET,
    RIGHT,
    RULE,
    TEXT,
    Axis,
    Box,
    Canvas,
    drawable,
    every,
    heading,
    legend,
    round_marks,
)

HEIGHT = 560
LOOK = 200  # px, height of a frame at most
MOUTH = 96  # px, height of a mouth at most
GAP = 8
GAINS = (64, 32, 16, 8, 4, 2, 1)


@dataclass(frozen=True)
class Column:
    """One frame of both videos, [H, W, 3] in 0..1. box: of the mouth, y0, y1, x0, x1. worst: the frame that differs most."""

    number: int
    plain: np.ndarray
    accelerated: np.ndarray
    box: Sequence[int]
    worst: bool


@dataclass(frozen=True)
class Curves:
    """Over the frames. loudness: None = no sound. whole, mouth: PSNR, inf or NaN where there is no such number. floor: PSNR
    of two noises, None = not known.
    """

    plain: np.ndarray
    accelerated: np.ndarray
    loudness: np.ndarray | None
    whole: np.ndarray
    mouth: np.ndarray
    floor: float | None
    lines: Sequence[str]


def strip(columns: Sequence[Column], headline: str) -> Image.Image:
    """Plain above accelerated above what differs, and the mouths enlarged."""
    apart = [np.abs(column.accelerated - column.plain).mean(-1) for column in columns]
    gain = gain_of(apart)
    amber = np.array(AMBER) / 255
    rows = [
        ("plain", [column.plain for column in columns], LOOK),
        ("accelerated", [column.accelerated for column in columns], LOOK),
        (f"difference x {gain}", [(gain * each[..., None] * amber).clip(0, 1) for each in apart], LOOK),
        ("mouth, plain", [crop(column.plain, column.box) for column in columns], MOUTH),
        ("mouth, accelerated", [crop(column.accelerated, column.box) for column in columns], MOUTH),
    ]
    across = (RIGHT - 32 - GAP * (len(columns) - 1)) / len(columns)
    tall = [max(fitted(picture, across, most)[1] for picture in pictures) for _, pictures, most in rows]
    canvas = Canvas(round(96 + sum(tall) + 30 * len(rows) + 24))
    heading(canvas, "Plain beside accelerated", headline)
    top = 96
    for (label, pictures, most), height in zip(rows, tall):
        canvas.text(32, top + 15, label, TEXT, 14)
        for number, (column, picture) in enumerate(zip(columns, pictures)):
            left = 32 + number * (across + GAP)
            wide, high = fitted(picture, across, most)
            if label == "plain":
                told = f"frame {column.number}{', the worst' if column.worst else ''}"
                canvas.text(left + (across + wide) / 2, top + 15, told, AMBER if column.worst else QUIET, 12, "rm")
            size = round(FINE * wide), round(FINE * high)
            shown = Image.fromarray(np.round(255 * picture).clip(0, 255).astype(np.uint8))
            place = Box(left, top + 28, left + across, top + 28 + height)
            canvas.paste(shown.resize(size, Image.Resampling.BICUBIC), place)
        top += height + 30
    return canvas.finish()


def gain_of(apart: Sequence[np.ndarray]) -> int:
    """How much differences are brightened, so that nearly all of them can be told apart."""
    most = max(float(np.quantile(each, 0.998)) for each in apart)
    return next((gain for gain in GAINS if gain * most <= 1), 1)


def crop(picture: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """At least one pixel of it."""
    y0, y1, x0, x1 = box
    return picture[min(y0, len(picture) - 1) : max(y1, y0 + 1), min(x0, picture.shape[1] - 1) : max(x1, x0 + 1)]


def fitted(picture: np.ndarray, width: float, height: float) -> tuple[float, float]:
    """Width and height of a picture that fits into both."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    return scale * picture.shape[1], scale * picture.shape[0]


def curves(shown: Curves, headline: str) -> Image.Image:
    """Mouths over the sound, and the likeness of each frame."""
    canvas = Canvas(HEIGHT)
    heading(canvas, "Mouth and likeness, frame by frame", headline)
    _mouths(canvas, shown, Box(LEFT, 128, RIGHT, 268))
    _likeness(canvas, shown, Box(LEFT, 330, RIGHT, 450))
    canvas.lines(Box(32, 484, RIGHT, 550), [drawable(line) for line in shown.lines], TEXT, 13, 20)
    return canvas.finish()


def _mouths(canvas: Canvas, shown: Curves, box: Box) -> None:
    canvas.text(32, box.y0 - 20, "Mouth opening", size=15)
    sound = [] if shown.loudness is None else [(PALE_BLUE, "loudness of the sound")]
    legend(canvas, box.x1, box.y0 - 20, [(BLUE, "plain"), (AMBER, "accelerated"), *sound])
    both = np.concatenate([shown.plain, shown.accelerated])
    low, high = float(both.min()), float(both.max())
    up = Axis(low, high if high > low else low + 1, box.y1 - 6, box.y0 + 6)
    if shown.loudness is not None:
        loud = Axis(0.0, 1.0, box.y1, box.y0)
        places = across(len(shown.loudness), box)
        half = (places[1] - places[0]) / 2 if len(places) > 1 else box.width / 2
        for x, value in zip(places, shown.loudness):
            if loud(value) < box.y1 - 0.5:
                canvas.box(Box(max(x - half, box.x0), loud(value), min(x + half, box.x1), box.y1), PALE_BLUE)
    canvas.line([(box.x0, box.y1), (box.x1, box.y1)], RULE)
    for values, colour, width in ((shown.plain, BLUE, 5), (shown.accelerated, AMBER, 2)):
        drawn(canvas, [(x, up(value)) for x, value in zip(across(len(values), box), values)], colour, width)
    canvas.text(box.x0 - 8, box.y0 + 6, "open", QUIET, 12, "rm")
    canvas.text(box.x0 - 8, box.y1 - 6, "closed", QUIET, 12, "rm")
    _numbers(canvas, len(shown.plain), box)


def _likeness(canvas: Canvas, shown: Curves, box: Box) -> None:
    """PSNR of whole frames and of the mouth; gaps where frames are identical."""
    canvas.text(32, box.y0 - 20, "Likeness to the plain video, PSNR in dB", size=15)
    floor = [] if shown.floor is None else [(QUIET, "two noises, whole frame")]
    legend(canvas, box.x1, box.y0 - 20, [(BLUE, "whole frame"), (AMBER, "mouth"), *floor])
    known = [value for value in (*shown.whole, *shown.mouth) if isfinite(value)]
    if not known:
        canvas.text(box.x0, (box.y0 + box.y1) / 2, "every frame is identical", QUIET, 14)
        return
    known += [] if shown.floor is None else [shown.floor]
    up = Axis(min(known) - 2, max(known) + 2, box.y1, box.y0)
    for mark in round_marks(up, 6):
        canvas.line([(box.x0, up(mark)), (box.x1, up(mark))], RULE)
        canvas.text(box.x0 - 8, up(mark), f"{mark:g}", QUIET, 12, "rm")
    if shown.floor is not None:
        canvas.line([(box.x0, up(shown.floor)), (box.x1, up(shown.floor))], QUIET, 2.5)
    for values, colour in ((shown.whole, BLUE), (shown.mouth, AMBER)):
        places = across(len(values), box)
        sound = [isfinite(value) for value in values]
        for start in (n for n in range(len(values)) if sound[n] and not (n and sound[n - 1])):
            end = next((n for n in range(start, len(values)) if not sound[n]), len(values))
            drawn(canvas, [(places[n], up(values[n])) for n in range(start, end)], colour, 2.5)
    _numbers(canvas, len(shown.whole), box)


def drawn(canvas: Canvas, points: Sequence[tuple[float, float]], colour, width: float) -> None:
    """A line, or a dot where it is one point."""
    if len(points) > 1:
        canvas.line(points, colour, width)
    else:
        canvas.dot(*points[0], 1 + width, colour)


def across(count: int, box: Box) -> np.ndarray:
    """Where each frame is."""
    return np.linspace(box.x0, box.x1, count) if count > 1 else np.array([(box.x0 + box.x1) / 2])


def _numbers(canvas: Canvas, count: int, box: Box) -> None:
    canvas.text(32, box.y1 + 14, "frame", QUIET, 12)
    for frame in every(count, 16):
        canvas.text(across(count, box)[frame], box.y1 + 14, str(frame), QUIET, 12, "mm")
