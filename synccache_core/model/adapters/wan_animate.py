"""Wan-Animate: cross-attention to the motion of a face after every fifth block, outside the block, on all tokens. The
reference is the first frame of the latent; poses are added to the patches.
"""

from math import prod

from ..cost import CostModel, numbers
from ..grid import Grid
from ..layout import Layout
from ..view import Pass, View
from . import Adapter, register
from .wan import cross_attention_cost, joined, wan_cost, width

EVERY = 5  # blocks
FACE_SIZE = 512  # pixels, to which the host scales the face


def layout(model) -> Layout:
    return Layout(len(model.blocks), tuple(range(0, len(model.blocks), EVERY)), "after")


def view(one: Pass, block: int) -> View:
    return View(one.grid.tokens, behind=joined(one))


def cost(model, grid: Grid, tokens: int, text: int | None = None) -> CostModel:
    """Of one branch, with CLIP vision's tokens of the reference. Each latent frame has tokens of the face of its own."""
    d, heads = width(model), model.face_encoder.num_heads + 1
    refresh = cross_attention_cost(d, tokens, heads * grid.frames, seen=heads)
    pose = 2 * grid.tokens * prod(model.pose_patch_embedding.weight.shape[1:]) * d
    face = _face(model, 4 * max(grid.frames - 1, 1) - 3)
    return wan_cost(model, layout(model), tokens, text, refresh, pose + face, pictures=1)


def _face(model, frames: int) -> float:
    """Of the encoders of a face video, which the host runs at every step."""
    side, pixels = FACE_SIZE, 0.0
    first, *stages, last = model.motion_encoder.enc.net_app.convs
    pixels += 2 * numbers(first[0].weight) * side**2
    for stage in stages:
        pixels += 2 * numbers(stage.conv1[0].weight) * side**2
        side //= 2
        pixels += 2 * (numbers(stage.conv2[1].weight) + numbers(stage.skip[1].weight)) * side**2
    pixels += 2 * numbers(last.weight) + sum(2 * numbers(layer.weight) for layer in model.motion_encoder.enc.fc)
    encoder = model.face_encoder
    # three convolutions of width 3, the latter two of stride 2, and the projection; the latter three for each head
    first, *later = (numbers(layer.weight) for layer in (encoder.conv1_local.conv, encoder.conv2.conv, encoder.conv3.conv,
                                                        encoder.out_proj))  # fmt: skip
    motion = 2 * first + encoder.num_heads * 2 * (later[0] / 2 + later[1] / 4 + later[2] / 4)
    return frames * (pixels + motion)


ADAPTER = register(
    Adapter(
        name="wan_animate",
        title="Wan-Animate",
        classes=("AnimateWanModel",),
        layout=layout,
        grid=lambda latent: Grid.from_latent(latent.shape, still=1),  # the reference
        cost=cost,
        width=width,
        view=view,
    )
)
