"""The Tiny Talker: a small real Wan-S2V model, so that a workflow runs, and can be measured, without a large download."""

import wave

import comfy.sd
import comfy.utils
import numpy
import torch
from comfy_api.latest import io
from PIL import Image

from ..demo import talker


class SyncCacheTinyTalker(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncCacheTinyTalker",
            display_name="Tiny Talker (Wan-S2V in miniature)",
            category="SyncCache",
            description="A 96-pixel Wan-S2V with its VAE, text and audio encoder, for trying a workflow in seconds. "
            "Replace it by the real loaders to get the real thing; its numbers say nothing about a real model's quality.",
            inputs=[
                io.Image.Input(
                    "portrait", optional=True,
                    tooltip="A face that looks at the camera; cropped square, reduced to 96 pixels. Unconnected: the one "
                    "that comes with the pack.",
                ),
                io.Audio.Input(
                    "audio", optional=True,
                    tooltip="Speech; 33 frames take the first 2 seconds. Unconnected: a sentence that comes with the pack.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model"),
                io.Vae.Output(display_name="vae"),
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.AudioEncoderOutput.Output(display_name="audio_encoder_output"),
                io.Image.Output(display_name="ref_image"),
                io.Audio.Output(display_name="audio"),
            ],
        )

    @classmethod
    def execute(cls, portrait=None, audio=None) -> io.NodeOutput:
        portrait = shipped_portrait() if portrait is None else portrait
        audio = shipped_speech() if audio is None else audio
        model = comfy.sd.load_diffusion_model(str(talker.DIT_FILE))
        weights, metadata = comfy.utils.load_torch_file(str(talker.VAE_FILE), return_metadata=True)
        vae = comfy.sd.VAE(sd=weights, metadata=metadata)
        return io.NodeOutput(
            model,
            vae,
            [[talker.positive(), {}]],
            [[talker.negative(), {}]],
            talker.encode_audio(audio["waveform"][0], audio["sample_rate"]),
            talker.prepare_portrait(portrait),
            audio,
        )


def shipped_portrait() -> torch.Tensor:
    """IMAGE [1, H, W, 3] in 0..1."""
    with Image.open(talker.PORTRAIT_FILE) as image:
        return torch.from_numpy(numpy.asarray(image.convert("RGB"), dtype=numpy.float32) / 255)[None]


def shipped_speech() -> dict:
    """AUDIO of 16-bit mono speech: waveform [1, 1, samples] in -1..1."""
    with wave.open(str(talker.SPEECH_FILE), "rb") as file:
        samples = numpy.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(numpy.float32) / 32768
        return {"waveform": torch.from_numpy(samples)[None, None], "sample_rate": file.getframerate()}
