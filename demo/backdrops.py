"""What stands behind the speakers: still rooms, drifting light, things that pass by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy

from .canvas import Canvas, View, box, ellipse

KINDS = ("still", "drifting", "moving")
SHARES = (0.55, 0.25, 0.20)


@dataclass(frozen=True)
class Thing:
    """One soft shape of a room: centre, half sizes and velocity in canvas units (a second)."""

    colour: numpy.ndarray
    centre: tuple[float, float]
    half: tuple[float, float]
    velocity: float
    round: bool


@dataclass(frozen=True)
class Backdrop:
    """What a seed decides about the room."""

    kind: str
    colours: tuple[numpy.ndarray, numpy.ndarray]
    slant: float
    things: tuple[Thing, ...]
    phase: float


def draw_thing(rng: numpy.random.Generator, ground: numpy.ndarray, velocity: float) -> Thing:
    """A piece of furniture, or something that passes by if its velocity is not zero."""
    colour = numpy.clip(ground + rng.uniform(-0.22, 0.22, 3), 0, 1)
    return Thing(colour, (rng.uniform(-1, 1), rng.uniform(-0.9, 0.5)), (rng.uniform(0.12, 0.35), rng.uniform(0.12, 0.5)),
                 velocity, bool(rng.random() < 0.5))


def draw_backdrop(seed: int, kind: str | None = None) -> Backdrop:
    """Choose a room from a seed; `kind` overrides what moves in it."""
    rng = numpy.random.default_rng([seed, 8])
    chosen = str(rng.choice(KINDS, p=SHARES))
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind of backdrop: {kind!r} is none of {', '.join(KINDS)}")
    kind = kind or chosen
    first, second = (numpy.clip(rng.uniform(0.3, 0.9) + rng.uniform(-0.18, 0.18, 3), 0, 1) for _ in range(2))
    things = [draw_thing(rng, first, 0.0) for _ in range(rng.integers(0, 4))]
    speeds = rng.uniform(0.25, 0.7, 2) * rng.choice([-1, 1], 2)
    if kind == "moving":
        things += [draw_thing(rng, second, float(speed)) for speed in speeds]
    return Backdrop(kind, (first, second), rng.uniform(-0.5, 0.5), tuple(things), rng.random())


def paint_backdrop(canvas: Canvas, backdrop: Backdrop, seconds: numpy.ndarray) -> None:
    """Paint a room at times [F, 1, 1]."""
    blend = numpy.clip(0.5 + 0.5 * (canvas.y + backdrop.slant * canvas.x), 0, 1)[..., None]
    canvas.picture[:] = backdrop.colours[0] * (1 - blend) + backdrop.colours[1] * blend
    view = View(canvas)
    for thing in backdrop.things:
        along = thing.centre[0] + thing.velocity * seconds
        along = (along + 1.4) % 2.8 - 1.4  # who leaves on one side comes back on the other
        shape = ellipse if thing.round else box
        view.paint(view.coverage(shape(view.x - along, view.y - thing.centre[1], *thing.half), 0.05), thing.colour)
    if backdrop.kind != "still":
        angle = 2 * numpy.pi * (backdrop.phase + 0.1 * seconds)
        patch = numpy.hypot(canvas.x - 0.8 * numpy.cos(angle), canvas.y + 0.4 - 0.5 * numpy.sin(angle))
        canvas.shade(0.3 * numpy.exp(-4 * patch**2))
