"""The avatar's guidance: first text and sound with half-open faces, then sound alone, each falling with time.

In the first fifth the negative has its own text and no sound, and a voice moves its face with 0.6 of its strength. From then
on the negative has the *positive* text and no sound, so that guidance is about the lips only. Facts: the pipeline of the
paper's code, at 50 steps: (1 - i / 50) (7.5 - 2) + 2 for i < 10, then (1 - i / 50) 3 + 3.5.
"""

from dataclasses import dataclass

import comfy.samplers
import node_helpers
import torch

from .model import AUDIO, FACE, entries

# Conditioning changes just before the share, so that no step of a usual schedule falls on the border, where both would hold.
AHEAD = 1e-4


@dataclass(frozen=True)
class Schedule:
    """Guidance from `first` at the start of the run to `last` at its end, in each part; switch: share of the time."""

    text_first: float = 7.5
    text_last: float = 2.0
    audio_first: float = 6.5
    audio_last: float = 3.5
    switch: float = 0.2
    early_face: float = 0.6

    def scale(self, share: float) -> float:
        """Of guidance, after this share of the run's time."""
        early = share < self.switch - AHEAD
        first, last = (self.text_first, self.text_last) if early else (self.audio_first, self.audio_last)
        return last + (1 - share) * (first - last)


class AvatarGuider(comfy.samplers.CFGGuider):
    """CFG whose scale and negative follow a Schedule."""

    def __init__(self, model_patcher, schedule: Schedule):
        super().__init__(model_patcher)
        self.schedule = schedule
        self.set_cfg(schedule.text_first)

    def set_conds(self, positive, negative):
        """Conditioning of both parts, with the host's own time ranges: whoever reads these knows when it changes.

        Raises BadAvatar where it does not come from SyncCache Avatar Conditioning.
        """
        for _, told in (*positive, *negative):
            entries(told)
        border = max(0.0, self.schedule.switch - AHEAD)
        without_sound = [[text, {**told, AUDIO: torch.zeros_like(told[AUDIO])}] for text, told in positive]
        early = (weakened(each, self.schedule.early_face) for each in (positive, negative))
        parts = zip(early, (positive, without_sound))
        super().set_conds(*([*within(first, 0.0, border), *within(then, border, 1.0)] for first, then in parts))

    def predict_noise(self, x, timestep, model_options={}, seed=None):  # noqa: B006 - the host's signature
        shift = self.inner_model.model_sampling.shift
        scale = self.schedule.scale(elapsed(float(timestep.max()), shift))
        return comfy.samplers.sampling_function(
            self.inner_model, x, timestep, self.conds["negative"], self.conds["positive"], scale,
            model_options=model_options, seed=seed,
        )  # fmt: skip


def elapsed(sigma: float, shift: float) -> float:
    """Share of the time that has passed, i / N at step i of N of the "simple" schedule: the shift undone.

    sigma = shift t / (1 + (shift - 1) t), and the time that is left is t.
    """
    return 1 - sigma / (shift - (shift - 1) * sigma)


def weakened(conditioning, strength: float):
    """With faces of this strength."""
    return [[text, {**told, FACE: told[FACE] * strength}] for text, told in conditioning]


def within(conditioning, start: float, end: float):
    """What of it holds between two shares of the time."""
    found = []
    for entry in conditioning:
        told = entry[1]
        low, high = max(start, told.get("start_percent", 0.0)), min(end, told.get("end_percent", 1.0))
        if low < high:
            found += node_helpers.conditioning_set_values([entry], {"start_percent": low, "end_percent": high})
    return found
