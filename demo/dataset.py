"""The training set: rendered people whose mouths follow synthetic speech, all from seeds."""

from __future__ import annotations

import multiprocessing
from functools import lru_cache
from pathlib import Path

import numpy
import torch

from .features import audio_features, mouth_opening_curve, window
from .portraits import HELD_OUT_SEED, render_clip, render_portrait
from .speech import speech
from .talker import AUDIO_FRAMES, FRAMES, SIZE

CLIPS_PER_SPEECH = 4
SILENT_SHARE = 0.12
POSED_SHARE = 0.75
HELD_OUT = HELD_OUT_SEED


@lru_cache(maxsize=2)
def speech_features(seed: int) -> torch.Tensor:
    """Features [T50, D] of the whole speech of a seed."""
    return audio_features(*speech(seed))


def draw_sound(seed: int) -> torch.Tensor:
    """The windowed features [AUDIO_FRAMES, D] a clip hears: some stretch of speech, or silence."""
    rng = numpy.random.default_rng([seed, 5])
    features = speech_features(seed // CLIPS_PER_SPEECH if seed < HELD_OUT else seed)
    last = int(features.shape[0] * 16 / 50) - AUDIO_FRAMES
    heard = window(features, AUDIO_FRAMES, int(rng.integers(0, max(1, last))))
    return heard * 0.0 if rng.random() < SILENT_SHARE and seed < HELD_OUT else heard


def draw_reference(seed: int) -> numpy.ndarray:
    """The picture [H, W, 3] given as portrait: mostly posed with closed lips, sometimes mid-speech."""
    rng = numpy.random.default_rng([seed, 6])
    if rng.random() < POSED_SHARE or seed >= HELD_OUT:
        return render_portrait(seed, SIZE)
    return render_clip(seed, rng.random(2) ** 2, SIZE, motion_seed=seed + 1).frames[1]


def make_example(seed: int) -> dict[str, torch.Tensor]:
    """One clip: frames [F,H,W,3] and reference [H,W,3] as uint8, sound [A,D], opening [F]."""
    torch.set_num_threads(1)
    sound = draw_sound(seed)
    opening = mouth_opening_curve(sound)[:FRAMES]
    clip = render_clip(seed, opening.numpy(), SIZE)
    pictures = {"frames": clip.frames, "reference": draw_reference(seed)}
    whole = {name: torch.from_numpy((array * 255).round().astype("uint8")) for name, array in pictures.items()}
    return whole | {"sound": sound, "opening": opening}


def stacked(examples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Examples -> one tensor per name."""
    return {name: torch.stack([example[name] for example in examples]) for name in examples[0]}


def make_dataset(path: Path, count: int, workers: int = 2) -> None:
    """Render `count` clips on all workers into a file, unless it is there."""
    if path.exists():
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        examples = pool.map(make_example, range(count), chunksize=CLIPS_PER_SPEECH * 4)
    torch.save(stacked(examples), path)


def as_video(frames: torch.Tensor) -> torch.Tensor:
    """uint8 [..., F, H, W, 3] -> float [..., 3, F, H, W] in -1..1, the VAE's input."""
    return frames.movedim(-1, -4).float() / 127.5 - 1
