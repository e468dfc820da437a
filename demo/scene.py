"""What the demo films: one portrait, one sound, and the settings of the sampler."""
from dataclasses import dataclass, field

import numpy as np
import torch

from .features import LAYERS, audio_features, mouth_opening_curve, window
from .media import InputError, fit_sound, read_portrait, read_sound
from .talker import AUDIO_FRAMES, FPS, FRAMES, prepare_portrait

CLIP_SECONDS = FRAMES / FPS


@dataclass(frozen=True)
class Settings:
    """How to sample; the same for the plain and the accelerated run."""

    steps: int = 40
    guidance: float = 2.0
    shift: float = 8.0
    seed: int = 0


@dataclass(frozen=True)
class Scene:
    """portrait [1,96,96,3] in 0..1. sound: the whole recording [samples] at `rate` Hz, at least one clip long."""

    portrait: torch.Tensor
    sound: torch.Tensor
    rate: int
    notes: list = field(default_factory=list)

    @property
    def features(self):
        """The sound's features at 50 Hz, [T50, A]."""
        return audio_features(self.sound[None], self.rate)

    @property
    def audio_embed(self):
        """What ComfyUI's S2V node would hand to the model: [1, 25, A, frames] at 16 Hz; all layers are the same."""
        return window(self.features, AUDIO_FRAMES).T.expand(1, LAYERS, -1, -1)

    @property
    def opening(self):
        """The mouth opening [F] in 0..1 that the sound implies."""
        return mouth_opening_curve(window(self.features, FRAMES)).numpy()


def option_error(option, error):
    """An InputError that says which option it is about; the error names the file."""
    return InputError(f"{option}: {error}")


def read_scene(audio, portrait):
    """Read both files, or raise an InputError that names the option."""
    try:
        sound, rate = read_sound(audio)
    except InputError as error:
        raise option_error("--audio", error) from error
    try:
        picture = read_portrait(portrait)
    except InputError as error:
        raise option_error("--portrait", error) from error
    return make_scene(picture, sound, rate)


def make_scene(picture, sound, rate):
    """picture [H,W,3] in 0..1 and sound [samples] -> a Scene, with notes on what was cut or added."""
    seconds, notes = len(sound) / rate, []
    if seconds > CLIP_SECONDS + 0.01:
        notes.append(f"the sound lasts {seconds:.2f} s: its first {CLIP_SECONDS:.2f} s are used")
    elif seconds < CLIP_SECONDS - 0.01:
        notes.append(f"the sound lasts {seconds:.2f} s: silence follows, up to {CLIP_SECONDS:.2f} s")
        sound = fit_sound(sound, rate, CLIP_SECONDS)
    if picture.shape[0] != picture.shape[1]:
        notes.append("the portrait is not square: its centre is used")
    whole = torch.from_numpy(np.ascontiguousarray(sound, dtype=np.float32))
    return Scene(prepare_portrait(torch.from_numpy(picture)), whole, rate, notes)
