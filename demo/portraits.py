"""Procedural talking portraits: one seed is one person in one room, one opening curve is one performance.

Pictures are float RGB in 0..1.  Everything follows from seeds; those from HELD_OUT_SEED on are never trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy

from synccache_core.compare.likeness import LUMA
from synccache_core.compare.lips import darkness

from .backdrops import draw_backdrop, paint_backdrop
from .canvas import Canvas, View
from .people import MOUTH_DROP, MOUTH_WIDTH, MOUTH_Y, Motion, draw_person, paint_person

FPS = 16
SIZE = 96
HELD_OUT_SEED = 1_000_000
GRAIN = 1.5 / 255  # deviation of the camera's noise
NOD_SECONDS = 0.35
PAIR = ((-0.5, 0.2), (0.5, 0.2), 0.6)  # centres of two speakers, and their scale
CUT_SCALE = 0.8  # framing after a camera cut


@dataclass(frozen=True)
class Speaker:
    """Where one speaker is and what the mouth does; arrays are float32."""

    mask: numpy.ndarray  # [F, H, W] in 0..1
    mouth_boxes: numpy.ndarray  # [F, 4] whole pixels y0, y1, x0, x1
    opening: numpy.ndarray  # [F] in 0..1


@dataclass(frozen=True)
class Clip:
    """One rendered performance."""

    frames: numpy.ndarray  # [F, H, W, 3] in 0..1
    speakers: tuple[Speaker, ...]
    backdrop: str
    cuts: tuple[int, ...] = ()  # first frames after a camera cut

    @property
    def human_mask(self) -> numpy.ndarray:
        """Everybody's mask [F, H, W] in 0..1."""
        return numpy.maximum.reduce([speaker.mask for speaker in self.speakers])

    @property
    def mouth_box(self) -> tuple[int, int, int, int]:
        """The first speaker's mouth in the first frame: y0, y1, x0, x1."""
        return tuple(int(edge) for edge in self.speakers[0].mouth_boxes[0])

    @property
    def opening(self) -> numpy.ndarray:
        """The first speaker's mouth opening [F] in 0..1."""
        return self.speakers[0].opening


def smoothed(curve: numpy.ndarray, seconds: float) -> numpy.ndarray:
    """A curve [F] after a one-pole low-pass that starts at rest."""
    level, made, rate = 0.0, [], 1 - numpy.exp(-1 / (FPS * seconds))
    for value in curve:
        level += (value - level) * rate
        made.append(level)
    return numpy.array(made)


def draw_motion(seed: int, opening: numpy.ndarray) -> Motion:
    """A clip's movement at 16 fps: the head nods and the brows rise with speech; sway and blinks are chance."""
    rng = numpy.random.default_rng([seed, 2])
    seconds = numpy.arange(len(opening)) / FPS

    def sway(size: float) -> numpy.ndarray:
        return size * numpy.sin(2 * numpy.pi * (seconds * rng.uniform(0.15, 0.4) + rng.random()))

    lids, last = numpy.ones(len(opening)), seconds[-1] if len(seconds) else 0.0
    for start in numpy.cumsum(rng.uniform(0.5, 3.5, 2 + int(last / 1.5))):
        lids = numpy.minimum(lids, numpy.clip(numpy.abs(seconds - start) / 0.11, 0.05, 1))
    speech = smoothed(opening, NOD_SECONDS)
    tracks = (sway(0.010), sway(0.006) + 0.05 * speech, sway(0.009), lids, 0.05 * speech, seconds)
    return Motion(*(track.astype(numpy.float32)[:, None, None] for track in tracks))


def still_motion() -> Motion:
    """One frame, straight, eyes open: how people pose for a portrait."""
    zero, one = numpy.zeros((1, 1, 1), numpy.float32), numpy.ones((1, 1, 1), numpy.float32)
    return Motion(zero, zero, zero, one, zero, zero)


def mouth_box_of(size: int, centre: tuple[float, float] = (0.0, 0.0), scale: float = 1.0) -> tuple[int, int, int, int]:
    """Pixels y0, y1, x0, x1 in which the mouth stays at every opening and sway."""
    left, right = -MOUTH_WIDTH - 0.075, MOUTH_WIDTH + 0.075
    top, bottom = MOUTH_Y - 0.13, MOUTH_Y + MOUTH_DROP + 0.13
    across = [round((edge * scale + centre[0] + 1) * size / 2) for edge in (left, right)]
    down = [round((edge * scale + centre[1] + 1) * size / 2) for edge in (top, bottom)]
    return (*(min(max(edge, 0), size) for edge in down), *(min(max(edge, 0), size) for edge in across))


def add_speaker(canvas: Canvas, seed: int, motion: Motion, opening: numpy.ndarray,
                centre: tuple[float, float] = (0.0, 0.0), scale: float = 1.0) -> Speaker:
    """Paint the person of a seed over the canvas."""
    view = View(canvas, centre, scale)
    opening = numpy.clip(numpy.asarray(opening, numpy.float32), 0, 1)
    paint_person(view, draw_person(seed), motion, opening[:, None, None])
    boxes = numpy.tile(mouth_box_of(canvas.size, centre, scale), (len(opening), 1))
    return Speaker(view.mask, boxes, opening)


def filmed(canvas: Canvas, seed: int) -> numpy.ndarray:
    """What the camera records of a canvas: [F, H, W, 3] in 0..1 with the noise of its sensor."""
    noise = numpy.random.default_rng([seed, 9]).standard_normal(canvas.picture.shape, numpy.float32)
    return numpy.clip(canvas.picture + GRAIN * noise, 0, 1)


def render_clip(seed: int, opening: numpy.ndarray, size: int = SIZE, motion_seed: int | None = None,
                backdrop: str | None = None, cut: int | None = None) -> Clip:
    """The person of a seed speaking with mouth openings [F] at 16 fps.

    `backdrop` is one of backdrops.KINDS (chance by default); from frame `cut` on, another camera films the same
    person from farther away, in front of another part of the room.
    """
    opening = numpy.asarray(opening, numpy.float32)
    motion_seed = seed if motion_seed is None else motion_seed
    room, motion = draw_backdrop(seed, backdrop), draw_motion(motion_seed, opening)
    canvas = Canvas(len(opening), size)
    paint_backdrop(canvas, room, motion.seconds)
    speaker = add_speaker(canvas, seed, motion, opening)
    clip = Clip(filmed(canvas, motion_seed), (speaker,), room.kind)
    return clip if cut is None else cut_to(clip, seed, motion, cut)


def cut_to(clip: Clip, seed: int, motion: Motion, cut: int) -> Clip:
    """Replace the frames of a clip from `cut` on by those of a second camera."""
    opening, size = clip.opening, clip.frames.shape[1]
    if not 0 < cut < len(opening):
        raise ValueError(f"cut: {cut} is not inside the clip's frames 1..{len(opening) - 1}")
    canvas = Canvas(len(opening), size)
    paint_backdrop(canvas, draw_backdrop(seed + 1, clip.backdrop), motion.seconds)
    far = add_speaker(canvas, seed, motion, opening, (0.0, 1 - CUT_SCALE), CUT_SCALE)
    near = clip.speakers[0]
    joined = Speaker(*(numpy.concatenate([before[:cut], after[cut:]]) for before, after in
                       ((near.mask, far.mask), (near.mouth_boxes, far.mouth_boxes), (opening, opening))))
    frames = numpy.concatenate([clip.frames[:cut], filmed(canvas, seed + 1)[cut:]])
    return Clip(frames, (joined,), clip.backdrop, (cut,))


def render_pair(seeds: tuple[int, int], openings: numpy.ndarray, size: int = SIZE, backdrop: str | None = None) -> Clip:
    """Two people side by side with mouth openings [2, F]; the second stands in front where they overlap."""
    room = draw_backdrop(seeds[0], backdrop)
    openings = numpy.asarray(openings, numpy.float32)
    motions = [draw_motion(seed, opening) for seed, opening in zip(seeds, openings)]
    canvas = Canvas(openings.shape[1], size)
    paint_backdrop(canvas, room, motions[0].seconds)
    left, right = (add_speaker(canvas, seed, motion, opening, centre, PAIR[2])
                   for seed, motion, opening, centre in zip(seeds, motions, openings, PAIR))
    left = Speaker(left.mask * (1 - right.mask), left.mouth_boxes, left.opening)
    return Clip(filmed(canvas, seeds[0]), (left, right), room.kind)


def render_portrait(seed: int, size: int = SIZE, opening: float = 0.0) -> numpy.ndarray:
    """One posed picture [size, size, 3] of the person of a seed, mouth closed unless told otherwise; no noise."""
    motion, canvas = still_motion(), Canvas(1, size)
    paint_backdrop(canvas, draw_backdrop(seed), motion.seconds)
    add_speaker(canvas, seed, motion, numpy.array([opening]))
    return numpy.clip(canvas.picture[0], 0, 1)


def mouth_opening(frames: numpy.ndarray, mouth_box: tuple[int, int, int, int]) -> numpy.ndarray:
    """Estimate the opening [F] from pictures [F, H, W, 3]: the share of the mouth box that is dark."""
    y0, y1, x0, x1 = mouth_box
    return darkness(numpy.asarray(frames, numpy.float32)[:, y0:y1, x0:x1] @ numpy.array(LUMA, numpy.float32))
