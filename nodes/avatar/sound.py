"""What whisper-tiny heard, cut into the windows that HunyuanVideo-Avatar takes per video frame; and its loader.

ComfyUI's whisper class is made for the large model but takes any size; its loader does not.
"""

from math import ceil
from pathlib import Path

import comfy.audio_encoders.audio_encoders
import comfy.utils
import torch
import torch.nn.functional as F

from .files import told
from .model import BadAvatar

RATE = 16_000  # samples a second that ComfyUI's encoders count in `audio_samples`
HEARD_RATE = 50  # whisper frames a second
LAYERS, WIDTH = 5, 384  # whisper-tiny: its embedding and four layers
WINDOW, BEFORE = 10, 4  # whisper frames around a video frame, and how many of them lie before it
FRAMES = 4  # video frames per latent frame
HEAD = 64  # width of a head, in every whisper


def load_whisper(path: Path):
    """ComfyUI's AudioEncoderModel of a whisper file in Hugging Face's names, of any size. Raises BadAvatar."""
    weights = comfy.utils.load_torch_file(str(path), safe_load=True)
    weights = {name.removeprefix("model."): value for name, value in weights.items()}
    weights = {name: value for name, value in weights.items() if name.startswith("encoder.")}
    if (first := weights.get("encoder.conv1.weight")) is None or "encoder.embed_positions.weight" not in weights:
        raise BadAvatar(f"{path.name}: no whisper encoder; HunyuanVideo-Avatar hears with whisper-tiny's model.safetensors")
    width, mels, _ = first.shape
    layers = len({name.split(".")[2] for name in weights if name.startswith("encoder.layers.")})
    model = comfy.audio_encoders.audio_encoders.AudioEncoderModel({
        "model_type": "whisper3", "n_mels": mels, "n_audio_state": width, "n_audio_head": width // HEAD,
        "n_audio_layer": layers, "n_audio_ctx": len(weights["encoder.embed_positions.weight"]),
    })  # fmt: skip
    missing, unexpected = model.load_sd(weights)
    # the mel filters come with torchaudio, not with the file
    if lacking := [name for name in missing if not name.startswith("feature_extractor.")] + list(unexpected):
        raise BadAvatar(f"{path.name}: {told(lacking)} are missing or unexpected in a whisper encoder")
    return model


def heard(output: dict, frames: int, fps: float, name: str) -> torch.Tensor:
    """AUDIO_ENCODER_OUTPUT -> [T, 4, window * layers * width] for `frames` = 4 T - 3 video frames.

    name: of the input, for errors. Raises BadAvatar where the encoder is another, or the sound shorter than the video.
    """
    layers = output.get("encoded_audio_all_layers") or ()
    found = (len(layers), layers[0].shape[-1] if layers else 0)
    if found != (LAYERS, WIDTH):
        raise BadAvatar(
            f"{name}: {found[0]} layers of {found[1]} numbers, HunyuanVideo-Avatar hears {LAYERS} of {WIDTH}: encode it "
            "with whisper-tiny, from SyncCache Avatar Audio Encoder"
        )
    states = torch.stack(list(layers), dim=2)[0].float()
    lasts = min(output.get("audio_samples", states.shape[0] * RATE / HEARD_RATE) / RATE, states.shape[0] / HEARD_RATE)
    if (needed := frames / fps) > lasts + 1 / fps:
        raise BadAvatar(
            f"{name}: {lasts:.2f} s of sound, length {frames} at {fps:g} fps needs {needed:.2f} s: lower length, or give a "
            "longer sound, such as silence behind it; whisper hears 30 s at most"
        )
    stride = round(HEARD_RATE / fps)
    starts = stride * torch.arange(frames)
    padded = F.pad(states, (0, 0, 0, 0, BEFORE, max(0, int(starts[-1]) + WINDOW - BEFORE - len(states))))
    windows = padded[starts[:, None] + torch.arange(WINDOW)].flatten(1)
    # the first latent frame holds one video frame, the others four each
    return torch.cat((windows[:1].expand(FRAMES - 1, -1), windows)).unflatten(0, (ceil(frames / FRAMES), FRAMES))
