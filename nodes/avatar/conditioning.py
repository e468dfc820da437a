"""Everything that the avatar is told beside its text: reference picture, sound, faces, frames a second."""

import comfy.model_management
import comfy.utils
import node_helpers
import torch

from .face import face_boxes
from .model import AUDIO, FACE, FPS, REF, BadAvatar
from .sound import FRAMES, heard

CHANNELS, SHRINK = 16, 8  # of ComfyUI's HunyuanVideo VAE
STILL = 129  # frames of the reference as a still video, as in training
TOKEN = 16  # pixels that one token is wide and high
NUMBERS = ("", "_2")  # behind the names of a person's inputs


def conditioned(positive, negative, vae, image, voices, size: tuple[int, int], frames: int, fps: float, enlarge: float):
    """(positive, negative) with what the model needs; in the negative the sound is zero.

    voices: (AUDIO_ENCODER_OUTPUT, MASK of that person's face) of each person. size: height and width in pixels.
    Raises BadAvatar for what does not fit.
    """
    check_size(*size, frames)
    sounds, masks = zip(*voices)
    audio = torch.stack([heard(sound, frames, fps, f"audio_encoder_output{n}") for sound, n in zip(sounds, NUMBERS)])
    face = face_boxes({f"face_mask{n}": mask for mask, n in zip(masks, NUMBERS)}, *size, enlarge)
    shared = {REF: still(vae, image, *size, min(frames, STILL)), FACE: face[None], FPS: torch.tensor([fps])}
    return (
        node_helpers.conditioning_set_values(text, {**shared, AUDIO: sound[None]})
        for text, sound in ((positive, audio), (negative, torch.zeros_like(audio)))
    )


def still(vae, image: torch.Tensor, height: int, width: int, frames: int) -> torch.Tensor:
    """The picture [1, H, W, 3] as the latent of a still video, [1, 16, (frames + 3) / 4, height / 8, width / 8]."""
    kind = type(getattr(vae, "first_stage_model", None)).__name__
    if kind.startswith("Wan"):
        raise BadAvatar(f"vae is a {kind}, whose latents mean something else: load ComfyUI's HunyuanVideo VAE")
    pixels = comfy.utils.common_upscale(image[:1, :, :, :3].movedim(-1, 1), width, height, "bilinear", "center")
    latent = vae.encode(pixels.movedim(1, -1).expand(frames, -1, -1, -1))
    wanted = (1, CHANNELS, *latent_size(height, width, frames))
    if tuple(latent.shape) != wanted:
        raise BadAvatar(
            f"vae gave a latent {tuple(latent.shape)}, HunyuanVideo-Avatar needs {wanted}: load ComfyUI's HunyuanVideo VAE"
        )
    return latent


def check_size(height: int, width: int, frames: int) -> None:
    for name, size in (("height", height), ("width", width)):
        if size < TOKEN or size % TOKEN:
            raise BadAvatar(f"{name} is {size}: it must be a multiple of {TOKEN}")
    if frames < FRAMES + 1 or frames % FRAMES != 1:
        raise BadAvatar(f"length is {frames}: it must be {FRAMES} n + 1, such as {STILL}")


def latent_size(height: int, width: int, frames: int) -> tuple[int, int, int]:
    return (frames + FRAMES - 1) // FRAMES, height // SHRINK, width // SHRINK


def empty_latent(height: int, width: int, frames: int, batch: int) -> dict:
    """LATENT for the sampler."""
    shape = (batch, CHANNELS, *latent_size(height, width, frames))
    return {"samples": torch.zeros(shape, device=comfy.model_management.intermediate_device())}
