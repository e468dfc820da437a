"""The audio front-end of the Tiny Talker: 50 Hz features of speech, in plain torch.

Every feature is zero in silence and about one in speech.  "No audio" (zeros, what the host feeds the
negative branch) and silence are therefore the same input, and both mean: mouth closed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy
import torch

FEATURE_RATE = 50
VIDEO_RATE = 16
HOST_RATE = 30
LAYERS = 25
SCALARS = ("loudness", "low", "vowel", "high", "voicing", "murmur", "onset", "jaw", "jaw_speed", "jaw_60ms_ago",
           "jaw_120ms_ago", "jaw_180ms_ago")


@dataclass(frozen=True)
class FrontEnd:
    """Constants of the analysis; changing one of them invalidates trained weights."""

    sample_rate: int = 16_000
    hop: int = 320
    n_fft: int = 1024
    bands: int = 32
    fmin: float = 60.0
    fmax: float = 7600.0
    target_rms: float = 0.1
    quietest_rms: float = 2e-3
    floor_db: float = -55.0
    range_db: float = 30.0
    vowel_hz: tuple[float, float] = (400.0, 1300.0)
    low_hz: tuple[float, float] = (80.0, 400.0)
    high_hz: tuple[float, float] = (3000.0, 7600.0)
    jaw_floor_db: float = -37.0
    jaw_range_db: float = 19.0
    jaw_attack_s: float = 0.030
    jaw_release_s: float = 0.035
    murmur_db: float = 4.0
    murmur_range_db: float = 6.0
    closure_rows: int = 1

    @property
    def audio_dim(self) -> int:
        return self.bands + len(SCALARS)


FRONT_END = FrontEnd()


def mono(waveform: torch.Tensor) -> torch.Tensor:
    """[samples], [channels, samples] or [1, channels, samples] -> float [samples]."""
    waveform = torch.as_tensor(waveform).detach().to("cpu", torch.float32)
    if waveform.ndim == 3:
        waveform = waveform[0]
    return waveform.mean(0) if waveform.ndim == 2 else waveform


def resample(samples: torch.Tensor, rate: int, target: int) -> torch.Tensor:
    """Band-limited resampling of [samples] from rate to target Hz by cutting or padding the spectrum."""
    if rate == target or samples.numel() == 0:
        return samples
    size = max(1, round(samples.numel() * target / rate))
    spectrum = torch.fft.rfft(samples)
    bins = size // 2 + 1
    fitted = torch.zeros(bins, dtype=spectrum.dtype)
    kept = min(bins, spectrum.numel())
    fitted[:kept] = spectrum[:kept]
    return torch.fft.irfft(fitted, n=size) * (size / samples.numel())


def level(samples: torch.Tensor, front_end: FrontEnd = FRONT_END) -> torch.Tensor:
    """Scale [samples] so that its louder frames have the target RMS; near-silence stays near-silent."""
    frames = samples.numel() // front_end.hop
    if frames == 0:
        return samples
    rms = samples[: frames * front_end.hop].view(frames, front_end.hop).square().mean(1).sqrt()
    loud = torch.quantile(rms, 0.9).clamp(min=front_end.quietest_rms)
    return samples * (front_end.target_rms / loud)


def power_spectrum(samples: torch.Tensor, front_end: FrontEnd = FRONT_END) -> torch.Tensor:
    """[samples] -> [T50, n_fft // 2 + 1]; frame t is centred on sample t * hop."""
    count = max(1, math.ceil(samples.numel() / front_end.hop))
    half = front_end.n_fft // 2
    padded = torch.zeros((count - 1) * front_end.hop + front_end.n_fft)
    room = padded.numel() - half
    padded[half : half + min(room, samples.numel())] = samples[:room]
    window = torch.hann_window(front_end.n_fft)
    spectrum = torch.fft.rfft(padded.unfold(0, front_end.n_fft, front_end.hop) * window)
    return spectrum.abs().square() / window.sum().square()


def mel_filters(front_end: FrontEnd = FRONT_END) -> torch.Tensor:
    """Triangular filters [n_fft // 2 + 1, bands], equally spaced on the mel scale."""
    mels = torch.linspace(*(2595 * math.log10(1 + hz / 700) for hz in (front_end.fmin, front_end.fmax)),
                          front_end.bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    hz = torch.linspace(0, front_end.sample_rate / 2, front_end.n_fft // 2 + 1)[:, None]
    rise = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    return torch.minimum(rise, fall).clamp(min=0)


def band_db(power: torch.Tensor, band: tuple[float, float], front_end: FrontEnd = FRONT_END) -> torch.Tensor:
    """Level [T50] in dB of the part of the spectrum between two frequencies in Hz."""
    hz = torch.linspace(0, front_end.sample_rate / 2, power.shape[1])
    inside = (hz >= band[0]) & (hz < band[1])
    return 10 * torch.log10(power[:, inside].sum(1) * 2 + 1e-10)


def above_floor(decibels: torch.Tensor, front_end: FrontEnd = FRONT_END) -> torch.Tensor:
    """dB -> 0 at the floor and below, 1 at floor + range."""
    return ((decibels - front_end.floor_db) / front_end.range_db).clamp(0, 2)


def jaw_curve(power: torch.Tensor, front_end: FrontEnd = FRONT_END) -> torch.Tensor:
    """Mouth opening [T50] in 0..1, from the level of the first-formant band.

    Open vowels carry their energy between 400 and 1300 Hz.  Nasals and voiced stops keep it below, hiss
    keeps it above, silence has none: all of these close the mouth.  Lips meet a little before such a sound and part
    a little after it, so that a closure of 40 ms is not lost between two video frames.  A jaw has mass, hence the
    one-pole follower with its own time constants for opening and closing.
    """
    low = band_db(power, front_end.low_hz, front_end)
    vowel = band_db(power, front_end.vowel_hz, front_end)
    hiss = band_db(power, front_end.high_hz, front_end)
    drive = ((vowel - front_end.jaw_floor_db) / front_end.jaw_range_db).clamp(0, 1)
    drive = drive * ((vowel - hiss + 6) / 12).clamp(0, 1)
    drive = drive * ((vowel - low + front_end.murmur_db) / front_end.murmur_range_db).clamp(0, 1)
    rows = front_end.closure_rows
    drive = -torch.nn.functional.max_pool1d(-drive[None], 2 * rows + 1, 1, rows)[0]
    rates = [1 - math.exp(-1 / (FEATURE_RATE * tau)) for tau in (front_end.jaw_attack_s, front_end.jaw_release_s)]
    position, curve = 0.0, []
    for target in drive.tolist():
        position += (target - position) * rates[0 if target > position else 1]
        curve.append(position)
    return ((torch.tensor(curve) - 0.04) / 0.86).clamp(0, 1)


def earlier(curve: torch.Tensor, rows: int) -> torch.Tensor:
    """A curve [T50] delayed by a number of rows; zero before its beginning."""
    return torch.nn.functional.pad(curve, (rows, 0))[: curve.shape[0]]


def scalars(power: torch.Tensor, front_end: FrontEnd = FRONT_END) -> torch.Tensor:
    """The named scalar features [T50, len(SCALARS)]."""
    loudness = above_floor(band_db(power, (front_end.fmin, front_end.fmax), front_end), front_end)
    low, vowel, high = (above_floor(band_db(power, band, front_end), front_end)
                        for band in (front_end.low_hz, front_end.vowel_hz, front_end.high_hz))
    voicing = (low.maximum(vowel) - high).clamp(0, 1)
    murmur = (low - vowel).clamp(0, 1)
    jaw = jaw_curve(power, front_end)
    change = torch.diff(torch.stack([loudness, jaw]), prepend=torch.zeros(2, 1))
    onset, jaw_speed = change[0].clamp(min=0) * 4, change[1] * 6
    history = [earlier(jaw, rows) * 2 for rows in (3, 6, 9)]
    return torch.stack([loudness, low, vowel, high, voicing * 1.5, murmur * 3, onset, jaw * 2, jaw_speed, *history], 1)


def analyse(waveform: torch.Tensor, rate: int, front_end: FrontEnd = FRONT_END) -> torch.Tensor:
    """Waveform at rate Hz -> power spectrum [T50, bins] of the levelled 16 kHz mono signal."""
    return power_spectrum(level(resample(mono(waveform), rate, front_end.sample_rate), front_end), front_end)


def audio_features(waveform: torch.Tensor, rate: int, front_end: FrontEnd = FRONT_END) -> torch.Tensor:
    """Waveform [channels, samples] at rate Hz -> features [T50, audio_dim]."""
    power = analyse(waveform, rate, front_end)
    mel = 10 * torch.log10(power @ mel_filters(front_end) + 1e-10) + 20
    return torch.cat([above_floor(mel, front_end), scalars(power, front_end)], 1)


def mouth_opening_curve(features: torch.Tensor) -> torch.Tensor:
    """The opening in 0..1 that a mouth shows for features [..., audio_dim] (their jaw feature)."""
    return features[..., FRONT_END.bands + SCALARS.index("jaw")] / 2


def window(features: torch.Tensor, frames: int, offset: int = 0) -> torch.Tensor:
    """What the host's sound-to-video node cuts for a clip: features [T50, D] -> [frames, D] at 16 fps.

    The host interpolates 50 Hz to 30 Hz with aligned corners, picks the 30 Hz row nearest to each video
    frame, and gives zeros past the end of the sound.  `offset` is in video frames.
    """
    length = int(features.shape[0] / FEATURE_RATE * HOST_RATE)
    rows = torch.nn.functional.interpolate(features.T[None], size=length, mode="linear", align_corners=True)[0].T
    picks = numpy.round((offset + numpy.arange(frames)) * (HOST_RATE / VIDEO_RATE)).astype(int)
    inside = torch.from_numpy(picks < length)
    rows = rows[torch.from_numpy(picks.clip(0, length - 1))]
    return rows * inside[:, None]


def host_layers(features: torch.Tensor) -> list[torch.Tensor]:
    """The 25 "hidden states" [1, T50, D] of the host's audio encoder format; ours are all the same."""
    return [features[None]] * LAYERS
