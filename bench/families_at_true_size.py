"""The models of `bench.families`: ComfyUI's classes as the published weights configure them, and what the stock nodes hand
them, as empty tensors without memory. One `Family` a model; a new one is an entry of FAMILIES.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import torch


class Absent(ImportError):
    """This ComfyUI does not have the class."""


@dataclass(frozen=True)
class Family:
    """name: for --family. title, size: for the table. make() -> module on "meta". given(model, text tokens) -> (args,
    kwargs) of its forward, but for transformer_options; the latent comes first. options() -> these, of a family that a patch
    makes. make and options raise Absent."""

    name: str
    title: str
    size: str
    make: Callable[[], torch.nn.Module]
    given: Callable[[torch.nn.Module, int], tuple[tuple, dict]]
    options: Callable[[], dict] = dict


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta", dtype=torch.bfloat16)


def hosted(module: str, kind: str, **config) -> torch.nn.Module:
    """A class of ComfyUI's comfy.ldm without weights. Raises Absent."""
    try:
        found = getattr(importlib.import_module(f"comfy.ldm.{module}"), kind)
    except (ImportError, AttributeError):
        raise Absent(f"this ComfyUI has no {kind}") from None
    operations = importlib.import_module("comfy.ops").disable_weight_init
    return found(**config, device="meta", dtype=torch.bfloat16, operations=operations)


def wan(width: int, height: int, frames: int, model, text: int, more: Callable, extra: int = 0) -> tuple[tuple, dict]:
    """extra: latent frames beside those of the video. more(latent frames, height, width of the latent) -> keywords."""
    latent = (frames - 1) // 4 + 1 + extra, height // 8, width // 8
    channels = model.patch_embedding.weight.shape[1]
    return (meta(1, channels, *latent), meta(1), meta(1, text, model.text_dim)), more(*latent)


def wan_family(
    name: str, title: str, module: str, kind: str, size: tuple[int, int, int], more, extra: int = 0,
    options: Callable[[], dict] = dict, **config,
) -> Family:
    width, height, frames = size
    return Family(
        name, title, f"{width}×{height}, {frames} frames", partial(hosted, f"wan.{module}", kind, **{**LARGE, **config}),
        partial(wan, *size, more=more, extra=extra), options,
    )


LARGE = {"dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 40, "in_dim": 36, "out_dim": 16}  # Wan's 14B
SMALL = {"dim": 1536, "ffn_dim": 8960, "num_heads": 12, "num_layers": 30, "in_dim": 16}  # Wan's 1.3B
CLIP = (1, 257, 1280)


def talking(frames: int, height: int, width: int) -> dict:
    reference = meta(1, 16, 1, height, width)
    return {"audio_embed": meta(1, 25, 1024, 4 * frames), "reference_latent": reference, "control_video": meta(
        1, 16, frames, height, width)}  # fmt: skip


def dancing(frames: int, height: int, width: int) -> dict:
    return {"audio_embed": meta(1, 4 * frames - 3, 35), "clip_fea": meta(*CLIP), "clip_fea_ref": meta(*CLIP)}


def animated(frames: int, height: int, width: int) -> dict:
    face = meta(1, 3, 4 * (frames - 1) - 3, 512, 512)  # the reference, one of the latent frames, has none
    return {"face_pixel_values": face, "pose_latents": meta(1, 16, frames - 1, height, width), "clip_fea": meta(*CLIP)}


def seeing(frames: int, height: int, width: int) -> dict:
    return {"clip_fea": meta(*CLIP)}


def voice(frames: int) -> dict:
    """What the stock node of InfiniteTalk puts into the options, for one speaker."""
    try:
        from comfy.ldm.wan.model_multitalk import MultiTalkCrossAttnPatch
        from comfy_extras.nodes_model_patch import MultiTalkModelPatch
    except ImportError:
        raise Absent("this ComfyUI has no InfiniteTalk") from None
    operations = importlib.import_module("comfy.ops").disable_weight_init
    heard = SimpleNamespace(model=MultiTalkModelPatch(device="meta", dtype=torch.bfloat16, operations=operations))
    return {"audio_embeds": meta(1, frames, 32, 768), "patches": {"attn2_patch": [MultiTalkCrossAttnPatch(heard)]}}


def posed(frames: int, height: int, width: int) -> dict:
    return {"pose_latents": meta(1, 16, frames - 1, height, width), "clip_fea": meta(*CLIP)}


def speaking(channels: int, frames: int, height: int, width: int) -> dict:
    """HuMo: the 17B takes its reference with a mask, in as many channels as the latent and its condition have."""
    return {"audio_embed": meta(1, frames, 8, 5, 1280), "reference_latent": meta(1, channels, 1, height, width)}


def hunyuan(**config) -> torch.nn.Module:
    made = hosted("hunyuan_video.model", "HunyuanVideo", **HUNYUAN, **config)
    return made.to("meta")  # the host makes one of its parts elsewhere


def shown(latent: tuple[int, int, int], model, text: int) -> tuple[tuple, dict]:
    words = model.txt_in.input_embedder.weight.shape[1]
    whole = None if model.vector_in is None else meta(1, model.vector_in.in_layer.weight.shape[1])
    guidance = meta(1) if model.params.guidance_embed else None
    x = meta(1, model.in_channels, *latent)
    return (x, meta(1), meta(1, text, words)), {"y": whole, "guidance": guidance}


HUNYUAN = {
    "mlp_ratio": 4.0, "axes_dim": [16, 56, 56], "theta": 256, "qkv_bias": True, "byt5": False, "meanflow": False,
}  # fmt: skip
HUNYUAN_10 = {
    "in_channels": 16, "out_channels": 16, "hidden_size": 3072, "num_heads": 24, "depth": 20, "depth_single_blocks": 40,
    "vec_in_dim": 768, "context_in_dim": 4096, "patch_size": [1, 2, 2], "guidance_embed": True, "vision_in_dim": None,
    "use_cond_type_embedding": False, "meanflow_sum": False,
}  # fmt: skip
HUNYUAN_15 = {
    "in_channels": 65, "out_channels": 32, "hidden_size": 2048, "num_heads": 16, "depth": 54, "depth_single_blocks": 0,
    "vec_in_dim": None, "context_in_dim": 3584, "patch_size": [1, 1, 1], "guidance_embed": False, "vision_in_dim": 1152,
    "use_cond_type_embedding": True, "meanflow_sum": True,
}  # fmt: skip


def h3(**size) -> torch.nn.Module:
    return hosted("minimax.model", "MiniMaxH3Model", **size).requires_grad_(False)


def h3_given(model, text: int, width: int = 1344, height: int = 768, frames: int = 124) -> tuple[tuple, dict]:
    """The prompt as ComfyUI makes it once for all steps."""
    latents, sounds = (frames - 5) // 17 * 5 + 2, round(frames / 24 * 40)
    latent = meta(1, 24, latents, height // 16, width // 16), meta(1, 32, 2, sounds)
    return ([*latent], torch.tensor([700.0]), meta(1, text, model.hidden_size)), {}


def heard_beside(latent: tuple[int, int, int], model, text: int) -> tuple[tuple, dict]:
    """LTX-2: picture, a sound of 25 latents a second beside it, their noise levels, and the prompt for either."""
    frames, sides = latent[0], (model.caption_projection, model.audio_caption_projection)
    words = meta(1, max(text, 1024), sum(each.linear_1.weight.shape[1] for each in sides))  # the host fills up to as many
    return ([meta(1, model.in_channels, *latent), meta(1, 8, 8 * (frames - 1) + 1, 16)], (meta(1), meta(1)), words), {}


FAMILIES = [
    wan_family("wan_s2v", "Wan2.2-S2V", "model", "WanModel_S2V", (832, 480, 77), talking, in_dim=16),
    wan_family("wan_dancer", "WanDancer", "model_wandancer", "WanDancerModel", (480, 832, 149), dancing),
    wan_family("wan_animate", "Wan-Animate", "model_animate", "AnimateWanModel", (832, 480, 77), animated, extra=1),
    wan_family(
        "infinite_talk", "InfiniteTalk", "model", "WanModel", (832, 480, 81), seeing, options=partial(voice, 21),
        model_type="i2v",
    ),
    wan_family("wan_animate2", "Wan-Animate 2", "model_animate2", "WanAnimate2Model", (832, 480, 81), posed, extra=1),
    wan_family("humo", "HuMo 17B", "model", "HumoWanModel", (832, 480, 97), partial(speaking, 36)),
    wan_family("humo", "HuMo 1.7B", "model", "HumoWanModel", (832, 480, 97), partial(speaking, 16), **SMALL),
    Family("hunyuan_video", "HunyuanVideo 1.0", "720×1280, 129 frames", partial(hunyuan, **HUNYUAN_10),
           partial(shown, (33, 160, 90))),
    Family("hunyuan_video_15", "HunyuanVideo 1.5", "832×480, 121 frames", partial(hunyuan, **HUNYUAN_15),
           partial(shown, (31, 30, 52))),
    Family("ltx_av", "LTX-2 with sound", "1280×704, 121 frames", partial(hosted, "lightricks.av_model", "LTXAVModel"),
           partial(heard_beside, (16, 22, 40))),
    Family("minimax_h3", "MiniMax-H3", "1344×768, 124 frames", h3, h3_given),
]  # fmt: skip
# Of these the tests hold the formula against the counter.
ELSEWHERE = {"hunyuan_avatar": "tests/host/test_hunyuan_avatar.py"}
