"""The audio front-end: silence is zero, the mouth follows vowels. Windows: tests/host/test_audio_windows.py."""

import pytest
import torch

from demo.features import FRONT_END, SCALARS, audio_features, level, mouth_opening_curve, resample
from demo.talker import encode_audio, negative, positive, prepare_portrait

from . import espeak_events


def tone(hertz: float, seconds: float = 1.0, rate: int = 16_000, size: float = 0.3) -> torch.Tensor:
    return size * torch.sin(2 * torch.pi * hertz * torch.arange(int(seconds * rate)) / rate)[None]


def test_silence_is_exactly_zero():
    assert audio_features(torch.zeros(1, 16_000), 16_000).abs().max() == 0


def test_shape_and_rate():
    features = audio_features(tone(700), 16_000)
    assert features.shape == (50, FRONT_END.audio_dim) and FRONT_END.audio_dim == FRONT_END.bands + len(SCALARS)
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("samples", [0, 1, 319, 321])
def test_very_short_sounds(samples):
    assert torch.isfinite(audio_features(torch.ones(1, samples), 16_000)).all()


def test_vowel_band_opens_and_others_close():
    curves = {hz: mouth_opening_curve(audio_features(tone(hz), 16_000)) for hz in (150, 800, 5000)}
    opening = {hz: curve[10:40].mean().item() for hz, curve in curves.items()}
    assert opening[800] > 0.8 and opening[150] < 0.05 and opening[5000] < 0.05


def test_closure_between_vowels():
    sound = torch.cat([tone(800, 0.4), torch.zeros(1, 4_000), tone(800, 0.4)], dim=1)
    curve = mouth_opening_curve(audio_features(sound, 16_000))
    assert curve[15] > 0.8 and curve[30] < 0.2 and curve[48] > 0.8


def test_loudness_of_the_recording_does_not_matter():
    quiet, loud = (audio_features(tone(800, size=size), 16_000) for size in (0.02, 0.5))
    assert torch.allclose(quiet, loud, atol=1e-2)


def test_hiss_of_a_silent_recording_is_not_blown_up():
    noise = 1e-4 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    assert mouth_opening_curve(audio_features(noise, 16_000)).max() == 0
    assert level(noise[0]).abs().max() < 0.05


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_a_tone(rate):
    resampled = resample(tone(440, rate=rate)[0], rate, 16_000)
    assert resampled.shape == (16_000,)
    assert torch.allclose(resampled[1000:-1000], tone(440)[0, 1000:-1000], atol=0.02)


def test_channels_are_mixed():
    stereo = torch.cat([tone(800), tone(800)])
    assert torch.allclose(audio_features(stereo, 16_000), audio_features(tone(800), 16_000), atol=1e-4)
    assert torch.allclose(audio_features(stereo[None], 16_000), audio_features(tone(800), 16_000), atol=1e-4)


def test_encoder_output_has_the_host_layout():
    output = encode_audio(tone(500), 16_000)
    assert len(output["encoded_audio_all_layers"]) == 25 and output["audio_samples"] == 16_000
    assert output["encoded_audio"].shape == (1, 50, FRONT_END.audio_dim)


def test_prompt_embeddings_are_fixed():
    assert positive().shape == negative().shape == (1, 4, 64)
    assert torch.equal(positive(), positive()) and negative().abs().max() == 0
    assert positive().std().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("shape", [(100, 64, 3), (1, 64, 200, 4), (64, 64, 3)])
def test_portraits_are_cropped_square(shape):
    assert prepare_portrait(torch.rand(shape)).shape == (1, 96, 96, 3)



SENTENCES = {"en-us": "My papa bought a copper pot. The baby bakes a warm apple pie.",
             "de": "Mein Papa malt einen bunten Ballon. Bob backt mehr Marmelade.",
             "es": "Mi mamá prepara una manzana. El bombero come más pan."}


@pytest.mark.skipif(espeak_events.library() is None, reason="espeak-ng's library is not installed")
@pytest.mark.parametrize("voice", SENTENCES)
def test_lips_meet_at_p_b_and_m_and_open_at_vowels(voice):
    samples, rate, events = espeak_events.speak(SENTENCES[voice], voice)
    curve = mouth_opening_curve(audio_features(torch.from_numpy(samples)[None], rate))
    spans = [(name, curve[int(50 * start) : max(int(50 * end), int(50 * start) + 1) + 2])
             for (start, name), (end, _) in zip(events, events[1:])]
    closures = [part.min().item() for name, part in spans if name in ("p", "b", "m") and len(part)]
    vowels = [part.max().item() for name, part in spans if name[:1] in ("a", "A", "O") and len(part)]
    assert len(closures) >= 6 and sum(value < 0.1 for value in closures) >= 0.9 * len(closures)
    assert len(vowels) >= 3 and sorted(vowels)[len(vowels) // 2] > 0.5
