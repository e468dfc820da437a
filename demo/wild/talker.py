"""The Wild Talker's constants: what it is called, how large it is, where its files are."""

from __future__ import annotations

from pathlib import Path

from ..talker import CONFIG as TINY
from .sound import AUDIO_DIM

LATENTS = 18  # of a training clip: two chunks of nine, so that the second learns to continue the first
FRAMES = 4 * LATENTS - 3
DIT, VAE, TRACKER = "wild_talker_dit.safetensors", "wild_talker_vae.safetensors", "wild_tracker.safetensors"
ASSETS = Path(__file__).resolve().parents[1] / "assets"

CONFIG = TINY | {"dim": 256, "ffn_dim": 768, "num_heads": 8, "num_layers": 11, "audio_dim": AUDIO_DIM,
                 "audio_inject_layers": [0, 2, 4, 6, 8, 10]}
