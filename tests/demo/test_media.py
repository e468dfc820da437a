"""Reading speech and portraits, writing videos and strips."""
import struct
import subprocess
import wave

import numpy as np
import pytest
from PIL import Image

from demo import media
from demo.scene import read_scene

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")


def save_wav(path, data, width, channels=1, rate=16000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return path


def encode(samples, width):
    """Float samples -> PCM bytes."""
    if width == 1:
        return np.round(samples * 127 + 128).astype(np.uint8).tobytes()
    whole = np.round(samples * (2 ** (8 * width - 1) - 1)).astype("<i4")
    return b"".join(int(value).to_bytes(width, "little", signed=True) for value in whole)


def tone(count=1600, rate=16000):
    return 0.5 * np.sin(2 * np.pi * 200 * np.arange(count) / rate)


def probe(path):
    """What ffmpeg says about a file."""
    done = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, text=True)
    return done.stderr


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("rate", [8000, 44100])
def test_wav_of_every_width(tmp_path, width, rate):
    path = save_wav(tmp_path / "a b.wav", encode(tone(), width), width, rate=rate)
    samples, found = media.read_sound(path)
    assert found == rate and samples.dtype == np.float32
    np.testing.assert_allclose(samples, tone(), atol=1.1 / 2 ** (8 * width - 1) + 1e-6 if width > 1 else 0.01)


def save_extensible(path, samples, channels=1, rate=48000):
    """24 bit samples [count] under WAVE_FORMAT_EXTENSIBLE, in so many equal channels, as recorders and editors save them."""
    data = b"".join(encode(samples[i : i + 1], 3) * channels for i in range(len(samples)))
    frame = 3 * channels
    head = struct.pack("<HHIIHHHHIHH", 0xFFFE, channels, rate, rate * frame, frame, 24, 22, 24, (1 << channels) - 1, 1, 0)
    head += bytes.fromhex("000000001000800000aa00389b71")[2:]  # the rest of the GUID that says PCM
    chunks = b"fmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_wav_with_an_extended_header(tmp_path, channels):
    samples, rate = media.read_sound(save_extensible(tmp_path / "a b.wav", tone(4800, 48000), channels))
    assert rate == 48000 and samples.dtype == np.float32 and samples.shape == (4800,)
    np.testing.assert_allclose(samples, tone(4800, 48000), atol=1e-6)


@pytest.mark.parametrize("name", ["s.mp3", "s.m4a", "s.flac"])
def test_sound_that_is_no_wav(tmp_path, name):
    media.write_wav(tmp_path / "s.wav", tone(16000), 16000)
    media.ffmpeg("-i", tmp_path / "s.wav", tmp_path / name)
    samples, rate = media.read_sound(tmp_path / name)
    assert abs(len(samples) / rate - 1) < 0.1 and 0.45 < np.abs(samples).max() < 0.6


def test_channels_are_averaged(tmp_path):
    both = np.stack([tone(), -tone()], 1).reshape(-1)
    samples, _ = media.read_sound(save_wav(tmp_path / "stereo.wav", encode(both, 2), 2, channels=2))
    assert samples.shape == (1600,) and np.abs(samples).max() < 1e-3


@pytest.mark.parametrize(("content", "found"), [
    (b"", "0 bytes"), (b"ID3\x04 and so on", "an MP3 file"), (b"OggS....", "an Ogg file"),
    (b"fLaC....", "a FLAC file"), (b"....ftypM4A ", "an MP4 file"),
    (b"RIFF\x04\0\0\0WAVE", "a WAV file of another encoding")])
def test_other_sound_files_are_named(tmp_path, content, found):
    path = tmp_path / "speech.wav"
    path.write_bytes(content)
    with pytest.raises(media.InputError, match=rf"speech\.wav: not a PCM WAV file .*found {found}.* Save it as"):
        media.read_sound(path)


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(media.InputError, match="no such file"):
        media.read_sound(tmp_path / "none.wav")
    with pytest.raises(media.InputError, match="is a folder"):
        media.read_portrait(tmp_path)
    with pytest.raises(media.InputError, match="holds no sound"):
        media.read_sound(save_wav(tmp_path / "empty.wav", b"", 2))


def test_wav_that_was_cut_off_is_read_up_to_there(tmp_path):
    path = save_wav(tmp_path / "cut.wav", encode(tone(), 2), 2, channels=2)
    path.write_bytes(path.read_bytes()[:-3])
    assert media.read_sound(path)[0].shape == (799,)


def test_sound_is_cut_or_padded():
    assert media.fit_sound(np.ones(100), 10, 5).tolist() == [1.0] * 50
    assert media.fit_sound(np.ones(10), 10, 2).tolist() == [1.0] * 10 + [0.0] * 10


@pytest.mark.parametrize(("mode", "suffix"), [("RGB", "png"), ("RGBA", "png"), ("L", "jpg"), ("P", "png")])
def test_portraits(tmp_path, mode, suffix):
    path = tmp_path / f"face.{suffix}"
    Image.new("RGB", (20, 30), (255, 255, 255)).convert(mode).save(path)
    picture = media.read_portrait(path)
    assert picture.shape == (30, 20, 3) and picture.dtype == np.float32 and picture.min() > 0.98


def test_a_phones_portrait_stands_upright(tmp_path):
    """Orientation 6: held so that what lies left in the file is the top."""
    lying, exif = Image.new("RGB", (40, 20), "black"), Image.Exif()
    lying.paste("white", (0, 0, 20, 20))
    exif[0x112] = 6
    lying.save(tmp_path / "face.png", exif=exif)
    picture = media.read_portrait(tmp_path / "face.png")
    assert picture.shape == (40, 20, 3) and picture[:20].min() == 1 and picture[20:].max() == 0


def test_a_grey_portrait_of_16_bit(tmp_path):
    Image.fromarray(np.array([[0, 13107, 65535]], np.uint16)).save(tmp_path / "face.png")
    picture = media.read_portrait(tmp_path / "face.png")
    np.testing.assert_allclose(picture, np.array([0, 0.2, 1])[None, :, None].repeat(3, -1), atol=1e-6)


def test_too_large_a_portrait_is_named(tmp_path, monkeypatch):
    Image.new("L", (30, 20)).save(tmp_path / "face.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses more than twice as many
    with pytest.raises(media.InputError, match=r"--portrait: .*face\.png: too large a picture: .*600 pixels.* 200 pixels$"):
        read_scene(save_wav(tmp_path / "a.wav", encode(tone(), 2), 2), tmp_path / "face.png")


def test_broken_portrait_is_named(tmp_path):
    path = tmp_path / "face.png"
    path.write_bytes(b"not a picture")
    with pytest.raises(media.InputError, match=r"face\.png: not a picture .*13 bytes"):
        media.read_portrait(path)


def test_video_has_pictures_and_sound_of_one_length(tmp_path):
    frames = np.linspace(0, 1, 33)[:, None, None, None] * np.ones((33, 64, 64, 3))
    path = tmp_path / "talk ing.mp4"
    media.write_video(path, frames, 16, tone(80000), 16000)
    told = probe(path)
    assert "h264" in told and "yuv420p" in told and "256x256" in told and "16 fps" in told and "Audio: aac" in told
    assert "Duration: 00:00:02.0" in told


def test_video_without_sound_and_mux(tmp_path):
    frames = np.zeros((8, 300, 301, 3))
    media.write_video(tmp_path / "silent.mp4", frames, 16)
    media.write_wav(tmp_path / "tone.wav", tone(16000), 16000)
    media.mux(tmp_path / "silent.mp4", tmp_path / "tone.wav", tmp_path / "both.mp4")
    assert "Audio" not in probe(tmp_path / "silent.mp4") and "300x300" in probe(tmp_path / "silent.mp4")
    assert "Audio: aac" in probe(tmp_path / "both.mp4")


def test_unwritable_video_is_named(tmp_path):
    with pytest.raises(media.InputError, match="ffmpeg failed"):
        media.write_video(tmp_path / "no/such/folder.mp4", np.zeros((2, 64, 64, 3)), 16)


@pytest.mark.parametrize(("size", "expected"), [
    ((64, 64), (256, 256)), ((64, 96), (256, 384)), ((257, 301), (256, 300))])
def test_small_frames_are_enlarged(size, expected):
    assert media.enlarge(np.zeros((2, *size, 3), np.uint8)).shape == (2, *expected, 3)


def test_strip_shows_rows_of_frames():
    rows = {"plain": np.zeros((33, 64, 64, 3)), "accelerated": np.ones((33, 64, 64, 3))}
    picture = np.asarray(media.strip(rows, count=5, size=32))
    assert picture.shape == (2 * (32 + 24), 5 * 36 - 4, 3)
    assert picture[40, 16].tolist() == [0, 0, 0] and picture[100, 16].tolist() == [255, 255, 255]
