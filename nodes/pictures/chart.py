"""A plan as a picture to look at and share."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np
from PIL import Image

from .drawing import (
    AMBER,
    BACK,
    BLUE,
    LEFT,
    MID_BLUE,
    PANEL,
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
    percent,
    round_marks,
    timeline,
)

HEIGHT = 640


@dataclass(frozen=True)
class Point:
    """A way to run: speed-up, predicted error (relative L2 of the final latent), bytes held."""

    speedup: float
    error: float
    bytes: int


@dataclass(frozen=True)
class Chart:
    """What the chart shows.

    computed: per step. sigmas: one per step and the end. gaps: predicted error that is left between each computed step and
    the next, one per computed step. front: what no other plan beats. target: wanted speed-up. room: bytes that the plan
    may take, or would take without a limit; room_label says which. details: short lines about the plan.
    """

    title: str
    headline: str
    computed: tuple[bool, ...]
    sigmas: tuple[float, ...]
    gaps: tuple[float, ...]
    chosen: Point
    front: tuple[Point, ...]
    target: float
    room: int
    used_label: str
    room_label: str
    details: tuple[str, ...] = ()


def draw(chart: Chart) -> Image.Image:
    """The chart, WIDTH by HEIGHT, RGB."""
    canvas = Canvas(HEIGHT)
    heading(canvas, drawable(chart.title) or "SyncCache plan", chart.headline)
    timeline(canvas, Box(LEFT, 124, RIGHT, 158), chart.computed, chart.sigmas)
    _error_over_steps(canvas, chart, Box(LEFT, 224, RIGHT, 316))
    _front(canvas, chart, Box(LEFT, 410, 636, 594))
    _details(canvas, chart, Box(680, 410, RIGHT, 616))
    return canvas.finish()


def _error_over_steps(canvas: Canvas, chart: Chart, box: Box) -> None:
    """Bars: what each gap leaves. Curve: how it adds up, as the root of the sum of squares."""
    edges = cells(len(chart.computed), box)
    total = np.sqrt(np.cumsum(np.square(chart.gaps)))
    axis = Axis(0.0, 1.1 * (float(total[-1]) or 0.01), box.y1, box.y0)
    canvas.text(32, box.y0 - 18, "Predicted error over the steps", size=15)
    legend(canvas, box.x1, box.y0 - 18, [(AMBER, "so far"), (MID_BLUE, "of each gap")])
    _guides(canvas, axis, box)
    starts = [step for step, computed in enumerate(chart.computed) if computed]
    ends = [*starts[1:], len(chart.computed)]
    for start, end, gap in zip(starts, ends, chart.gaps):
        if gap > 0 and end > start + 1:
            canvas.box(Box(edges[start + 1] + 1, min(axis(gap), box.y1 - 1.5), edges[end] - 1, box.y1), MID_BLUE)
    canvas.line([(edges[0], axis(0)), *((edges[end], axis(e)) for end, e in zip(ends, total))], AMBER, 2.5)
    for step in every(len(chart.computed), 11):
        canvas.text((edges[step] + edges[step + 1]) / 2, box.y1 + 13, str(step + 1), QUIET, 12, "mm")
    canvas.text(32, box.y1 + 13, "step", QUIET, 12)


def _guides(canvas: Canvas, axis: Axis, box: Box) -> None:
    """Horizontal lines with percentages at the left."""
    marks = _decades(axis) if axis.log else round_marks(axis, 5)
    for value in marks:
        canvas.line([(box.x0, axis(value)), (box.x1, axis(value))], RULE)
        canvas.text(box.x0 - 8, axis(value), percent(value), QUIET, 12, "rm")


def _front(canvas: Canvas, chart: Chart, box: Box) -> None:
    """Speed-up against error: what the plan's memory allows, what any memory would, the wish and the choice."""
    across, up = _speed_axis(chart, box), _error_axis(chart, box)
    canvas.text(32, box.y0 - 42, "Speed and predicted error", size=15)
    entries = [(AMBER, "this plan"), (BLUE, "within its memory")]
    within = [p for p in chart.front if p.bytes <= chart.chosen.bytes]
    if len(within) < len(chart.front):
        entries.append((QUIET, "with more"))
    legend(canvas, box.x1, box.y0 - 18, entries)
    _guides(canvas, up, box)
    for value in round_marks(across, 10):
        canvas.text(across(value), box.y1 + 14, f"{value:g}x", QUIET, 12, "mm")
    canvas.dashes(across(chart.target), box.y0, box.y1, QUIET)
    side = "rm" if across(chart.target) > box.x1 - 76 else "lm"
    canvas.text(across(chart.target) + (6 if side == "lm" else -6), box.y0 + 7, "asked for", QUIET, 12, side)
    for points, colour, width in ((chart.front, QUIET, 1.5), (within, BLUE, 2.5)):
        places = [(across(p.speedup), up(p.error)) for p in envelope(points) if p.speedup <= across.high]
        if len(places) > 1:
            canvas.line(places, colour, width)
        for x, y in places:
            canvas.dot(x, y, 1 + width / 2, colour)
    canvas.dot(across(chart.chosen.speedup), up(chart.chosen.error), 7, AMBER, BACK, 2)


def envelope(points: Sequence[Point]) -> list[Point]:
    """Least error at each speed or a faster one, slowest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (-p.speedup, p.error)):
        if not best or point.error < best[-1].error:
            best.append(point)
    return best[::-1]


def _speed_axis(chart: Chart, box: Box) -> Axis:
    """Up to twice the wish: a plan of one step is fast beyond anything that one looks for."""
    fastest = max([chart.chosen.speedup, *(p.speedup for p in chart.front)])
    most = max(min(fastest, 2 * chart.target), chart.chosen.speedup, 1.5)
    return Axis(1.0, 1.05 * most, box.x0, box.x1)


def _error_axis(chart: Chart, box: Box) -> Axis:
    """Whole decades around what lies in the speed range, at most four."""
    most = _speed_axis(chart, box).high
    errors = [p.error for p in (*chart.front, chart.chosen) if p.speedup <= most and p.error > 0] or [0.01]
    high = max(ceil(log10(max(errors)) + 0.05), -5)
    low = max(min(floor(log10(min(errors))), high - 1), high - 4, -6)
    return Axis(10.0**low, 10.0**high, box.y1, box.y0, log=True)


def _details(canvas: Canvas, chart: Chart, box: Box) -> None:
    """The memory bar and a few lines."""
    bar = Box(box.x0, box.y0 - 26, box.x1, box.y0 - 4)
    memory_bar(canvas, bar, chart.chosen.bytes, chart.room, (chart.used_label, chart.room_label))
    panel = Box(box.x0, box.y0 + 34, box.x1, min(box.y1, box.y0 + 52 + 22 * len(chart.details)))
    canvas.box(panel, PANEL, 8)
    for row, line in enumerate(chart.details[:7]):
        canvas.text(panel.x0 + 16, panel.y0 + 20 + 22 * row, line, TEXT, 14, most=panel.width - 32)


def _decades(axis: Axis) -> list[float]:
    """Powers of ten, with their halves where there is room."""
    low, high = round(log10(axis.low)), round(log10(axis.high))
    factors = (1, 2, 5) if high - low == 1 else (1,)
    return [f * 10.0**e for e in range(low, high + 1) for f in factors if f * 10.0**e <= axis.high * 1.001]
