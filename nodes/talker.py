"""The Tiny Talker: a small real Wan-S2V model, so that a workflow runs, and can be measured, without a large download."""

import comfy.sd
import comfy.utils
from comfy_api.latest import io

from ..demo import talker


class SyncCacheTinyTalker(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncCacheTinyTalker",
            display_name="Tiny Talker (Wan-S2V in miniature)",
            category="SyncCache",
            description="A 64-pixel Wan-S2V with its VAE, text and audio encoder, for trying a workflow in seconds. "
            "Replace it by the real loaders to get the real thing; its numbers say nothing about a real model's quality.",
            inputs=[
                io.Image.Input("portrait", tooltip="A face that looks at the camera; cropped square, reduced to 64 pixels."),
                io.Audio.Input("audio", tooltip="Speech. One run of 33 frames takes the first 2 seconds."),
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
    def execute(cls, portrait, audio) -> io.NodeOutput:
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
