"""The avatar's nodes: load, hear, read, condition, guide. Thin; what they do is in the files beside."""

from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io

from . import conditioning, text
from .files import load_avatar
from .guidance import AvatarGuider, Schedule
from .model import BadAvatar
from .sound import load_whisper

MODELS, ENCODERS = "diffusion_models", "audio_encoders"
DTYPES = {"default": None, "fp8_e4m3fn": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}
RATES = {"25": 25.0, "12.5": 12.5}
USUAL = Schedule()


class SyncCacheAvatarLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncCacheAvatarLoader",
            display_name="SyncCache Avatar Loader (HunyuanVideo-Avatar)",
            category="SyncCache",
            description="Loads HunyuanVideo-Avatar as a ComfyUI model. The licence of its weights is yours to accept: "
            "Tencent's community licence excludes the EU, the United Kingdom and South Korea.",
            search_aliases=["hunyuan", "avatar", "talking", "portrait", "speech"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=[name for name in folder_paths.get_filename_list(MODELS) if "_map." not in name],
                    tooltip="A file in models/diffusion_models: the official .pt, or safetensors. Official fp8 weights need "
                    "their map file beside them. Nothing in a file is executed.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(DTYPES),
                    default="default",
                    optional=True,
                    tooltip="How weights rest in memory. default: as in the file. fp8 halves bf16 and loses a little.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model", tooltip="For LoRA, SyncCache and the SyncCache Avatar Guider; shift 5 is set."
                )
            ],
        )

    @classmethod
    def execute(cls, model_name, weight_dtype="default") -> io.NodeOutput:
        path = folder_paths.get_full_path_or_raise(MODELS, model_name)
        return io.NodeOutput(load_avatar(path, {"dtype": chosen(DTYPES, weight_dtype, "weight_dtype")}))


class SyncCacheAvatarAudioEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncCacheAvatarAudioEncoder",
            display_name="SyncCache Avatar Audio Encoder (whisper-tiny)",
            category="SyncCache",
            description="Loads whisper-tiny, with which HunyuanVideo-Avatar hears. ComfyUI's own audio encoder loader takes "
            "the large whisper only.",
            search_aliases=["whisper", "audio", "speech"],
            inputs=[
                io.Combo.Input(
                    "audio_encoder_name",
                    options=folder_paths.get_filename_list(ENCODERS),
                    tooltip="A file in models/audio_encoders: model.safetensors of openai/whisper-tiny.",
                ),
            ],
            outputs=[io.AudioEncoder.Output(display_name="audio_encoder", tooltip="For ComfyUI's AudioEncoderEncode.")],
        )

    @classmethod
    def execute(cls, audio_encoder_name) -> io.NodeOutput:
        return io.NodeOutput(load_whisper(Path(folder_paths.get_full_path_or_raise(ENCODERS, audio_encoder_name))))


class SyncCacheAvatarTextEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncCacheAvatarTextEncode",
            display_name="SyncCache Avatar Text Encode",
            category="SyncCache",
            description="A prompt for HunyuanVideo-Avatar. The language model also sees the portrait, behind the words, "
            "where ComfyUI's own nodes for HunyuanVideo would cut it off.",
            search_aliases=["prompt", "hunyuan", "llava"],
            inputs=[
                io.Clip.Input("clip", tooltip="llava_llama3 and clip_l from DualCLIPLoader, type hunyuan_video."),
                io.ClipVisionOutput.Input(
                    "clip_vision_output", tooltip="The portrait through CLIP Vision Encode, with llava_llama3_vision."
                ),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="What is to be seen. The official code puts Authentic, Realistic, Natural, High-quality, "
                    "Lens-Fixed in front.",
                ),
            ],
            outputs=[io.Conditioning.Output(display_name="conditioning", tooltip="For SyncCache Avatar Conditioning.")],
        )

    @classmethod
    def execute(cls, clip, clip_vision_output, prompt) -> io.NodeOutput:
        return io.NodeOutput(text.encode(clip, prompt, clip_vision_output))


class SyncCacheAvatarConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncCacheAvatarConditioning",
            display_name="SyncCache Avatar Conditioning",
            category="SyncCache",
            description="Tells HunyuanVideo-Avatar who speaks: the portrait, the sound, and whose face it moves. With a "
            "second sound and face, two people speak.",
            search_aliases=["hunyuan", "avatar", "reference", "speech"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="From SyncCache Avatar Text Encode."),
                io.Conditioning.Input("negative", tooltip="The same with what is not to be seen; here the sound is silent."),
                io.Vae.Input("vae", tooltip="ComfyUI's HunyuanVideo VAE."),
                io.Image.Input("ref_image", tooltip="The portrait; cropped around its middle to width and height."),
                io.AudioEncoderOutput.Input(
                    "audio_encoder_output", tooltip="The sound through whisper-tiny, at least as long as the video."
                ),
                io.Mask.Input(
                    "face_mask",
                    tooltip="The speaker's face in the portrait; cropped as that is. Load Image's mask editor will do.",
                ),
                io.Int.Input("width", default=704, min=16, max=4096, step=16, tooltip="Of the video, in pixels."),
                io.Int.Input("height", default=768, min=16, max=4096, step=16, tooltip="Of the video, in pixels."),
                io.Int.Input(
                    "length",
                    default=129,
                    min=5,
                    max=2049,
                    step=4,
                    tooltip="Frames. The model was trained on 129; for more, put ComfyUI's Context Windows (Manual) on the "
                    "model, with dim 2 and context_schedule standard_static.",
                ),
                io.Combo.Input(
                    "fps",
                    options=list(RATES),
                    default="25",
                    optional=True,
                    tooltip="Frames a second that the model is told, and at which it hears. Save the video at the same.",
                ),
                io.Float.Input(
                    "face_enlarge",
                    default=3.0,
                    min=1.0,
                    max=10.0,
                    step=0.1,
                    optional=True,
                    advanced=True,
                    tooltip="Sides of the box in which sound moves the picture, over those of the face. Official: 3.",
                ),
                io.Int.Input("batch_size", default=1, min=1, max=64, optional=True, tooltip="Videos at once."),
                io.AudioEncoderOutput.Input("audio_encoder_output_2", optional=True, tooltip="The second speaker's sound."),
                io.Mask.Input(
                    "face_mask_2",
                    optional=True,
                    tooltip="The second speaker's face. Where the boxes of both meet, a place is the nearer face's.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="For the SyncCache Avatar Guider."),
                io.Conditioning.Output(display_name="negative", tooltip="For the SyncCache Avatar Guider."),
                io.Latent.Output(display_name="latent", tooltip="An empty one of this size, for the sampler."),
            ],
        )

    @classmethod
    def execute(
        cls, positive, negative, vae, ref_image, audio_encoder_output, face_mask, width, height, length, fps="25",
        face_enlarge=3.0, batch_size=1, audio_encoder_output_2=None, face_mask_2=None,
    ) -> io.NodeOutput:  # fmt: skip
        voices, second = [(audio_encoder_output, face_mask)], (audio_encoder_output_2, face_mask_2)
        if (audio_encoder_output_2 is None) != (face_mask_2 is None):
            lacking = "face_mask_2" if face_mask_2 is None else "audio_encoder_output_2"
            raise BadAvatar(f"{lacking} is not connected: a second speaker needs a sound and a face")
        voices += [second] if face_mask_2 is not None else []
        told = conditioning.conditioned(
            positive, negative, vae, ref_image, voices, (height, width), length, chosen(RATES, fps, "fps"), face_enlarge
        )
        return io.NodeOutput(*told, conditioning.empty_latent(height, width, length, batch_size))


class SyncCacheAvatarGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def scale(name, default, tooltip):
            settings = {"min": 1.0, "max": 30.0, "step": 0.1, "optional": True}
            return io.Float.Input(name, default=default, tooltip=tooltip, advanced=name != "text_cfg", **settings)

        return io.Schema(
            node_id="SyncCacheAvatarGuider",
            display_name="SyncCache Avatar Guider",
            category="SyncCache",
            description="HunyuanVideo-Avatar's guidance, for SamplerCustomAdvanced: first text and sound together, then "
            "sound alone, each falling with time. Official: 50 steps, euler, simple.",
            search_aliases=["cfg", "guidance", "hunyuan"],
            inputs=[
                io.Model.Input("model", tooltip="From the SyncCache Avatar Loader, after LoRA and SyncCache."),
                io.Conditioning.Input("positive", tooltip="From SyncCache Avatar Conditioning."),
                io.Conditioning.Input("negative", tooltip="From SyncCache Avatar Conditioning."),
                scale("text_cfg", USUAL.text_first, "Guidance by text and sound at the start of the run."),
                scale("text_cfg_end", USUAL.text_last, "What it would have fallen to at the end of the run."),
                scale("audio_cfg", USUAL.audio_first, "Guidance by sound alone, counted from the start of the run."),
                scale("audio_cfg_end", USUAL.audio_last, "What it has fallen to at the end of the run."),
                io.Float.Input(
                    "switch",
                    default=USUAL.switch,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    advanced=True,
                    tooltip="Share of the steps that text guides. From then on the negative has the positive text and no "
                    "sound.",
                ),
                io.Float.Input(
                    "early_face",
                    default=USUAL.early_face,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    advanced=True,
                    tooltip="How much of its strength sound has in the face until the switch.",
                ),
            ],
            outputs=[io.Guider.Output(display_name="guider", tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(
        cls, model, positive, negative, text_cfg=USUAL.text_first, text_cfg_end=USUAL.text_last,
        audio_cfg=USUAL.audio_first, audio_cfg_end=USUAL.audio_last, switch=USUAL.switch, early_face=USUAL.early_face,
    ) -> io.NodeOutput:  # fmt: skip
        schedule = Schedule(text_cfg, text_cfg_end, audio_cfg, audio_cfg_end, switch, early_face)
        guider = AvatarGuider(model, schedule)
        guider.set_conds(positive, negative)
        return io.NodeOutput(guider)


def chosen(options: dict, value: str, name: str):
    """Raises BadAvatar where an API prompt names none of the options."""
    if value not in options:
        raise BadAvatar(f"{name} is {value!r}: it must be one of {', '.join(options)}")
    return options[value]
