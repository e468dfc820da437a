"""Files in and out of the demo: WAV, portrait, MP4 with sound, and a strip of frames."""
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

WATCHABLE = 256  # px: smaller frames are enlarged so that a person can watch them
DECODED_HZ = 48000  # rate of what ffmpeg decodes
PCM = {1: (np.uint8, 128), 2: (np.dtype("<i2"), 0), 4: (np.dtype("<i4"), 0)}  # bytes per sample -> type, zero level

# How files begin that people take for the wanted kind.
MAGIC = {b"ID3": "an MP3 file", b"\xff\xfb": "an MP3 file", b"OggS": "an Ogg file", b"fLaC": "a FLAC file",
         b"RIFF": "a WAV file of another encoding", b"\x89PNG": "a PNG picture", b"\xff\xd8": "a JPEG picture"}


class InputError(ValueError):
    """A file or value that the user gave cannot be used; the text is one line for the user."""


def check_file(path):
    """`path` as a Path, if a file is there."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
    return path


def read_sound(path):
    """A sound file -> (mono float32 [samples] in -1..1, rate in Hz). PCM WAV (8 to 32 bit, any rate and channels) keeps its
    rate; what the `wave` of this Python does not read, such as MP3 or WAV with an extended header, ffmpeg decodes."""
    path = check_file(path)
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate, count = file.getparams()[:4]
            data = file.readframes(count)
    except (wave.Error, EOFError) as error:
        samples, rate = decoded(path, error), DECODED_HZ
    else:
        samples = pcm_to_float(data[: len(data) // width * width], width, path)
        samples = samples[: len(samples) // channels * channels].reshape(-1, channels).mean(1)
    if not len(samples):
        raise InputError(f"{path}: holds no sound (0 samples at {rate} Hz)")
    return samples, rate


def decoded(path, refused):
    """Any sound that ffmpeg reads -> mono float32 [samples] in -1..1 at DECODED_HZ. refused: why `wave` does not read it."""
    try:
        data = ffmpeg("-i", f"file:{path}", "-vn", "-ac", 1, "-ar", DECODED_HZ, "-f", "s32le", "-")
    except InputError as error:
        why = str(refused) or "it ends early"
        raise InputError(f"{path}: not a PCM WAV file ({why}), and ffmpeg finds no sound in it; found {describe(path)}. "
                         "Save it as a 16 bit WAV file") from error
    return pcm_to_float(data, 4)


def pcm_to_float(data, width, path="sound"):
    """PCM bytes of `width` bytes per sample -> float32 [samples] in -1..1."""
    if width == 3:
        triples = np.frombuffer(data, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(triples), 4), np.uint8)
        wide[:, 1:] = triples  # the low byte stays zero: 24 bit becomes 32 bit
        return pcm_to_float(wide.tobytes(), 4)
    if width not in PCM:
        raise InputError(f"{path}: {8 * width} bit samples; 8, 16, 24 and 32 bit are supported")
    kind, zero = PCM[width]
    scale = 2.0 ** (8 * width - 1)
    return ((np.frombuffer(data, kind).astype(np.float64) - zero) / scale).astype(np.float32)


def describe(path):
    """What a file seems to be, by its first bytes."""
    head = path.read_bytes()[:12]
    if head[4:8] == b"ftyp":
        return "an MP4 file"
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), f"{path.stat().st_size} bytes")


def write_wav(path, samples, rate):
    """Mono float [samples] in -1..1 -> a 16 bit WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())


def fit_sound(samples, rate, seconds):
    """Cut the sound [samples], or add silence, so that it lasts `seconds`."""
    length = round(seconds * rate)
    return np.pad(samples[:length], (0, max(0, length - len(samples))))


def read_portrait(path):
    """A PNG, JPEG or WebP file -> float32 [H,W,3] in 0..1, upright where its EXIF says how it was held."""
    path = check_file(path)
    try:
        with Image.open(path) as image:
            return pixels(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:  # "Image size (... pixels) exceeds limit of ... pixels, could be ..."
        raise InputError(f"{path}: too large a picture: {str(error).partition(', could')[0]}") from error
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{path}: not a picture that Pillow can read; found {describe(path)}") from error


def pixels(image):
    """A Pillow picture -> float32 [H,W,3] in 0..1."""
    if image.mode.startswith("I"):  # 16 bit grey, which `convert` cuts off at 255
        grey = np.clip(np.asarray(image, np.float32) / 65535, 0, 1)
        return np.repeat(grey[..., None], 3, -1)
    return np.asarray(image.convert("RGB"), np.float32) / 255.0


def to_bytes(frames):
    """Pixels [...,3] in 0..1 -> uint8."""
    return (np.clip(np.asarray(frames), 0, 1) * 255).round().astype(np.uint8)


def enlarge(frames, least=WATCHABLE):
    """uint8 [F,H,W,3] -> the same enlarged by a whole number, both sides even and the shorter one >= `least` px."""
    factor = max(1, -(-least // min(frames.shape[1:3])))
    height, width = (side * factor // 2 * 2 for side in frames.shape[1:3])
    return np.stack([np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS))
                     for frame in frames])


def ffmpeg(*arguments, data=b""):
    """Run the ffmpeg that imageio-ffmpeg ships, feeding it `data`; what it wrote to its standard output, as bytes."""
    from imageio_ffmpeg import get_ffmpeg_exe
    done = subprocess.run([get_ffmpeg_exe(), "-y", "-loglevel", "error", *map(str, arguments)], input=data,
                          capture_output=True)
    if done.returncode:
        raise InputError(f"{arguments[-1]}: ffmpeg failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def write_video(path, frames, fps, samples=None, rate=None):
    """Frames [F,H,W,3] in 0..1 (and sound [samples]) -> an MP4 file: H.264, yuv420p, AAC, as long as the frames."""
    frames = enlarge(to_bytes(frames))
    height, width = frames.shape[1:3]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", fps, "-i", "-"]
    coding = ["-c:v", "libx264", "-crf", 17, "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    with tempfile.TemporaryDirectory() as folder:
        sound = []
        if samples is not None:
            track = Path(folder, "sound.wav")
            write_wav(track, fit_sound(samples, rate, len(frames) / fps), rate)
            sound = ["-i", track, "-c:a", "aac", "-b:a", "128k"]
        ffmpeg(*source, *sound, *coding, path, data=frames.tobytes())


def mux(video, sound, path):
    """Copy the pictures of one file and add the sound of another, cut to the shorter one."""
    ffmpeg("-i", check_file(video), "-i", check_file(sound), "-map", "0:v:0", "-map", "1:a:0", "-c:v", "copy",
           "-c:a", "aac", "-shortest", "-movflags", "+faststart", path)


def strip(rows, count=8, size=128):
    """{label: frames [F,H,W,3] in 0..1} -> a picture with one row of `count` evenly spaced frames for each label."""
    margin, gap = 24, 4
    font = ImageFont.load_default()
    picture = Image.new("RGB", (count * (size + gap) - gap, len(rows) * (size + margin)), "white")
    draw = ImageDraw.Draw(picture)
    for row, (label, frames) in enumerate(rows.items()):
        top = row * (size + margin)
        draw.text((4, top + 5), label, fill="black", font=font)
        for column, index in enumerate(np.linspace(0, len(frames) - 1, count).round().astype(int)):
            frame = Image.fromarray(to_bytes(frames[index])).resize((size, size), Image.Resampling.LANCZOS)
            picture.paste(frame, (column * (size + gap), top + margin))
    return picture
