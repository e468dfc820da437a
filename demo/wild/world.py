"""Performances of the wild world, from seeds: clips, their portraits, and the truth about them.

One seed is a cast in a room; a motion seed is a way to move; openings say what the mouths do.  None of the three knows
of the others, so the portrait cannot tell how people will move, and neither can the sound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from ..people import MOUTH_DROP, MOUTH_WIDTH, MOUTH_Y
from ..portraits import HELD_OUT_SEED
from ..talker import SIZE
from .canvas import Canvas, View
from .cast import Traits, draw_person, draw_room
from .motion import Tracks, draw_person_motion, draw_room_motion, still_person, still_room
from .people import NECK_Y, paint_person, pivot_of, place_of
from .room import light_everything, paint_room

PAIR_SHARE = 0.3
SINGLE = ((0.0, 0.06, 0.78),)
PAIR = ((-0.46, 0.20, 0.54), (0.46, 0.20, 0.54))  # centre and scale of each speaker
POSE = ("opening", "x", "y", "scale", "tilt", "yaw", "pitch", "lids", "mouth_x", "mouth_y")
QUIET = 0.06  # an opening below this is a closed mouth
PAUSE_FRAMES = 5  # closed for so long, and it is the other one's turn


@dataclass(frozen=True)
class Clips:
    """A batch of performances of K speakers. frames uint8 [B, 3, F, H, W]; masks uint8 [B, K, F, H, W];
    pose [B, K, F, len(POSE)]: canvas units -1..1, radians; mouths bool [B, F, H / 8, W / 8]: cells with a mouth."""

    frames: Tensor
    masks: Tensor
    pose: Tensor
    mouths: Tensor

    def mouth_boxes(self, clip: int, who: int) -> numpy.ndarray:
        """Whole pixels y0, y1, x0, x1 [F, 4] around the mouth of a speaker, open or closed."""
        return boxes_of(self.pose[clip, who], self.frames.shape[-1])


def is_pair(seed: int) -> bool:
    """Whether a seed's cast is two people."""
    return float(numpy.random.default_rng([seed, 10]).random()) < PAIR_SHARE


def places(pair: bool) -> tuple[tuple[float, float, float], ...]:
    return PAIR if pair else SINGLE


def turns(opening: numpy.ndarray, first: int) -> numpy.ndarray:
    """The openings [2, F] of two people who share the speech of an opening curve [F]: each pause passes the turn on."""
    quiet = numpy.concatenate([[False], opening < QUIET, [False]])
    edges = numpy.flatnonzero(quiet[1:] != quiet[:-1]).reshape(-1, 2)
    speaker, since = numpy.full(len(opening), first), first
    for start, end in edges:
        if end - start >= PAUSE_FRAMES and start > 0 and end < len(opening):
            since = 1 - since
            speaker[(start + end) // 2 :] = since
    return numpy.stack([opening * (speaker == who) for who in (0, 1)]).astype(numpy.float32)


def shared_openings(opening: numpy.ndarray, motion_seed: int, pair: bool) -> numpy.ndarray:
    """Openings [K, F] of the cast for the speech's [F]; chance says who begins."""
    if not pair:
        return opening[None].astype(numpy.float32)
    return turns(opening, int(numpy.random.default_rng([motion_seed, 11]).integers(2)))


def perform(seeds: list[int], motion_seeds: list[int], openings: numpy.ndarray, pair: bool, size: int = SIZE,
            device: torch.device | str = "cpu") -> Clips:
    """Clips of casts that are all pairs or all single; openings [B, F] of their speech."""
    device, frames = torch.device(device), openings.shape[1]
    heard = [shared_openings(opening, seed, pair) for opening, seed in zip(openings, motion_seeds)]
    people = [Tracks([draw_person_motion(seed, who, frames) for seed in motion_seeds], device)
              for who in range(1 + pair)]
    room = Tracks([draw_room_motion(seed, frames) for seed in motion_seeds], device)
    return film(seeds, people, room, torch.from_numpy(numpy.stack(heard)).to(device), size)


def portraits(seeds: list[int], pair: bool, size: int = SIZE, device: torch.device | str = "cpu") -> Tensor:
    """The pictures uint8 [B, 3, H, W] that say who: straight, eyes open, mouths closed."""
    device = torch.device(device)
    people = [Tracks([still_person()] * len(seeds), device) for _ in range(1 + pair)]
    room = Tracks([still_room()] * len(seeds), device)
    return film(seeds, people, room, torch.zeros(len(seeds), 1 + pair, 1, device=device), size).frames[:, :, 0]


@torch.no_grad()
def film(seeds: list[int], people: list[Tracks], room: Tracks, openings: Tensor, size: int) -> Clips:
    """Paint a batch: tracks per speaker and of the room, openings [B, K, F]."""
    device = openings.device
    canvas = Canvas(len(seeds), openings.shape[2], size, device)
    paint_room(canvas, Traits([draw_room(seed) for seed in seeds], device), room)
    masks, poses = [], []
    for who, (tracks, place) in enumerate(zip(people, places(len(people) == 2))):
        traits = Traits([draw_person(seed, who) for seed in seeds], device)
        tracks.light_x, tracks.light_y = room.light_x, room.light_y
        zoom = room.zoom.exp()
        scale = place[2] * tracks.depth.exp() * zoom
        middle = ((place[0] - room.pan_x) * zoom, (place[1] - room.pan_y) * zoom)
        view = View(canvas, (canvas.x - middle[0]) / scale, (canvas.y - middle[1]) / scale, scale)
        opening = openings[:, who, None, :, None, None]
        paint_person(view, traits, tracks, opening)
        masks = [mask * (1 - view.mask) for mask in masks] + [view.mask]
        poses.append(pose_of(traits, tracks, opening, middle, scale))
    light_everything(canvas, room)
    pose = torch.stack(poses, 1)
    as_bytes = lambda picture: (picture * 255).round().to(torch.uint8)  # noqa: E731
    return Clips(as_bytes(canvas.picture), as_bytes(torch.cat(masks, 1)), pose, mouth_cells(pose, size))


def pose_of(traits: Traits, tracks: Tracks, opening: Tensor, middle: tuple[Tensor, Tensor], scale: Tensor) -> Tensor:
    """The truth [B, F, len(POSE)] about one speaker, in canvas units and radians."""
    on_canvas = lambda point: (middle[0] + scale * point[0], middle[1] + scale * point[1])  # noqa: E731
    pivot, mouth = pivot_of(tracks), place_of(traits, tracks, 0.0, MOUTH_Y)
    x, y = on_canvas((pivot[0] + NECK_Y * tracks.tilt.sin(), pivot[1] - NECK_Y * tracks.tilt.cos()))
    every = (opening, x, y, scale, tracks.tilt, tracks.yaw, tracks.pitch, tracks.lids, *on_canvas(mouth))
    frames = max(part.shape[2] for part in every)
    return torch.stack([part[:, 0, :, 0, 0].expand(len(scale), frames) for part in every], -1)


def boxes_of(pose: Tensor, size: int) -> numpy.ndarray:
    """Pose [F, len(POSE)] -> whole pixels y0, y1, x0, x1 [F, 4] around the mouth, open or closed."""
    x, y, scale = (pose[:, POSE.index(name)].cpu().numpy() for name in ("mouth_x", "mouth_y", "scale"))
    edges = (y - 0.13 * scale, y + (MOUTH_DROP + 0.10) * scale, x - (MOUTH_WIDTH + 0.06) * scale,
             x + (MOUTH_WIDTH + 0.06) * scale)
    return numpy.stack([numpy.clip(numpy.round((edge + 1) * size / 2), 0, size) for edge in edges], 1).astype(int)


def mouth_cells(pose: Tensor, size: int) -> Tensor:
    """Pose [B, K, F, P] -> which cells of 8 pixels hold a mouth, bool [B, F, size / 8, size / 8]."""
    x, y, scale = (pose[..., POSE.index(name), None] for name in ("mouth_x", "mouth_y", "scale"))
    cells = (torch.arange(size // 8, device=pose.device) + 0.5) * 16 / size - 1
    half = 8 / size
    across = (cells - x).abs() < half + (MOUTH_WIDTH + 0.03) * scale
    down = (cells - y - 0.1 * scale).abs() < half + 0.20 * scale
    return (down[..., :, None] & across[..., None, :]).any(1)


def held_out(seed: int) -> bool:
    return seed >= HELD_OUT_SEED
