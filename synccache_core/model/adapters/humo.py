"""HuMo, 17B and 1.7B: audio cross-attention inside every block, between attention to the text and the feed-forward network,
on all tokens. Behind the video stands a reference, which hears silence.
"""

from ..cost import CostModel, numbers
from ..grid import Grid
from ..layout import Layout
from ..view import Pass, View
from . import Adapter, register
from .inside import by_attribute
from .wan import cross_attention_cost, joined, patches, wan_cost, width


def layout(model) -> Layout:
    return Layout(len(model.blocks), tuple(range(len(model.blocks))), "inside")


def view(one: Pass, block: int) -> View:
    reference = one.arguments.get("reference_latent")
    behind = 0 if reference is None else patches(reference.shape[-3:])
    return View(one.grid.tokens, behind=joined(one) + behind)


def cost(model, grid: Grid, tokens: int, text: int | None = None) -> CostModel:
    """Of one branch. Each latent frame, the reference's too, has tokens of audio of its own."""
    audio, frames = model.audio_proj, tokens // (grid.height * grid.width)
    kv = model.blocks[0].audio_cross_attn_wrapper.audio_cross_attn.k.weight.shape[1]
    refresh = cross_attention_cost(width(model), tokens, audio.context_tokens * frames, audio.context_tokens, kv)
    layers = (audio.audio_proj_glob_1, audio.audio_proj_glob_2, audio.audio_proj_glob_3)
    projection = 2 * frames * sum(numbers(dummy.layer.weight) for dummy in layers)
    return wan_cost(model, layout(model), tokens, text, refresh, projection)


ADAPTER = register(
    Adapter(
        name="humo",
        title="HuMo",
        classes=("HumoWanModel",),
        layout=layout,
        grid=lambda latent: Grid.from_latent(latent.shape),
        cost=cost,
        width=width,
        listen=by_attribute(lambda model, block: (model.blocks[block].audio_cross_attn_wrapper, "forward")),
        view=view,
    )
)
