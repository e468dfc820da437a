"""The people of the Tiny Talker: what a seed decides about a person, and how that person is painted.

Drawing coordinates run from -1 to 1, x to the right and y down, whatever the size, so the same person can be
rendered at 96 pixels for training and at 512 for a human.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy

from .canvas import View, capsule, ellipse

MOUTH_Y = 0.36
MOUTH_WIDTH = 0.235
MOUTH_DROP = 0.30
SKINS = ((0.98, 0.85, 0.75), (0.95, 0.78, 0.66), (0.88, 0.69, 0.54), (0.78, 0.57, 0.42), (0.62, 0.43, 0.31),
         (0.47, 0.32, 0.23))
HAIRS = ((0.10, 0.08, 0.08), (0.24, 0.15, 0.10), (0.42, 0.27, 0.15), (0.72, 0.53, 0.28), (0.60, 0.24, 0.12),
         (0.66, 0.65, 0.66))
IRISES = ((0.25, 0.15, 0.09), (0.20, 0.38, 0.55), (0.25, 0.42, 0.28), (0.35, 0.35, 0.38))
HAIR_STYLES = ("short", "parted", "fringe", "long", "bun", "bald")
# Where the parts of a face stay at every sway: top, bottom, left, right.
PARTS = {"eyes": (-0.55, 0.25, -0.62, 0.62), "nose": (-0.40, 0.45, -0.35, 0.35), "mouth": (0.05, 1.0, -0.45, 0.45)}
WEAR = ("plain", "collar", "scarf", "stripe")


@dataclass(frozen=True)
class Person:
    """What a seed decides once and for all."""

    skin: numpy.ndarray
    hair: numpy.ndarray
    iris: numpy.ndarray
    lips: numpy.ndarray
    clothes: numpy.ndarray
    trim: numpy.ndarray  # second colour of the clothes
    wear: str
    style: str
    face: tuple[float, float]  # half width, half height
    eye_gap: float
    brow_tilt: float
    light: tuple[float, float]
    tint: numpy.ndarray  # colour of the light on the person
    glasses: bool


@dataclass(frozen=True)
class Motion:
    """Head position, tilt, eyelids, lift of the brows and time in seconds of every frame, each [F, 1, 1]."""

    x: numpy.ndarray
    y: numpy.ndarray
    tilt: numpy.ndarray
    lids: numpy.ndarray
    brows: numpy.ndarray
    seconds: numpy.ndarray


def draw_person(seed: int) -> Person:
    """Choose a person's traits from a seed."""
    rng = numpy.random.default_rng([seed, 1])

    def colour(palette: tuple[tuple[float, ...], ...], spread: float = 0.03) -> numpy.ndarray:
        return numpy.clip(numpy.array(palette[rng.integers(len(palette))]) + rng.uniform(-spread, spread, 3), 0, 1)

    skin = colour(SKINS)
    clothes, trim = (numpy.clip(rng.uniform(0.12, 0.85) * rng.dirichlet([2, 2, 2]) * 2.2, 0.05, 0.95) for _ in "ab")
    return Person(
        skin=skin, hair=colour(HAIRS), iris=colour(IRISES),
        lips=numpy.clip(skin * (0.92, 0.58, 0.58) + (0.03, 0.0, 0.02), 0, 1),
        clothes=clothes, trim=trim, wear=WEAR[rng.integers(len(WEAR))],
        style=HAIR_STYLES[rng.choice(6, p=(.22, .2, .18, .2, .12, .08))],
        face=(rng.uniform(0.50, 0.57), rng.uniform(0.70, 0.75)), eye_gap=rng.uniform(0.215, 0.245),
        brow_tilt=rng.uniform(-0.12, 0.12), light=(rng.uniform(-0.8, 0.8), rng.uniform(-0.9, -0.2)),
        tint=rng.uniform(0.85, 1.0) + rng.uniform(-0.06, 0.06) * numpy.array([1, 0, -1]),
        glasses=bool(rng.random() < 0.18))


def paint_body(view: View, person: Person, motion: Motion) -> None:
    """Shoulders, collar and neck, which follow the head at a distance."""
    x, y = view.x - 0.3 * motion.x, view.y - 0.5 * motion.y
    if person.style == "long":
        hair = ellipse(x - 0.4 * motion.x, y - 0.12, person.face[0] + 0.20, 0.95)
        view.paint(view.coverage(hair), person.hair * 0.8, human=True)
    shoulders = view.coverage(ellipse(x, y - 1.22, 0.95, 0.52))
    fold = 1 + 0.18 * x * person.light[0] - 0.25 * numpy.clip(y - 0.8, 0, 1)
    view.paint(shoulders, numpy.clip(person.clothes * fold[..., None], 0, 1), human=True)
    if person.wear == "stripe":
        view.paint(shoulders * view.coverage(numpy.abs(numpy.abs(x) - 0.55) - 0.07, 0.02), person.trim)
    neck = numpy.maximum(numpy.abs(x) - 0.25, y - 0.86)
    view.paint(view.coverage(numpy.maximum(neck, 0.2 - y), 0.02), person.skin * 0.78, human=True)
    view.paint(view.coverage(ellipse(x, y - 0.84, 0.25, 0.10)), person.skin * 0.78)
    if person.wear in ("collar", "scarf"):
        half, drop = (0.33, 0.05) if person.wear == "collar" else (0.36, 0.10)
        view.paint(view.coverage(numpy.abs(ellipse(x, y - 0.80, half, 0.16)) - drop + 0.3 * (y < 0.80)), person.trim,
                   human=True)


def paint_head(view: View, person: Person, x: numpy.ndarray, y: numpy.ndarray, opening: numpy.ndarray) -> None:
    """Ears and face; the chin drops a little with the jaw."""
    width, height = person.face
    for side in (-1, 1):
        view.paint(view.coverage(ellipse(x - side * width, y - 0.02, 0.085, 0.14)), person.skin * 0.86, human=True)
    below = numpy.maximum(y, 0)
    chin = y / (1 + 0.07 * opening * (y > 0))
    face = view.coverage(ellipse(x * (1 + 0.30 * below**1.5), chin, width, height))
    light = (x * person.light[0] + y * person.light[1]) * 0.22
    edge = -0.20 * numpy.clip((x / width) ** 2 + (y / height) ** 2, 0, 1) ** 2
    tone = person.skin * person.tint * (1 + light + edge + 0.04)[..., None]
    view.paint(face, numpy.clip(tone, 0, 1), human=True)
    for side in (-1, 1):
        blush = numpy.exp(-((x - side * 0.30) ** 2 + (y - 0.16) ** 2) / 0.018) * 0.16
        view.paint(blush * face, person.skin * (1.0, 0.62, 0.6))


def paint_hair(view: View, person: Person, x: numpy.ndarray, y: numpy.ndarray) -> None:
    """A cap of hair cut by a hairline that depends on the style."""
    if person.style == "bald":
        return
    width, height = person.face
    if person.style == "bun":
        view.paint(view.coverage(ellipse(x, y + height + 0.08, 0.22, 0.17)), person.hair * 0.9, human=True)
    line = {"short": -0.42 + 0.5 * x**2, "parted": -0.42 + 0.28 * x + 0.5 * x**2,
            "fringe": -0.30 + 0.04 * numpy.sin(14 * x) + 0 * y, "long": -0.48 + 0.9 * x**2,
            "bun": -0.46 + 0.8 * x**2}[person.style]
    side = (0.90 if person.style == "long" else 0.86) * width - 0.10 * numpy.clip(y + 0.5, 0, 1)
    cap = ellipse(x, y + 0.03, width + 0.065, height + 0.05)
    inner = numpy.maximum(numpy.abs(x) - side, line - y)
    reach = y - (0.45 if person.style == "long" else 0.0)
    cover = view.coverage(numpy.maximum(numpy.maximum(cap, -inner * 0.9), reach))
    shine = 1 + 0.35 * numpy.exp(-((y + 0.58) ** 2) / 0.012) * (0.6 + 0.4 * numpy.sin(9 * x + person.light[0]))
    view.paint(cover, numpy.clip(person.hair * shine[..., None], 0, 1), human=True)


def paint_eyes(person: Person, view: View, x: numpy.ndarray, y: numpy.ndarray, motion: Motion) -> None:
    """Whites, irises and lids that blink, brows, and sometimes glasses."""
    lids = motion.lids
    for side in (-1, 1):
        ex, ey = x - side * person.eye_gap, y + 0.07
        socket = view.coverage(ellipse(ex, ey, 0.125, 0.082 * lids))
        view.paint(view.coverage(ellipse(ex, ey + 0.012, 0.145, 0.10)), person.skin * 0.84)
        view.paint(socket, (0.96, 0.96, 0.95))
        view.paint(socket * view.coverage(ellipse(ex, ey, 0.064, 0.070)), person.iris)
        view.paint(socket * view.coverage(ellipse(ex, ey, 0.032, 0.034)), (0.04, 0.03, 0.03))
        view.paint(socket * view.coverage(ellipse(ex + 0.022, ey + 0.026, 0.018, 0.018)), (1, 1, 1))
        lash = capsule(ex, ey + 0.080 * lids - 0.6 * ex**2, 0.115, 0.014)
        view.paint(view.coverage(lash) * 0.85, person.hair * 0.35)
        brow = capsule(ex, ey + 0.175 + motion.brows + side * person.brow_tilt * ex - 1.2 * ex**2, 0.115, 0.024)
        view.paint(view.coverage(brow) * 0.85, person.hair * 0.7)
        if person.glasses:
            ring = numpy.abs(ellipse(ex, ey, 0.185, 0.150)) - 0.014
            view.paint(view.coverage(ring), (0.12, 0.12, 0.14))


def paint_nose(person: Person, view: View, x: numpy.ndarray, y: numpy.ndarray) -> None:
    """A lit ridge and a soft shadow below the tip."""
    ridge = numpy.exp(-((x + 0.02 * person.light[0]) ** 2) / 0.0012) * view.coverage(numpy.abs(y - 0.03) - 0.13, 0.1)
    view.paint(ridge * 0.35, numpy.clip(person.skin * 1.12, 0, 1))
    view.paint(view.coverage(ellipse(x, y - 0.165, 0.085, 0.034), 0.03) * 0.7, person.skin * 0.70)
    view.paint(view.coverage(ellipse(x, y - 0.145, 0.066, 0.036), 0.02) * 0.8, person.skin * 1.02)


def paint_mouth(person: Person, view: View, x: numpy.ndarray, y: numpy.ndarray, opening: numpy.ndarray) -> None:
    """Lips around a dark interior with upper teeth and a tongue; closed lips show only a line."""
    half = 0.5 * MOUTH_DROP * opening
    width = MOUTH_WIDTH * (1 - 0.14 * opening)
    my = y - MOUTH_Y - 0.6 * half + 0.55 * x**2 * (1 - opening)
    bow = 0.03 * numpy.cos(numpy.clip(x / 0.07, -3.14, 3.14))
    view.paint(view.coverage(ellipse(x, my - 0.01, width, half + 0.062) + 0.5 * bow * (my < 0)), person.lips)
    view.paint(view.coverage(ellipse(x, my - 0.040 - half, width * 0.5, 0.016), 0.02) * 0.4,
                 numpy.clip(person.lips * 1.3, 0, 1))
    inside = view.coverage(ellipse(x, my, width * 0.86, half))
    inside = inside * numpy.clip(half / view.pixel, 0, 1)
    view.paint(inside, (0.13, 0.03, 0.04))
    view.paint(inside * view.coverage(ellipse(x, my - 1.05 * half, width * 0.55, 0.45 * half)), (0.62, 0.22, 0.24))
    teeth = numpy.minimum(0.055, 0.6 * half)
    view.paint(inside * view.coverage(my + half - teeth), (0.93, 0.92, 0.88))
    line = capsule(x, my, MOUTH_WIDTH * 0.8, 0.012)
    view.paint(view.coverage(line) * numpy.clip(1 - 8 * opening, 0, 1) * 0.9, person.lips * 0.45)




def paint_person(view: View, person: Person, motion: Motion, opening: numpy.ndarray) -> None:
    """Paint one person with mouth openings [F, 1, 1]; everything of the head moves with it."""
    paint_body(view, person, motion)
    x, y = view.x - motion.x, view.y - motion.y
    x, y = x - motion.tilt * (y - 0.7), y + motion.tilt * x
    paint_head(view, person, x, y, opening)
    view_of = {part: view.part(x, y, edges) for part, edges in PARTS.items()}
    paint_nose(person, *view_of["nose"])
    paint_eyes(person, *view_of["eyes"], motion)
    paint_mouth(person, *view_of["mouth"], opening)
    paint_hair(view, person, x, y)
