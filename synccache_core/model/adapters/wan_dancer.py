"""WanDancer: music cross-attention after blocks 0, 4, ..., 24, 27, outside the block, on as many tokens as the video has,
counted from the front. A reference, where the weights have a convolution for one, stands in front of the video.
"""

from ..cost import CostModel, numbers
from ..grid import Grid
from ..layout import Layout
from ..view import Pass, View
from . import Adapter, register
from .wan import cross_attention_cost, joined, patches, wan_cost, width

PER_FRAME = 8  # tokens of music to a latent frame


def layout(model) -> Layout:
    return Layout(len(model.blocks), tuple(sorted(model.music_injector.injected_block_id)), "after")


def view(one: Pass, block: int) -> View:
    reference = one.arguments.get("reference_latent") if one.model.ref_conv is not None else None
    front = 0 if reference is None else patches((1, *reference.shape[-2:]))
    return View(one.grid.tokens, front, joined(one))


def cost(model, grid: Grid, tokens: int, text: int | None = None) -> CostModel:
    """Of one branch, with CLIP vision's tokens of the first frame and of the reference. Each token hears one of music."""
    refresh = cross_attention_cost(width(model), grid.tokens, PER_FRAME * grid.frames, seen=1)
    return wan_cost(model, layout(model), tokens, text, refresh, _music_encoder(model, 4 * grid.frames - 3), pictures=2)


def _music_encoder(model, frames: int) -> float:
    """frames: of music features, one per video frame."""
    d, features = model.music_projection.weight.shape
    layers = sum(8 * d * d + 4 * frames * d + 4 * numbers(layer.linear1.weight) for layer in model.music_encoder)
    return frames * (2 * features * d + layers)


ADAPTER = register(
    Adapter(
        name="wan_dancer",
        title="WanDancer",
        classes=("WanDancerModel",),
        layout=layout,
        grid=lambda latent: Grid.from_latent(latent.shape),
        cost=cost,
        width=width,
        view=view,
    )
)
