"""What the Wild Talker hears: mel bands alone, and the bank of sentences that it was trained on.

The model must learn by itself which sounds close the lips.  A video frame at 16 fps is given the bands of three rows of
20 ms around it, because a closure of 40 ms would fall between two frames.
"""

from __future__ import annotations

from pathlib import Path

import numpy
import torch

from ..features import FRONT_END, above_floor, analyse, jaw_curve, mel_filters, window
from ..portraits import HELD_OUT_SEED

ROWS = (-1, 0, 1)  # which neighbours of a 50 Hz row are stacked
AUDIO_DIM = FRONT_END.bands * len(ROWS)
SILENT_SHARE = 0.08
STEP = 2 / 255  # features are stored as bytes, 0..2


def stacked_bands(power: torch.Tensor) -> torch.Tensor:
    """Power spectrum [T50, bins] -> mel bands of every row and of its neighbours [T50, AUDIO_DIM]: zero in
    silence, about one in speech."""
    mel = above_floor(10 * torch.log10(power @ mel_filters() + 1e-10) + 20)
    padded = torch.nn.functional.pad(mel, (0, 0, 1, 1))
    return torch.cat([padded[1 + row : 1 + row + len(mel)] for row in ROWS], 1)


def heard_and_seen(waveform: torch.Tensor, rate: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A whole speech at 16 fps: features [T16, AUDIO_DIM] and the mouth's true opening [T16]."""
    power = analyse(waveform, rate)
    both = torch.cat([stacked_bands(power), jaw_curve(power)[:, None]], 1)
    both = window(both, int(len(both) * 16 / 50))
    return both[:, :-1], both[:, -1]


def make_bank(path: Path, count: int, held_out: int) -> None:
    """Write the features and openings of `count` training and `held_out` other sentences, as bytes."""
    from ..speech import speech

    seeds = [*range(count), *(HELD_OUT_SEED + number for number in range(held_out))]
    found = []
    for seed in seeds:
        waveform, rate = speech(seed)
        found.append([array.numpy() for array in heard_and_seen(waveform, rate)])
    features = numpy.concatenate([one[0] for one in found])
    opening = numpy.concatenate([one[1] for one in found])
    path.parent.mkdir(parents=True, exist_ok=True)
    numpy.savez_compressed(path, features=(features / STEP).round().clip(0, 255).astype(numpy.uint8),
                           opening=(opening * 255).round().astype(numpy.uint8), train=count,
                           lengths=numpy.array([len(one[1]) for one in found]))


class Bank:
    """Sentences at 16 fps, drawn from by seed; seeds from HELD_OUT_SEED on hear sentences of their own."""

    def __init__(self, path: Path):
        with numpy.load(path) as file:
            self.features, self.opening = file["features"], file["opening"]
            self.lengths, self.train = file["lengths"], int(file["train"])
        self.starts = numpy.concatenate([[0], numpy.cumsum(self.lengths)])

    def draw(self, seed: int, rows: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Features uint8 [rows, AUDIO_DIM] and opening float [rows] of a stretch of speech, at times silence."""
        rng = numpy.random.default_rng([seed, 5])
        held_out = seed >= HELD_OUT_SEED
        first, last = (self.train, len(self.lengths)) if held_out else (0, self.train)
        fitting = first + numpy.flatnonzero(self.lengths[first:last] >= rows)
        chosen = fitting[(seed - HELD_OUT_SEED) % len(fitting)] if held_out else rng.choice(fitting)
        start = self.starts[chosen] + int(rng.integers(self.lengths[chosen] - rows + 1))
        heard, seen = self.features[start : start + rows], self.opening[start : start + rows] / 255
        if rng.random() < SILENT_SHARE and not held_out:
            return heard * 0, seen * 0
        return heard, seen.astype(numpy.float32)


def as_features(stored: torch.Tensor) -> torch.Tensor:
    """Bytes -> the features that the model hears."""
    return stored.float() * STEP
