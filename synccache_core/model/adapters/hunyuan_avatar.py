"""HunyuanVideo-Avatar: audio cross-attention after double blocks 1, 3, ..., 19, outside the block, on the video tokens.

In double blocks a frame of the portrait stands before the video, and the text is a stream of its own; in the single blocks
behind them the text stands in front of both. Eleven segments: ten pairs of double blocks, and all single blocks as the tail.
Serves this pack's HunyuanVideoAvatar, which runs on ComfyUI's HunyuanVideo.
"""

from math import prod

from ..cost import CostModel, numbers
from ..grid import Grid
from ..layout import Layout
from ..view import Pass, View
from . import Adapter, in_a_row, register

EVERY = 2  # double blocks per audio adapter
TEXT = 831  # tokens of a usual prompt with its picture: 256 of words, 575 of llava's picture
AUDIO_TOKENS = 16  # per latent frame


def layout(model) -> Layout:
    double = len(model.double_blocks)
    return Layout(double + len(model.single_blocks), tuple(range(EVERY - 1, double, EVERY)), "after")


def view(one: Pass, block: int) -> View:
    grid, text = one.grid, one.arguments["context"].shape[1]
    before = text if block >= len(one.model.double_blocks) else 0
    return View(grid.tokens, front=before + grid.height * grid.width, behind=0)


def cost(model, grid: Grid, tokens: int, text: int | None = None) -> CostModel:
    """FLOPs of one branch; V video tokens, L all (tokens and text), T latent frames, d width, a inner width of an adapter.

    block:   24 d^2 L + 4 L^2 d, double and single alike
    refresh: 4 d a V + 4 d a 16T + 4 V 16 a
    """
    d, a = model.hidden_size, model.audio_adapter_blocks[0].to_q.weight.shape[0]
    text = TEXT if text is None else text
    every, video, heard = tokens + text, grid.tokens, AUDIO_TOKENS * grid.frames
    heavy = 24 * d * d * every + 4 * every**2 * d
    refresh = 4 * d * a * (video + heard) + 4 * video * AUDIO_TOKENS * a
    return CostModel(heavy, refresh, _other(model, d, video, tokens, grid.frames, text), layout(model))


def _other(model, d: int, video: int, tokens: int, frames: int, text: int) -> float:
    """Patch embeddings, head, text refiner, audio projection; what modulates the blocks is a thousandth of that."""
    latent, out = prod(model.img_in.proj.weight.shape[1:]), model.final_layer.linear.weight.shape[0]
    words, hearing = model.txt_in.input_embedder.weight.shape[1], model.audio_proj
    patches = 2 * d * (latent * (tokens + video) + d * video + out * video)
    refined = len(model.txt_in.individual_token_refiner.blocks) * (24 * d * d * text + 4 * text**2 * d)
    projected = sum(numbers(part.weight) for part in (hearing.proj1, hearing.proj2, hearing.proj3))
    return patches + 2 * text * words * d + refined + 2 * 4 * frames * projected


ADAPTER = register(
    Adapter(
        name="hunyuan_avatar",
        title="HunyuanVideo-Avatar",
        classes=("HunyuanVideoAvatar",),
        layout=layout,
        grid=lambda latent: Grid.from_latent(latent.shape),
        cost=cost,
        width=lambda model: int(model.hidden_size),
        blocks=lambda model: in_a_row(model.double_blocks) + in_a_row(model.single_blocks, "single_block"),
        view=view,
    )
)
