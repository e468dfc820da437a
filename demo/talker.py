"""The Tiny Talker as users meet it: its constants, its embeddings and its two inputs."""

from __future__ import annotations

from pathlib import Path

import torch

from .features import FRONT_END, audio_features, host_layers

FRAMES = 33
SIZE = 96
FPS = 16
LATENT_FRAMES = (FRAMES - 1) // 4 + 1
AUDIO_FRAMES = LATENT_FRAMES * 4
TEXT_TOKENS = 4
TEXT_DIM = 64

ASSETS = Path(__file__).resolve().parent / "assets"
DIT_FILE = ASSETS / "tiny_talker_dit.safetensors"
VAE_FILE = ASSETS / "tiny_talker_vae.safetensors"
PORTRAIT_FILE = ASSETS / "portrait.png"
SPEECH_FILE = ASSETS / "speech.wav"

# What the safetensors metadata tells the host's loader about the diffusion model.
CONFIG = {
    "image_model": "wan2.1",
    "model_type": "s2v",
    "patch_size": [1, 2, 2],
    "text_len": TEXT_TOKENS,
    "in_dim": 16,
    "dim": 192,
    "ffn_dim": 576,
    "freq_dim": 256,
    "text_dim": TEXT_DIM,
    "out_dim": 16,
    "num_heads": 6,
    "num_layers": 10,
    "qk_norm": True,
    "cross_attn_norm": True,
    "eps": 1e-6,
    "audio_dim": FRONT_END.audio_dim,
    "num_audio_token": 4,
    "enable_adain": True,
    "cond_dim": 16,
    "audio_inject_layers": [0, 2, 4, 6, 8, 9],
    "framepack_drop_mode": "padd",
}


def positive() -> torch.Tensor:
    """The only prompt the model knows, [1, 4, 64]: four fixed waves of unit variance."""
    steps = torch.arange(TEXT_DIM, dtype=torch.float32) / TEXT_DIM
    tokens = torch.arange(1, TEXT_TOKENS + 1, dtype=torch.float32)
    return (2**0.5 * torch.cos(2 * torch.pi * tokens[:, None] * steps[None])).unsqueeze(0)


def negative() -> torch.Tensor:
    """The empty prompt, [1, 4, 64] zeros."""
    return torch.zeros(1, TEXT_TOKENS, TEXT_DIM)


def encode_audio(waveform: torch.Tensor, rate: int) -> dict[str, object]:
    """Waveform [channels, samples] at rate Hz -> the host's AUDIO_ENCODER_OUTPUT."""
    layers = host_layers(audio_features(waveform, rate))
    return {
        "encoded_audio": layers[-1],
        "encoded_audio_all_layers": layers,
        "audio_samples": int(waveform.shape[-1]),
    }


def prepare_portrait(image: torch.Tensor, size: int = SIZE) -> torch.Tensor:
    """Image [H, W, 3] or [1, H, W, 3] in 0..1 -> centre crop, area-resized to [1, size, size, 3]."""
    image = image[None] if image.ndim == 3 else image[:1]
    height, width = image.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[:, top : top + side, left : left + side, :3].movedim(-1, 1).float()
    return torch.nn.functional.interpolate(square, size=(size, size), mode="area").movedim(1, -1)
