"""Wan2.2-S2V: audio cross-attention after blocks 0, 4, 8, ..., 39, outside the block, on the video tokens only, which
come first; behind them stand those of the reference and of the motion frames.

Serves ComfyUI's WanModel_S2V, the official class of that name and diffsynth's WanS2VModel, which share names and layout.
"""

from math import prod

from ..cost import CostModel
from ..grid import Grid
from ..layout import Layout
from ..view import Pass, View
from . import Adapter, register
from .wan import cross_attention_cost, joined, patches, wan_cost, width
from .wan_block import live


def layout(model) -> Layout:
    refresh = tuple(sorted(model.audio_injector.injected_block_id))
    return Layout(len(model.blocks), refresh, "after")


def view(one: Pass, block: int) -> View:
    """Of ComfyUI's class every token is accounted for; the others, of which the official one has the same name, take their
    reference apart inside their forward.
    """
    if type(one.model).__name__ != "WanModel_S2V" or "ref_latents" in one.arguments:
        return View(one.grid.tokens, behind=None)
    reference, motion = map(one.arguments.get, ("reference_latent", "reference_motion"))
    behind = joined(one) + (0 if reference is None else patches(reference.shape[-3:]))
    if motion is not None:
        size = motion.shape[-2:]
        behind += patches((1, *size)) + patches((2, *size), (2, 4, 4)) + patches((16, *size), (4, 8, 8))
    return View(one.grid.tokens, behind=behind)


def cost(model, grid: Grid, tokens: int, text: int | None = None) -> CostModel:
    """Of one branch; each latent frame has five tokens of audio, and one that modulates it."""
    d, frames = width(model), grid.frames
    refresh = cross_attention_cost(d, grid.tokens, 5 * frames, 5) + 4 * d * d * frames
    pose = 2 * grid.tokens * prod(model.patch_embedding.weight.shape[1:]) * d
    return wan_cost(model, layout(model), tokens, text, refresh, pose + _audio_encoder(model, d, frames), times=frames + 1)


def _audio_encoder(model, d: int, frames: int) -> float:
    encoder = model.casual_audio_encoder.encoder
    audio_in = encoder.conv1_local.conv.weight.shape[1]
    # three convolutions of width 3, the latter two of stride 2, for each head and for the global token
    first, second, third = 6 * audio_in * d / 4 * 4 * frames, 3 * d * d / 4 * 2 * frames, 3 * d * d * frames
    return (encoder.num_heads + 1) * (first + second + third) + 2 * d * d * frames


ADAPTER = register(
    Adapter(
        name="wan_s2v",
        title="Wan2.2-S2V",
        classes=("WanModel_S2V", "WanS2VModel"),
        layout=layout,
        grid=lambda latent: Grid.from_latent(latent.shape),
        cost=cost,
        width=width,
        live=live,
        view=view,
    )
)
