"""Held-out performances by number: a cast, what it says, how the renderer's people move, and what the model is given.

Number n is seed HELD_OUT_SEED + n, a pair where chance says so (of the first ten: 2, 5, 6 and 8).  Needs espeak-ng.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from ..features import LAYERS
from ..portraits import HELD_OUT_SEED
from ..speech import speech
from ..talker import AUDIO_FRAMES
from .sound import heard_and_seen
from .world import Clips, is_pair, perform, portraits


@dataclass(frozen=True)
class Performance:
    """number: of the clip. sound [36 * chunks, D]: what is said. opening float32 [F]: the true mouth of the frames."""

    number: int
    sound: Tensor
    opening: numpy.ndarray

    @property
    def seed(self) -> int:
        return HELD_OUT_SEED + self.number

    @property
    def pair(self) -> bool:
        return is_pair(self.seed)

    @property
    def portrait(self) -> Tensor:
        """[1, H, W, 3] in 0..1."""
        return portraits([self.seed], self.pair).movedim(1, -1).float() / 255

    @property
    def audio_embed(self) -> Tensor:
        """What ComfyUI's S2V node would hand to the model: [1, 25, D, frames]; all layers are the same."""
        return self.sound.T.expand(1, LAYERS, -1, -1)

    def rendered(self, motion_seed: int | None = None) -> Clips:
        """The renderer's own clip; other motion seeds are other performances of the same portrait and sound."""
        motion_seed = self.seed if motion_seed is None else motion_seed
        return perform([self.seed], [motion_seed], self.opening[None], self.pair)


def performance(number: int, chunks: int = 1) -> Performance:
    """A stretch of a sentence that training never heard, silence after its end."""
    rows = AUDIO_FRAMES * chunks
    sound, opening = heard_and_seen(*speech(HELD_OUT_SEED + number))
    start = int(numpy.random.default_rng([HELD_OUT_SEED + number, 5]).integers(max(1, len(opening) - rows + 1)))
    lacking = max(0, rows - len(opening))
    sound = torch.nn.functional.pad(sound, (0, 0, 0, lacking))[start : start + rows]
    opening = torch.nn.functional.pad(opening, (0, lacking))[start : start + rows]
    return Performance(number, sound, opening[: rows - 3].numpy().astype(numpy.float32))
