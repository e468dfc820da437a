"""How people, camera and light move: chance alone, whoever they are, whatever they say.

Every track is a curve [F] at 16 fps; angles in radians, places in drawing units (of the person for people).
"""

from __future__ import annotations

import numpy
import torch

from ..portraits import FPS

# Tracks that sway: the size of a sum of three sines, whose root mean square is 0.63 sizes.
PERSON = {"body_x": 0.15, "body_y": 0.07, "lean_x": 0.11, "lean_y": 0.05, "tilt": 0.19, "body_tilt": 0.07, "yaw": 0.38,
          "pitch": 0.20, "depth": 0.11, "gaze_x": 0.0, "gaze_y": 0.0, "shrug_l": 0.04, "shrug_r": 0.04,
          "hand_l_x": 0.24, "hand_l_y": 0.16, "hand_r_x": 0.24, "hand_r_y": 0.16, "hand_l_turn": 0.7, "hand_r_turn": 0.7}
ROOM = {"pan_x": 0.08, "pan_y": 0.045, "zoom": 0.07, "light": 0.11, "light_x": 0.6, "light_y": 0.4, "sun": 0.5}
WEIGHTS = numpy.array([0.75, 0.45, 0.20])[:, None]
RATES = numpy.array([[0.08, 0.28], [0.28, 0.60], [0.60, 1.10]])  # Hz
STILL_ROOMS = 0.3
PASSER_SHARE = 0.4
HAND_SHARE = 0.75  # people who gesture at all


def sways(rng: numpy.random.Generator, sizes: dict[str, float], frames: int) -> dict[str, numpy.ndarray]:
    """One curve [F] per name, each a sum of three sines of random rate and phase."""
    seconds = numpy.arange(frames) / FPS
    rates = rng.uniform(RATES[:, 0], RATES[:, 1], (len(sizes), 3))[..., None]
    waves = numpy.sin(2 * numpy.pi * (rates * seconds + rng.random((len(sizes), 3, 1))))
    made = (waves * WEIGHTS).sum(1) * numpy.array(list(sizes.values()))[:, None]
    return dict(zip(sizes, made))


def bumps(rng: numpy.random.Generator, frames: int, every: float, length: tuple[float, float]) -> numpy.ndarray:
    """Events [F] in 0..1: raised cosines, one about `every` seconds, of random length in seconds."""
    seconds, curve = numpy.arange(frames) / FPS, numpy.zeros(frames)
    centre = rng.uniform(-every, every)
    while centre < seconds[-1] + every:
        half = rng.uniform(*length) / 2
        near = numpy.clip(numpy.abs(seconds - centre) / half, 0, 1)
        curve = numpy.maximum(curve, 0.5 + 0.5 * numpy.cos(numpy.pi * near))
        centre += half + rng.uniform(0.4, 1.6) * every
    return curve


def saccades(rng: numpy.random.Generator, frames: int, size: float) -> numpy.ndarray:
    """A gaze [F] that rests, and jumps within two frames."""
    jumps = numpy.cumsum(rng.uniform(0.3, 1.6, 3 + int(frames / FPS / 0.6)))
    where = rng.uniform(-size, size, len(jumps) + 1)
    return where[numpy.searchsorted(jumps, numpy.arange(frames) / FPS)]


def blinks(rng: numpy.random.Generator, frames: int) -> numpy.ndarray:
    """How far the lids are open [F], 0.05 to 1."""
    seconds, lids = numpy.arange(frames) / FPS, numpy.ones(frames)
    for start in numpy.cumsum(rng.uniform(0.4, 3.0, 3 + int(frames / FPS))):
        lids = numpy.minimum(lids, numpy.clip(numpy.abs(seconds - start) / 0.13, 0.05, 1))
    return lids


def draw_person_motion(seed: int, who: int, frames: int) -> dict[str, numpy.ndarray]:
    """The tracks [F] of speaker `who`."""
    rng = numpy.random.default_rng([seed, who, 2])
    vigour = rng.uniform(0.7, 1.25)
    tracks = sways(rng, {name: size * vigour for name, size in PERSON.items()}, frames)
    for name in ("tilt", "yaw", "pitch"):
        limit = 2.1 * PERSON[name]
        tracks[name] = limit * numpy.tanh(tracks[name] / limit)
    tracks["gaze_x"], tracks["gaze_y"] = saccades(rng, frames, 0.045), saccades(rng, frames, 0.025)
    tracks["lids"] = blinks(rng, frames)
    tracks["brows"] = 0.06 * bumps(rng, frames, 1.5, (0.5, 1.5)) - 0.01
    for side in "lr":
        tracks[f"shrug_{side}"] = tracks[f"shrug_{side}"] + 0.14 * bumps(rng, frames, 3.0, (0.6, 1.4))
        tracks[f"hand_{side}"] = (rng.random() < HAND_SHARE) * bumps(rng, frames, 2.0, (1.0, 2.8))
    return tracks


def draw_room_motion(seed: int, frames: int) -> dict[str, numpy.ndarray]:
    """The tracks [F] of camera, light and passers-by; in some rooms only the light changes."""
    rng = numpy.random.default_rng([seed, 7])
    still = rng.random() < STILL_ROOMS
    tracks = sways(rng, {name: size * (0.25 if still and name in ("pan_x", "pan_y", "zoom") else 1.0)
                         for name, size in ROOM.items()}, frames)
    seconds = numpy.arange(frames) / FPS
    passes = (not still) and rng.random() < PASSER_SHARE
    speed = rng.choice([-1, 1]) * rng.uniform(0.3, 0.9)
    tracks["passer"] = (rng.uniform(-1, 1) + speed * seconds + 1.7) % 3.4 - 1.7 if passes else numpy.full(frames, 9.0)
    tracks["passer_tone"] = numpy.full(frames, rng.uniform(0.1, 0.7))
    tracks["slide"] = (0.0 if still else rng.uniform(-0.2, 0.2)) * (seconds - seconds[-1] / 2)
    return tracks


def still_person() -> dict[str, numpy.ndarray]:
    """One frame: how people pose for a portrait."""
    tracks = {name: numpy.zeros(1) for name in (*PERSON, "brows", "hand_l", "hand_r")}
    return tracks | {"lids": numpy.ones(1)}


def still_room() -> dict[str, numpy.ndarray]:
    """One frame of the room of a portrait."""
    return {name: numpy.zeros(1) for name in (*ROOM, "slide", "passer_tone")} | {"passer": numpy.full(1, 9.0)}


class Tracks:
    """Tracks of a batch as tensors [B, 1, F, 1, 1], read as attributes."""

    def __init__(self, drawn: list[dict[str, numpy.ndarray]], device: torch.device):
        self.names = list(drawn[0])
        whole = numpy.array([[one[name] for name in self.names] for one in drawn], numpy.float32)  # [B, names, F]
        whole = torch.from_numpy(whole).to(device)
        for number, name in enumerate(self.names):
            setattr(self, name, whole[:, None, number, :, None, None])

    def __getattr__(self, name: str) -> torch.Tensor:
        raise AttributeError(name)
