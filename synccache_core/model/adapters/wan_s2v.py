"""Wan2.2-S2V: audio cross-attention after blocks 0, 4, 8, ..., 39, outside the block, on the video tokens only, which
come first; behind them stand those of the reference and of the motion frames.

Serves ComfyUI's WanModel_S2V and the official and diffsynth classes, which share names and layout.
"""

from math import prod

from ..cost import CostModel
from ..grid import Grid
from ..layout import Layout
from ..view import Pass, View
from . import Adapter, register
from .wan_block import live


def layout(model) -> Layout:
    refresh = tuple(sorted(model.audio_injector.injected_block_id))
    return Layout(len(model.blocks), refresh, "after")


def view(one: Pass, block: int) -> View:
    """Of ComfyUI's class every token is accounted for; the others take their reference apart inside their forward."""
    if type(one.model).__name__ != "WanModel_S2V":
        return View(one.grid.tokens, behind=None)
    extra, reference, motion = map(one.arguments.get, ("time_dim_concat", "reference_latent", "reference_motion"))
    behind = 0 if extra is None else Grid.from_latent(extra.shape).tokens
    behind += 0 if reference is None else patches(reference.shape[-3:])
    if motion is not None:
        size = motion.shape[-2:]
        behind += patches((1, *size)) + patches((2, *size), (2, 4, 4)) + patches((16, *size), (4, 8, 8))
    return View(one.grid.tokens, behind=behind)


def patches(shape, patch=(1, 2, 2)) -> int:
    """Tokens of frames [T, H, W] that are not padded."""
    return prod(size // step for size, step in zip(shape, patch))


def cost(model, grid: Grid, tokens: int, text: int | None = None) -> CostModel:
    """FLOPs of one branch; L all tokens, V video tokens, T latent frames, d width (derived from the module's shapes).
    text: of the prompt, None = as many as the model takes.

    block:   (12 d^2 + 4 d ffn) L + 4 L^2 d + 4 L n_text d + 4 n_text d^2
    refresh: 4 d^2 V + 4 d^2 5T + 4 V 5 d + 4 d^2 T
    """
    block = model.blocks[0]
    ffn, d = block.ffn[0].weight.shape
    text, frames, video = _text_tokens(model) if text is None else text, grid.frames, grid.tokens
    heavy = (12 * d * d + 4 * d * ffn) * tokens + 4 * tokens**2 * d + 4 * tokens * text * d + 4 * text * d * d
    refresh = 4 * d * d * video + 20 * d * d * frames + 20 * video * d + 4 * d * d * frames
    other = _other(model, d, video, tokens, frames, text)
    return CostModel(heavy, refresh, other, layout(model), keys=4 * d * d * tokens)


def _text_tokens(model) -> int:
    return int(getattr(model, "text_len", 512))


def _other(model, d: int, video: int, tokens: int, frames: int, text: int) -> float:
    """Patch and pose embedding, head, time and text embedding, audio encoder."""
    latent = model.patch_embedding.weight[0].numel()
    out = model.head.head.weight.shape[0]
    text_in = model.text_embedding[0].weight.shape[1]
    audio_in = model.casual_audio_encoder.encoder.conv1_local.conv.weight.shape[1]
    heads = model.casual_audio_encoder.encoder.num_heads
    # three convolutions of width 3, the latter two of stride 2, for each head and for the global token
    first, second, third = 6 * audio_in * d / 4 * 4 * frames, 3 * d * d / 4 * 2 * frames, 3 * d * d * frames
    audio = (heads + 1) * (first + second + third) + 2 * d * d * frames
    steps = (frames + 1) * 14 * d * d
    patches = 2 * (video + tokens) * latent * d
    return patches + 2 * tokens * out * d + 2 * text * (text_in * d + d * d) + steps + audio


ADAPTER = register(
    Adapter(
        name="wan_s2v",
        title="Wan2.2-S2V",
        classes=("WanModel_S2V", "WanS2VModel"),
        layout=layout,
        grid=lambda latent: Grid.from_latent(latent.shape),
        cost=cost,
        width=lambda model: int(model.dim),
        live=live,
        view=view,
    )
)
