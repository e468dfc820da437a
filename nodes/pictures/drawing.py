"""What the pictures of a plan and of a run share. Pillow and numpy only: neither ComfyUI nor the core is needed to draw.

Two hues of different lightness, blue and amber, so that nothing depends on telling red from green; its own background, so
that it reads on light and dark pages. Pillow's built-in font has ASCII and little else: texts keep to that.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH = 1024
FINE = 2  # drawn this much larger and reduced: Pillow's lines have no anti-aliasing of their own
LEAST_PERCENT = 1e-4  # planning sees errors from about here on, see gram.NOISE
SPELT = {ord("×"): "x", ord("·"): "-", ord("–"): "-", ord("—"): "-"}
LEFT, RIGHT = 88, 992  # of everything that is drawn over steps

BACK, PANEL, RULE = (21, 25, 33), (29, 35, 46), (58, 68, 86)
TEXT, QUIET = (236, 239, 244), (158, 170, 188)
BLUE, MID_BLUE, PALE_BLUE, AMBER = (74, 158, 236), (58, 110, 164), (45, 62, 84), (247, 184, 62)


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the finished picture."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0


@dataclass(frozen=True)
class Axis:
    """Values low..high onto pixels start..end; log: by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        low, high, inside = (log10(v) if self.log else v for v in (self.low, self.high, inside))
        return self.start + (inside - low) / (high - low) * (self.end - self.start)


class Canvas:
    """Pillow's drawing in pixels of the finished picture."""

    def __init__(self, height: int):
        self.image = Image.new("RGB", (WIDTH * FINE, height * FINE), BACK)
        self._draw = ImageDraw.Draw(self.image)
        self._fonts: dict[int, ImageFont.ImageFont] = {}

    def box(self, box: Box, fill, radius: float = 0, outline=None) -> None:
        scaled = [round(FINE * v) for v in (box.x0, box.y0, box.x1, box.y1)]
        self._draw.rounded_rectangle(scaled, FINE * radius, fill, outline, FINE)

    def paste(self, picture: Image.Image, box: Box) -> None:
        """In the middle of a box; the picture is in fine pixels."""
        x = FINE * (box.x0 + box.x1) - picture.width
        y = FINE * (box.y0 + box.y1) - picture.height
        self.image.paste(picture, (round(x / 2), round(y / 2)))

    def line(self, points: Sequence[tuple[float, float]], colour, width: float = 1.0) -> None:
        self._draw.line([(FINE * x, FINE * y) for x, y in points], colour, round(FINE * width), "curve")

    def dashes(self, x: float, top: float, bottom: float, colour) -> None:
        for y in np.arange(top, bottom, 8):
            self.line([(x, y), (x, min(y + 4, bottom))], colour, 1.5)

    def dot(self, x: float, y: float, radius: float, fill, outline=None, width: float = 0) -> None:
        corners = [FINE * v for v in (x - radius, y - radius, x + radius, y + radius)]
        self._draw.ellipse(corners, fill, outline, round(FINE * width))

    def text(self, x: float, y: float, text: str, colour=TEXT, size=14, anchor="lm", most: float = WIDTH) -> None:
        """anchor: Pillow's, such as "lm" = left, middle. A text wider than `most` pixels ends in dots."""
        font, whole = self._font(size), text
        kept, text = len(whole), whole
        while kept and self.width(text, size) > most:
            kept -= 1
            text = f"{whole[:kept]}..."
        self._draw.text((FINE * x, FINE * y), text, colour, font, anchor)

    def lines(self, box: Box, texts: Sequence[str], colour=TEXT, size=14, step=20) -> None:
        """Texts below each other, broken between words to fit the box; what goes beyond it is left out."""
        y = box.y0
        for text in texts:
            for line in self._broken(text, size, box.width):
                if y + step > box.y1:
                    return
                self.text(box.x0, y + step / 2, line, colour, size)
                y += step

    def _broken(self, text: str, size: int, most: float) -> list[str]:
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and self.width(longer, size) > most:
                lines.append(word)
            else:
                lines[-1] = longer
        return lines

    def width(self, text: str, size: int) -> float:
        return self._draw.textlength(text, self._font(size)) / FINE

    def finish(self) -> Image.Image:
        return self.image.reduce(FINE)

    def _font(self, size: int):
        if size not in self._fonts:
            self._fonts[size] = ImageFont.load_default(FINE * size)
        return self._fonts[size]


def drawable(text: str) -> str:
    """What the font has: letters without their accents, nothing in place of other characters."""
    plain = unicodedata.normalize("NFKD", text.translate(SPELT))
    return " ".join("".join(c for c in plain if " " <= c <= "~").split())


def percent(error: float) -> str:
    """0.0123 -> "1.23 %", with two digits that mean something."""
    value = 100 * error
    if value >= 100:
        return f"{value:.0f} %"
    return f"{value:.2g} %" if value >= LEAST_PERCENT else "0 %"


def cells(count: int, box: Box) -> np.ndarray:
    """Left edges of the steps, and the right edge of the last one."""
    return np.linspace(box.x0, box.x1, count + 1)


def timeline(
    canvas: Canvas, box: Box, computed: Sequence[bool], sigmas: Sequence[float], live: Sequence[bool] = ()
) -> None:
    """One cell per step: computed ones tall and bright, LIVE ones less so, reused ones low and dark; sigmas below."""
    edges = cells(len(computed), box)
    gap = min(3.0, 0.2 * (edges[1] - edges[0]))
    canvas.text(32, box.y0 - 16, "Steps", size=15)
    legend(canvas, box.x1, box.y0 - 16, [(BLUE, "computed"), *[(MID_BLUE, "live")] * any(live), (PALE_BLUE, "reused")])
    for step, (left, right, full) in enumerate(zip(edges, edges[1:], computed)):
        half = not full and step < len(live) and live[step]
        top = box.y0 if full else box.y0 + (6 if half else 12)
        cell = Box(left + gap / 2, top, max(right - gap / 2, left + gap / 2 + 0.5), box.y1)
        canvas.box(cell, BLUE if full else MID_BLUE if half else PALE_BLUE, min(3.0, gap))
    canvas.text(32, box.y1 + 14, "sigma", QUIET, 12)
    for step in every(len(computed), 11):
        middle = (edges[step] + edges[step + 1]) / 2
        canvas.text(middle, box.y1 + 14, f"{sigmas[step]:.3g}", QUIET, 12, "mm")


def memory_bar(canvas: Canvas, bar: Box, held: int, room: int, labels: tuple[str, str]) -> None:
    """Bytes held of those there is room for, with what to write below."""
    canvas.text(bar.x0, bar.y0 - 16, "Memory of the cache", size=15)
    canvas.box(bar, PALE_BLUE, 4)
    share = min(1.0, held / room) if room else 0.0
    if share > 0:
        canvas.box(Box(bar.x0, bar.y0, bar.x0 + max(8.0, share * bar.width), bar.y1), BLUE, 4)
    canvas.text(bar.x0, bar.y1 + 13, labels[0], TEXT, 13)
    canvas.text(bar.x1, bar.y1 + 13, labels[1], QUIET, 13, "rm")


def heading(canvas: Canvas, title: str, headline: str = "") -> None:
    """The head of a picture of WIDTH."""
    canvas.text(32, 38, drawable(title), size=25, most=800)
    canvas.text(RIGHT, 38, "SyncCache", QUIET, 15, "rm")
    canvas.text(32, 72, drawable(headline), AMBER, size=17, most=WIDTH - 64)


def legend(canvas: Canvas, right: float, y: float, entries: Sequence[tuple[tuple, str]]) -> None:
    """Dots with labels, ending at `right`."""
    for colour, label in reversed(entries):
        canvas.text(right, y, label, QUIET, 12, "rm")
        right -= canvas.width(label, 12) + 10
        canvas.dot(right, y, 4.5, colour)
        right -= 20


def every(count: int, most: int) -> range:
    """Steps to label, at most `most` of them and evenly spread."""
    return range(0, count, max(1, ceil(count / most)))


def round_marks(axis: Axis, most: int) -> list[float]:
    """Round values on a linear axis, at most `most`."""
    raw = (axis.high - axis.low) / (most - 1)
    size = 10.0 ** floor(log10(raw))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= raw)
    first = ceil(axis.low / step - 1e-9)
    return [round(step * i, 12) for i in range(first, floor(axis.high / step + 1e-9) + 1)]
