"""What a seed decides once and for all about the people and the room: the traits that the portrait shows."""

from __future__ import annotations

import numpy
import torch

from ..people import HAIR_STYLES, HAIRS, IRISES, SKINS

PATTERNS = ("plain", "stripes", "bars", "checks", "dots", "knit")
WALLS = ("plain", "stripes", "boards", "tiles", "dots")
THINGS = 3  # pictures on the wall


def colour(rng: numpy.random.Generator, palette: tuple[tuple[float, ...], ...], spread: float = 0.03) -> numpy.ndarray:
    """A colour near one of a palette."""
    return numpy.clip(numpy.array(palette[rng.integers(len(palette))]) + rng.uniform(-spread, spread, 3), 0, 1)


def cloth(rng: numpy.random.Generator) -> numpy.ndarray:
    return numpy.clip(rng.uniform(0.15, 0.9) * rng.dirichlet([2, 2, 2]) * 2.2, 0.05, 0.95)


def one_of(rng: numpy.random.Generator, name: str, choices: tuple[str, ...], shares: tuple[float, ...]) -> dict[str, float]:
    """A choice as one number per possibility."""
    chosen = choices[rng.choice(len(choices), p=shares)]
    return {f"{name}_{choice}": float(choice == chosen) for choice in choices}


def draw_person(seed: int, who: int = 0) -> dict[str, numpy.ndarray | float]:
    """The traits of speaker `who` of a seed."""
    rng = numpy.random.default_rng([seed, who, 1])
    skin = colour(rng, SKINS)
    style = one_of(rng, "style", HAIR_STYLES, (.22, .2, .18, .2, .12, .08))
    clothes, trim = cloth(rng), cloth(rng)
    if numpy.abs(clothes - trim).sum() < 0.5:
        trim = numpy.clip(1.0 - clothes, 0.05, 0.95)
    return {
        "skin": skin, "hair": colour(rng, HAIRS), "iris": colour(rng, IRISES),
        "lips": numpy.clip(skin * (0.90, 0.52, 0.52) + (0.04, 0.0, 0.02), 0, 1), "clothes": clothes, "trim": trim,
        **style, **one_of(rng, "cloth", PATTERNS, (.2, .2, .15, .15, .15, .15)),
        "width": rng.uniform(0.48, 0.57), "height": rng.uniform(0.68, 0.76), "eye_gap": rng.uniform(0.20, 0.24),
        "brow_tilt": rng.uniform(-0.14, 0.14), "brow_thick": rng.uniform(0.018, 0.034),
        "glasses": float(rng.random() < 0.2), "beard": float(rng.random() < 0.15), "collar": float(rng.random() < 0.4),
        "pitch_of_cloth": rng.uniform(26, 40), "strands": rng.uniform(22, 34), "strand_depth": rng.uniform(0.1, 0.3),
    }


def draw_room(seed: int) -> dict[str, numpy.ndarray | float]:
    """The traits of the room of a seed."""
    rng = numpy.random.default_rng([seed, 8])
    wall = numpy.clip(rng.uniform(0.3, 0.9) + rng.uniform(-0.2, 0.2, 3), 0.05, 1)
    room = {
        "wall": wall,
        "wall2": numpy.clip(wall + rng.choice([-1, 1]) * rng.uniform(0.1, 0.3) + rng.uniform(-.1, .1, 3), 0, 1),
        "floor": numpy.clip(rng.uniform(0.2, 0.7) + rng.uniform(-0.2, 0.2, 3), 0, 1),
        **one_of(rng, "wall", WALLS, (.2, .2, .2, .2, .2)),
        "wall_pitch": rng.uniform(9, 20), "slant": rng.uniform(-0.5, 0.5), "rail": rng.uniform(0.15, 0.7),
        "window": float(rng.random() < 0.45), "window_x": rng.choice([-1, 1]) * rng.uniform(0.55, 0.95),
        "window_y": rng.uniform(-0.6, -0.2),
    }
    for number in range(THINGS):
        room |= {f"thing{number}": float(rng.random() < 0.6), f"thing{number}_x": rng.uniform(-1.3, 1.3),
                 f"thing{number}_y": rng.uniform(-0.9, 0.1), f"thing{number}_w": rng.uniform(0.13, 0.30),
                 f"thing{number}_h": rng.uniform(0.13, 0.36), f"thing{number}_frame": rng.uniform(0.1, 0.9, 3),
                 f"thing{number}_inside": rng.uniform(0.1, 0.95, 3), f"thing{number}_pitch": rng.uniform(8, 22)}
    return room


class Traits:
    """Traits of a batch as tensors: numbers [B, 1, 1, 1, 1], colours [B, 3, 1, 1, 1], read as attributes."""

    def __init__(self, drawn: list[dict[str, numpy.ndarray | float]], device: torch.device):
        for name in drawn[0]:
            values = numpy.stack([numpy.atleast_1d(numpy.asarray(one[name], numpy.float32)) for one in drawn])
            setattr(self, name, torch.from_numpy(values)[:, :, None, None, None].to(device))

    def __getattr__(self, name: str) -> torch.Tensor:
        raise AttributeError(name)
