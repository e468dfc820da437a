"""Make the two sample inputs: `python -m demo.make_assets` writes assets/portrait.png and assets/speech.wav."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from PIL import Image

from .features import FRONT_END, resample
from .portraits import HELD_OUT_SEED, render_portrait
from .speech import speak, write_wave
from .talker import FPS, FRAMES, PORTRAIT_FILE, SPEECH_FILE

PORTRAIT_SEED = HELD_OUT_SEED + 19
PORTRAIT_SIZE = 512
SENTENCE = "My papa bought a copper pot."
VOICE, SPEED, PITCH = "en-us+f3", 140, 55
SPARE_SECONDS = 0.05


def trimmed(samples: torch.Tensor, quiet: float = 0.02) -> torch.Tensor:
    """Drop the silence before the first sound of [1, samples]."""
    return samples[:, int((samples[0].abs() > quiet * samples.abs().max()).nonzero()[0]) :]


def sample_speech() -> torch.Tensor:
    """The sample sentence [1, samples] at 16 kHz, exactly as long as one clip and a little."""
    waveform, rate = speak(SENTENCE, VOICE, SPEED, PITCH)
    sound = trimmed(resample(waveform[0], rate, FRONT_END.sample_rate)[None])
    wanted = int((FRAMES / FPS + SPARE_SECONDS) * FRONT_END.sample_rate)
    fitted = torch.zeros(1, wanted)
    fitted[:, : sound.shape[1]] = sound[:, :wanted]
    return fitted


def main(argv: Sequence[str] | None = None) -> None:
    argparse.ArgumentParser(prog="python -m demo.make_assets", description=__doc__).parse_args(argv)
    picture = (render_portrait(PORTRAIT_SEED, PORTRAIT_SIZE) * 255).round().astype("uint8")
    Image.fromarray(picture).save(PORTRAIT_FILE, optimize=True)
    write_wave(SPEECH_FILE, sample_speech(), FRONT_END.sample_rate)


if __name__ == "__main__":
    main()
