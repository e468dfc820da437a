"""Synthetic speech for training: espeak-ng reading sentences made up here, many voices, all seeded."""

from __future__ import annotations

import shutil
import subprocess
import wave
from pathlib import Path

import numpy
import torch

VOICES = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "de", "fr-fr", "es", "it", "pt-br", "nl", "sv", "pl")
VARIANTS = ("", "+m1", "+m3", "+m5", "+m7", "+f1", "+f2", "+f3", "+f4", "+f5")
OPENERS = ("well", "today", "my friend", "listen", "perhaps", "in the morning", "after all", "suddenly", "please")
SUBJECTS = ("the papa bear", "my mother", "a small robot", "the mayor", "our baby", "the band", "a happy farmer",
            "bob", "the moon", "every map", "the market", "a bubble")
VERBS = ("makes", "bakes", "remembers", "watches", "follows", "wants", "opens", "imagines", "shows", "carries", "hums")
OBJECTS = ("a warm apple pie", "the open window", "a purple balloon", "more jam", "the long road home", "a calm ocean",
           "five paper boats", "the bottom of the map", "a song about a mouse", "nothing at all", "a proper breakfast")
PAUSES = (", ", "... ", ". ", " and then ", " ")


def sentence(seed: int, clauses: int = 3) -> str:
    """A grammatical, mildly absurd sentence with plenty of lip closures and some pauses."""
    rng = numpy.random.default_rng([seed, 3])
    pick = lambda words: words[rng.integers(len(words))]  # noqa: E731
    parts = [f"{pick(OPENERS)}{pick(PAUSES)}{pick(SUBJECTS)} {pick(VERBS)} {pick(OBJECTS)}" for _ in range(clauses)]
    return pick(PAUSES).join(parts) + "."


def speak(text: str, voice: str, speed: int, pitch: int) -> tuple[torch.Tensor, int]:
    """Let espeak-ng read a text: waveform [1, samples] and its rate in Hz."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise FileNotFoundError("espeak-ng is needed to make training speech")
    command = [program, "--stdout", "-v", voice, "-s", str(speed), "-p", str(pitch), text]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    # espeak writes a streaming header whose lengths are not filled in: the samples follow its 44 bytes.
    rate = int.from_bytes(data[24:28], "little")
    samples = numpy.frombuffer(data[44 : len(data) - len(data) % 2], "<i2").astype(numpy.float32) / 32768
    return torch.from_numpy(samples)[None], rate


def speech(seed: int) -> tuple[torch.Tensor, int]:
    """The speech of a seed: sentence, voice, speed (words a minute) and pitch all follow from it."""
    rng = numpy.random.default_rng([seed, 4])
    voice = VOICES[rng.integers(len(VOICES))] + VARIANTS[rng.integers(len(VARIANTS))]
    return speak(sentence(seed), voice, int(rng.integers(85, 145)), int(rng.integers(25, 75)))


def write_wave(path: Path, waveform: torch.Tensor, rate: int) -> None:
    """Waveform [1, samples] -> 16-bit mono WAV."""
    samples = (waveform[0].clamp(-1, 1) * 32767).round().to(torch.int16).numpy()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
