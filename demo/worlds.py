"""The worlds that the benches measure on: "tiny", where little is left to chance, and "wild", where the noise decides
how people move.  Both are models of the same class at the same size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zlib import crc32

import numpy
import torch

from .portraits import HELD_OUT_SEED, mouth_box_of, mouth_opening, render_clip, render_portrait
from .scene import CLIP_SECONDS, Scene, make_scene
from .scores import region_masks
from .speech import speech
from .talker import DIT_FILE, SIZE, VAE_FILE
from .wild import seen
from .wild.held_out import Performance, performance
from .wild.talker import ASSETS, DIT, VAE


@dataclass(frozen=True)
class World:
    """scene(number): a held-out portrait, its sound as `audio_embed` and the `opening` that it implies; needs espeak-ng.
    regions(frames): {region: bool [H, W], or [F, H, W] where it follows that video}.  mouth(frames): opening [F] as seen.
    human(number, video): the human mask [F, H, W] in 0..1 of a video of that scene; video() gives its frames, for worlds in
    which its people are where its noise has put them."""

    name: str
    dit: Path
    vae: Path
    scene: Callable[[int], Scene | Performance]
    regions: Callable[[numpy.ndarray], dict[str, numpy.ndarray]]
    mouth: Callable[[numpy.ndarray], numpy.ndarray]
    human: Callable[[int, Callable[[], numpy.ndarray]], torch.Tensor]

    @property
    def weights(self) -> int:
        """Tells these weights from others."""
        return checksum(self.dit, self.vae)


@lru_cache(maxsize=None)
def checksum(*files: Path) -> int:
    found = 0
    for file in files:
        found = crc32(file.read_bytes(), found)
    return found


@lru_cache(maxsize=None)
def tiny_scene(number: int) -> Scene:
    """A portrait and a stretch of speech that training never saw."""
    waveform, rate = speech(HELD_OUT_SEED + number)
    spare = max(0.0, waveform.shape[-1] / rate - CLIP_SECONDS)
    start = int(numpy.random.default_rng([number, 11]).uniform(0, spare) * rate)
    sound = waveform[0, start : start + int(numpy.ceil(CLIP_SECONDS * rate))].numpy()
    return make_scene(render_portrait(HELD_OUT_SEED + number), sound, rate)


def tiny_human(number: int, video: Callable[[], numpy.ndarray]) -> torch.Tensor:
    return torch.from_numpy(render_clip(HELD_OUT_SEED + number, tiny_scene(number).opening, SIZE).human_mask)


def wild_human(number: int, video: Callable[[], numpy.ndarray]) -> torch.Tensor:
    return torch.from_numpy(seen.regions(video())["human"]).float()


WORLDS = {
    "tiny": World("tiny", DIT_FILE, VAE_FILE, tiny_scene, lambda frames: region_masks(frames.shape[1]),
                  lambda frames: mouth_opening(frames, mouth_box_of(frames.shape[1])), tiny_human),
    "wild": World("wild", ASSETS / DIT, ASSETS / VAE, lru_cache(maxsize=None)(performance), seen.regions,
                  seen.mouth_curve, wild_human),
}
