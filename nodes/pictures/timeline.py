"""A run as a picture: which steps were computed, what the probe saw, how long each step took, what was held."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from PIL import Image

from .drawing import (
    AMBER,
    BLUE,
    LEFT,
    MID_BLUE,
    PALE_BLUE,
    QUIET,
    RIGHT,
    RULE,
    TEXT,
    Axis,
    Box,
    Canvas,
    cells,
    drawable,
    every,
    heading,
    legend,
    memory_bar,
    round_marks,
    timeline,
)

HEIGHT = 600


@dataclass(frozen=True)
class Run:
    """What the picture shows, per step where not said otherwise.

    computed, live, seconds: of each step. sigmas: one per step. accumulated: the probe's change since the last computed
    one, threshold: what it is held against, None = had no say. held, room: bytes of the whole run. notes: sentences.
    """

    title: str
    headline: str
    computed: tuple[bool, ...]
    sigmas: tuple[float, ...]
    seconds: tuple[float, ...]
    accumulated: tuple[float, ...]
    threshold: tuple[float | None, ...]
    held: int
    room: int
    held_label: str
    room_label: str
    notes: tuple[str, ...] = ()
    live: tuple[bool, ...] = ()


def draw(run: Run) -> Image.Image:
    """The picture, WIDTH by HEIGHT, RGB. There must be steps."""
    canvas = Canvas(HEIGHT)
    heading(canvas, run.title, run.headline)
    timeline(canvas, Box(LEFT, 124, RIGHT, 158), run.computed, run.sigmas, run.live)
    _probe(canvas, run, Box(LEFT, 224, RIGHT, 316))
    _seconds(canvas, run, Box(LEFT, 392, 636, 552))
    _memory(canvas, run, Box(680, 392, RIGHT, 580))
    return canvas.finish()


def blank(sentence: str) -> Image.Image:
    """In place of a picture that there is nothing to draw for."""
    canvas = Canvas(160)
    canvas.lines(Box(32, 50, RIGHT, 150), [drawable(sentence)], QUIET, 17, 26)
    return canvas.finish()


def _probe(canvas: Canvas, run: Run, box: Box) -> None:
    """Bars: change accumulated since the last computed step. Line: the threshold that it is held against."""
    canvas.text(32, box.y0 - 18, "Change seen by the probe since the last computed step", size=15)
    seen = [value for value in run.accumulated if isfinite(value)]
    if not any(seen):
        canvas.text(box.x0, (box.y0 + box.y1) / 2, "no probe had a say in this run", QUIET, 14)
        return
    legend(canvas, box.x1, box.y0 - 18, [(AMBER, "threshold"), (MID_BLUE, "change")])
    bars(canvas, box, run.accumulated, [MID_BLUE] * len(run.accumulated), "{:.2g}", run.threshold)


def _seconds(canvas: Canvas, run: Run, box: Box) -> None:
    canvas.text(32, box.y0 - 24, "Seconds per step", size=15)
    bars(canvas, box, run.seconds, [BLUE if full else PALE_BLUE for full in run.computed], "{:.2g}")


def bars(
    canvas: Canvas, box: Box, values: Sequence[float], colours: Sequence, form: str,
    line: Sequence[float | None] = (),
) -> None:
    """One bar per step, step numbers below, and a line where it has a value no further than twice the bars."""
    sound = [v if isfinite(v) else 0.0 for v in values]
    highest = max(sound)
    known = [v for v in line if v is not None and v <= 2 * highest]
    axis = Axis(0.0, 1.1 * max([highest, *known, 1e-9]), box.y1, box.y0)
    for mark in round_marks(axis, 5):
        canvas.line([(box.x0, axis(mark)), (box.x1, axis(mark))], RULE)
        canvas.text(box.x0 - 8, axis(mark), form.format(mark), QUIET, 12, "rm")
    edges = cells(len(sound), box)
    gap = min(1.5, 0.1 * (edges[1] - edges[0]))
    for left, right, value, colour in zip(edges, edges[1:], sound, colours):
        if value > 0:
            canvas.box(Box(left + gap, min(axis(value), box.y1 - 1), max(right - gap, left + gap + 0.5), box.y1), colour)
    for left, right, value in zip(edges, edges[1:], line):
        if value is not None and value <= axis.high:
            canvas.line([(left, axis(value)), (right, axis(value))], AMBER, 2)
    for step in every(len(sound), 11):
        canvas.text((edges[step] + edges[step + 1]) / 2, box.y1 + 13, str(step + 1), QUIET, 12, "mm")


def _memory(canvas: Canvas, run: Run, box: Box) -> None:
    """The memory bar, and what a person should know."""
    bar = Box(box.x0, box.y0 - 8, box.x1, box.y0 + 14)
    memory_bar(canvas, bar, run.held, run.room, (run.held_label, run.room_label))
    canvas.lines(Box(box.x0, bar.y1 + 32, box.x1, box.y1), [drawable(note) for note in run.notes], TEXT, 13, 19)
