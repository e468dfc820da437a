"""Procedural talking portraits: one seed is one person, one opening curve is one performance.

Pictures are float RGB in 0..1.  Drawing coordinates run from -1 to 1, x to the right and y down, whatever
the size, so the same person can be rendered at 64 pixels for training and at 512 for a human.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy

FPS = 16
MOUTH_Y = 0.36
MOUTH_WIDTH = 0.235
MOUTH_DROP = 0.30
HELD_OUT_SEED = 1_000_000
SKINS = ((0.98, 0.85, 0.75), (0.95, 0.78, 0.66), (0.88, 0.69, 0.54), (0.78, 0.57, 0.42), (0.62, 0.43, 0.31),
         (0.47, 0.32, 0.23))
HAIRS = ((0.10, 0.08, 0.08), (0.24, 0.15, 0.10), (0.42, 0.27, 0.15), (0.72, 0.53, 0.28), (0.60, 0.24, 0.12),
         (0.66, 0.65, 0.66))
IRISES = ((0.25, 0.15, 0.09), (0.20, 0.38, 0.55), (0.25, 0.42, 0.28), (0.35, 0.35, 0.38))
HAIR_STYLES = ("short", "parted", "fringe", "long", "bun", "bald")


@dataclass(frozen=True)
class Clip:
    """One rendered performance; arrays are float32, the box holds pixels of every frame."""

    frames: numpy.ndarray  # [F, H, W, 3] in 0..1
    human_mask: numpy.ndarray  # [F, H, W] in 0..1
    mouth_box: tuple[int, int, int, int]  # y0, y1, x0, x1
    opening: numpy.ndarray  # [F] in 0..1


@dataclass(frozen=True)
class Person:
    """What a seed decides once and for all."""

    skin: numpy.ndarray
    hair: numpy.ndarray
    iris: numpy.ndarray
    lips: numpy.ndarray
    clothes: numpy.ndarray
    backdrop: tuple[numpy.ndarray, numpy.ndarray]
    style: str
    face: tuple[float, float]  # half width, half height
    eye_gap: float
    brow_tilt: float
    light: tuple[float, float]
    drift: float
    glasses: bool


@dataclass(frozen=True)
class Motion:
    """Head position, tilt, eyelids and backdrop phase of every frame, each [F, 1, 1]."""

    x: numpy.ndarray
    y: numpy.ndarray
    tilt: numpy.ndarray
    lids: numpy.ndarray
    phase: numpy.ndarray


def draw_person(seed: int) -> Person:
    """Choose a person's traits from a seed."""
    rng = numpy.random.default_rng([seed, 1])

    def colour(palette: tuple[tuple[float, ...], ...], spread: float = 0.03) -> numpy.ndarray:
        return numpy.clip(numpy.array(palette[rng.integers(len(palette))]) + rng.uniform(-spread, spread, 3), 0, 1)

    skin = colour(SKINS)
    clothes = numpy.clip(rng.uniform(0.12, 0.85) * rng.dirichlet([2, 2, 2]) * 2.2, 0.05, 0.95)
    backdrop = tuple(numpy.clip(rng.uniform(0.35, 0.9) + rng.uniform(-0.18, 0.18, 3), 0, 1) for _ in range(2))
    return Person(
        skin=skin, hair=colour(HAIRS), iris=colour(IRISES),
        lips=numpy.clip(skin * (0.92, 0.58, 0.58) + (0.03, 0.0, 0.02), 0, 1),
        clothes=clothes, backdrop=backdrop, style=HAIR_STYLES[rng.choice(6, p=(.22, .2, .18, .2, .12, .08))],
        face=(rng.uniform(0.50, 0.57), rng.uniform(0.70, 0.75)), eye_gap=rng.uniform(0.215, 0.245),
        brow_tilt=rng.uniform(-0.12, 0.12), light=(rng.uniform(-0.8, 0.8), rng.uniform(-0.9, -0.2)),
        drift=float(rng.random() < 0.4), glasses=bool(rng.random() < 0.12))


def draw_motion(seed: int, frames: int) -> Motion:
    """Gentle sway, one or two blinks and a slow backdrop for a clip of `frames` at 16 fps."""
    rng = numpy.random.default_rng([seed, 2])
    time = numpy.arange(frames) / FPS

    def sway(size: float) -> numpy.ndarray:
        return size * numpy.sin(2 * numpy.pi * (time * rng.uniform(0.15, 0.4) + rng.random()))

    lids = numpy.ones(frames)
    for start in numpy.cumsum(rng.uniform(0.3, 2.5, 2)):
        lids = numpy.minimum(lids, numpy.clip(numpy.abs(time - start) / 0.11, 0.05, 1))
    tracks = (sway(0.022), sway(0.014), sway(0.02), lids, rng.random() + time * rng.uniform(0.05, 0.15))
    return Motion(*(track.astype(numpy.float32)[:, None, None] for track in tracks))


def still_motion() -> Motion:
    """One frame, straight, eyes open: how people pose for a portrait."""
    zero, one = numpy.zeros((1, 1, 1), numpy.float32), numpy.ones((1, 1, 1), numpy.float32)
    return Motion(zero, zero, zero, one, zero)


class Canvas:
    """A stack of frames that soft-edged shapes are painted on, one after the other."""

    def __init__(self, frames: int, size: int):
        axis = ((numpy.arange(size) + 0.5) * 2 / size - 1).astype(numpy.float32)
        self.x, self.y = axis[None, None, :], axis[None, :, None]
        self.sharpness = size / 2
        self.picture = numpy.zeros((frames, size, size, 3), numpy.float32)
        self.mask = numpy.zeros((frames, size, size), numpy.float32)

    def coverage(self, distance: numpy.ndarray, soft: float = 0.0) -> numpy.ndarray:
        """Signed distance (negative inside) -> coverage 0..1 with an edge one pixel (plus `soft`) wide."""
        return numpy.clip(0.5 - distance / (1 / self.sharpness + soft), 0, 1)

    def paint(self, cover: numpy.ndarray, colour: object, human: bool = False) -> None:
        """Blend a colour (or a picture) over the frames."""
        colour = numpy.asarray(colour, numpy.float32)
        self.picture += cover[..., None] * (colour - self.picture)
        if human:
            numpy.maximum(self.mask, cover, out=self.mask)

    def shade(self, amount: numpy.ndarray) -> None:
        """Multiply the brightness by 1 + amount."""
        self.picture *= 1 + amount[..., None]


def ellipse(x: numpy.ndarray, y: numpy.ndarray, width: object, height: object) -> numpy.ndarray:
    """Approximate signed distance to an axis-aligned ellipse of the given half sizes."""
    width, height = numpy.maximum(width, 1e-3), numpy.maximum(height, 1e-3)
    near = numpy.sqrt((x / width) ** 2 + (y / height) ** 2)
    slope = numpy.sqrt((x / width**2) ** 2 + (y / height**2) ** 2)
    return near * (near - 1) / numpy.maximum(slope, 1e-4)


def capsule(x: numpy.ndarray, y: numpy.ndarray, half: float, radius: float) -> numpy.ndarray:
    """Signed distance to a horizontal stroke of half length `half`."""
    return numpy.hypot(numpy.maximum(numpy.abs(x) - half, 0), y) - radius


def paint_backdrop(canvas: Canvas, person: Person, motion: Motion) -> None:
    """A two-colour gradient; for some people a bright patch wanders slowly behind them."""
    blend = numpy.clip(0.5 + 0.5 * (canvas.y + 0.5 * person.light[0] * canvas.x), 0, 1)[..., None]
    canvas.picture[:] = person.backdrop[0] * (1 - blend) + person.backdrop[1] * blend
    angle = 2 * numpy.pi * motion.phase
    patch = numpy.hypot(canvas.x - 0.8 * numpy.cos(angle), canvas.y + 0.4 - 0.5 * numpy.sin(angle))
    canvas.shade(0.35 * person.drift * numpy.exp(-4 * patch**2))


def paint_body(canvas: Canvas, person: Person, motion: Motion) -> None:
    """Shoulders, collar and neck, which follow the head at a distance."""
    x, y = canvas.x - 0.3 * motion.x, canvas.y - 0.5 * motion.y
    if person.style == "long":
        hair = ellipse(x - 0.4 * motion.x, y - 0.12, person.face[0] + 0.20, 0.95)
        canvas.paint(canvas.coverage(hair), person.hair * 0.8, human=True)
    canvas.paint(canvas.coverage(ellipse(x, y - 1.22, 0.95, 0.52)), person.clothes, human=True)
    neck = numpy.maximum(numpy.abs(x) - 0.25, y - 0.86)
    canvas.paint(canvas.coverage(numpy.maximum(neck, 0.2 - y), 0.02), person.skin * 0.78, human=True)
    canvas.paint(canvas.coverage(ellipse(x, y - 0.84, 0.25, 0.10)), person.skin * 0.78)


def paint_head(canvas: Canvas, person: Person, x: numpy.ndarray, y: numpy.ndarray, opening: numpy.ndarray) -> None:
    """Ears and face; the chin drops a little with the jaw."""
    width, height = person.face
    for side in (-1, 1):
        canvas.paint(canvas.coverage(ellipse(x - side * width, y - 0.02, 0.085, 0.14)), person.skin * 0.86, human=True)
    below = numpy.maximum(y, 0)
    chin = y / (1 + 0.07 * opening * (y > 0))
    face = canvas.coverage(ellipse(x * (1 + 0.30 * below**1.5), chin, width, height))
    light = (x * person.light[0] + y * person.light[1]) * 0.22
    edge = -0.20 * numpy.clip((x / width) ** 2 + (y / height) ** 2, 0, 1) ** 2
    tone = person.skin * (1 + light + edge + 0.04)[..., None]
    canvas.paint(face, numpy.clip(tone, 0, 1), human=True)
    for side in (-1, 1):
        blush = numpy.exp(-((x - side * 0.30) ** 2 + (y - 0.16) ** 2) / 0.018) * 0.16
        canvas.paint(blush * face, person.skin * (1.0, 0.62, 0.6))


def paint_hair(canvas: Canvas, person: Person, x: numpy.ndarray, y: numpy.ndarray) -> None:
    """A cap of hair cut by a hairline that depends on the style."""
    if person.style == "bald":
        return
    width, height = person.face
    if person.style == "bun":
        canvas.paint(canvas.coverage(ellipse(x, y + height + 0.08, 0.22, 0.17)), person.hair * 0.9, human=True)
    line = {"short": -0.42 + 0.5 * x**2, "parted": -0.42 + 0.28 * x + 0.5 * x**2,
            "fringe": -0.30 + 0.04 * numpy.sin(14 * x) + 0 * y, "long": -0.48 + 0.9 * x**2,
            "bun": -0.46 + 0.8 * x**2}[person.style]
    side = (0.90 if person.style == "long" else 0.86) * width - 0.10 * numpy.clip(y + 0.5, 0, 1)
    cap = ellipse(x, y + 0.03, width + 0.065, height + 0.05)
    inner = numpy.maximum(numpy.abs(x) - side, line - y)
    reach = y - (0.45 if person.style == "long" else 0.0)
    cover = canvas.coverage(numpy.maximum(numpy.maximum(cap, -inner * 0.9), reach))
    shine = 1 + 0.35 * numpy.exp(-((y + 0.58) ** 2) / 0.012) * (0.6 + 0.4 * numpy.sin(9 * x + person.light[0]))
    canvas.paint(cover, numpy.clip(person.hair * shine[..., None], 0, 1), human=True)


def paint_eyes(canvas: Canvas, person: Person, x: numpy.ndarray, y: numpy.ndarray, lids: numpy.ndarray) -> None:
    """Whites, irises and lids that blink, brows, and sometimes glasses."""
    for side in (-1, 1):
        ex, ey = x - side * person.eye_gap, y + 0.07
        socket = canvas.coverage(ellipse(ex, ey, 0.125, 0.082 * lids))
        canvas.paint(canvas.coverage(ellipse(ex, ey + 0.012, 0.145, 0.10)), person.skin * 0.84)
        canvas.paint(socket, (0.96, 0.96, 0.95))
        canvas.paint(socket * canvas.coverage(ellipse(ex, ey, 0.064, 0.070)), person.iris)
        canvas.paint(socket * canvas.coverage(ellipse(ex, ey, 0.032, 0.034)), (0.04, 0.03, 0.03))
        canvas.paint(socket * canvas.coverage(ellipse(ex + 0.022, ey + 0.026, 0.018, 0.018)), (1, 1, 1))
        lash = capsule(ex, ey + 0.080 * lids - 0.6 * ex**2, 0.115, 0.014)
        canvas.paint(canvas.coverage(lash) * 0.85, person.hair * 0.35)
        brow = capsule(ex, ey + 0.175 + side * person.brow_tilt * ex - 1.2 * ex**2, 0.115, 0.024)
        canvas.paint(canvas.coverage(brow) * 0.85, person.hair * 0.7)
        if person.glasses:
            ring = numpy.abs(ellipse(ex, ey, 0.185, 0.150)) - 0.014
            canvas.paint(canvas.coverage(ring), (0.12, 0.12, 0.14))


def paint_nose(canvas: Canvas, person: Person, x: numpy.ndarray, y: numpy.ndarray) -> None:
    """A lit ridge and a soft shadow below the tip."""
    ridge = numpy.exp(-((x + 0.02 * person.light[0]) ** 2) / 0.0012) * canvas.coverage(numpy.abs(y - 0.03) - 0.13, 0.1)
    canvas.paint(ridge * 0.35, numpy.clip(person.skin * 1.12, 0, 1))
    canvas.paint(canvas.coverage(ellipse(x, y - 0.165, 0.085, 0.034), 0.03) * 0.7, person.skin * 0.70)
    canvas.paint(canvas.coverage(ellipse(x, y - 0.145, 0.066, 0.036), 0.02) * 0.8, person.skin * 1.02)


def paint_mouth(canvas: Canvas, person: Person, x: numpy.ndarray, y: numpy.ndarray, opening: numpy.ndarray) -> None:
    """Lips around a dark interior with upper teeth and a tongue; closed lips show only a line."""
    half = 0.5 * MOUTH_DROP * opening
    width = MOUTH_WIDTH * (1 - 0.14 * opening)
    my = y - MOUTH_Y - 0.6 * half + 0.55 * x**2 * (1 - opening)
    bow = 0.03 * numpy.cos(numpy.clip(x / 0.07, -3.14, 3.14))
    canvas.paint(canvas.coverage(ellipse(x, my - 0.01, width, half + 0.062) + 0.5 * bow * (my < 0)), person.lips)
    canvas.paint(canvas.coverage(ellipse(x, my - 0.040 - half, width * 0.5, 0.016), 0.02) * 0.4,
                 numpy.clip(person.lips * 1.3, 0, 1))
    inside = canvas.coverage(ellipse(x, my, width * 0.86, half))
    inside = inside * numpy.clip(half * canvas.sharpness, 0, 1)
    canvas.paint(inside, (0.13, 0.03, 0.04))
    canvas.paint(inside * canvas.coverage(ellipse(x, my - 1.05 * half, width * 0.55, 0.45 * half)), (0.62, 0.22, 0.24))
    teeth = numpy.minimum(0.055, 0.6 * half)
    canvas.paint(inside * canvas.coverage(my + half - teeth), (0.93, 0.92, 0.88))
    line = capsule(x, my, MOUTH_WIDTH * 0.8, 0.012)
    canvas.paint(canvas.coverage(line) * numpy.clip(1 - 8 * opening, 0, 1) * 0.9, person.lips * 0.45)


def mouth_box_of(size: int) -> tuple[int, int, int, int]:
    """Pixels y0, y1, x0, x1 in which the mouth stays at every opening and sway."""
    left, right = -MOUTH_WIDTH - 0.075, MOUTH_WIDTH + 0.075
    top, bottom = MOUTH_Y - 0.13, MOUTH_Y + MOUTH_DROP + 0.11
    low, high = (numpy.array([top, left]) + 1) * size / 2, (numpy.array([bottom, right]) + 1) * size / 2
    return round(low[0]), round(high[0]), round(low[1]), round(high[1])


def render(person: Person, motion: Motion, opening: numpy.ndarray, size: int) -> Canvas:
    """Paint one person through a motion with mouth openings [F]."""
    canvas = Canvas(len(opening), size)
    opening = numpy.clip(numpy.asarray(opening, numpy.float32), 0, 1)[:, None, None]
    paint_backdrop(canvas, person, motion)
    paint_body(canvas, person, motion)
    x, y = canvas.x - motion.x, canvas.y - motion.y
    x, y = x - motion.tilt * (y - 0.7), y + motion.tilt * x
    paint_head(canvas, person, x, y, opening)
    paint_nose(canvas, person, x, y)
    paint_eyes(canvas, person, x, y, motion.lids)
    paint_mouth(canvas, person, x, y, opening)
    paint_hair(canvas, person, x, y)
    numpy.clip(canvas.picture, 0, 1, out=canvas.picture)
    return canvas


def render_clip(seed: int, opening: numpy.ndarray, size: int = 64, motion_seed: int | None = None) -> Clip:
    """The person of a seed speaking with mouth openings [F] at 16 fps."""
    motion = draw_motion(seed if motion_seed is None else motion_seed, len(opening))
    canvas = render(draw_person(seed), motion, opening, size)
    return Clip(canvas.picture, canvas.mask, mouth_box_of(size), numpy.asarray(opening, numpy.float32))


def render_portrait(seed: int, size: int = 64, opening: float = 0.0) -> numpy.ndarray:
    """One posed picture [size, size, 3] of the person of a seed, mouth closed unless told otherwise."""
    return render(draw_person(seed), still_motion(), numpy.array([opening]), size).picture[0]


def mouth_opening(frames: numpy.ndarray, mouth_box: tuple[int, int, int, int]) -> numpy.ndarray:
    """Estimate the opening [F] from pictures [F, H, W, 3]: the share of the mouth box that is dark.

    Dark means well below the skin around the mouth, so that skin tone and lighting cancel out.
    """
    y0, y1, x0, x1 = mouth_box
    luma = numpy.asarray(frames, numpy.float32)[:, y0:y1, x0:x1] @ numpy.array([0.299, 0.587, 0.114], numpy.float32)
    skin = numpy.median(numpy.quantile(luma.reshape(len(luma), -1), 0.7, axis=1))
    dark = numpy.clip((0.50 * skin - luma) / (0.20 * skin), 0, 1)
    return dark.mean(axis=(1, 2))
