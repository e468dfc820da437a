"""HunyuanVideo 1.0 and 1.5: double blocks on video and text apart, then single blocks on both in one sequence, text first.

There is no audio, and the text is read by no more than the blocks, so one residual of all blocks but the first stands in for
them; the text that comes out of the first is handed on. Serves ComfyUI's HunyuanVideo; of its variants for single pictures
(two-dimensional patches) and of the picture refiner whole results are reused.
"""

from math import prod

from ...errors import UnknownView
from ..cost import CostModel
from ..grid import Grid
from ..layout import Layout
from ..view import Pass, View
from . import Adapter, Block, in_a_row, register

TEXT = 256  # tokens of a prompt, where it is not known


def blocks(model) -> list[Block]:
    return in_a_row(model.double_blocks) + in_a_row(model.single_blocks, "single_block")


def layout(model) -> Layout:
    return Layout(len(model.double_blocks) + len(model.single_blocks), (0,), "none")


def view(one: Pass, block: int) -> View:
    """A reference latent stands in front of the video; in single blocks, all text in front of both."""
    if one.arguments.get("control") is not None:
        raise UnknownView(
            "a ControlNet adds to the video after every block, on reused steps as well, so nothing is reused; set reuse to "
            "outputs, which leaves the blocks alone"
        )
    front = reference_tokens(one)
    if block >= len(one.model.double_blocks):
        front += text_tokens(one)
    return View(one.grid.tokens, front)


def reference_tokens(one: Pass) -> int:
    reference = one.arguments.get("ref_latent")
    if reference is None:
        return 0
    return prod(size // patch for size, patch in zip(reference.shape[-3:], one.model.patch_size))


def text_tokens(one: Pass) -> int:
    """Of the prompt, of text to be drawn (byT5) and of a picture that 1.5 is shown."""
    drawn, seen = one.arguments.get("txt_byt5"), one.arguments.get("clip_fea")
    more = (drawn if one.model.byt5_in is not None else None, seen)
    return one.arguments["context"].shape[1] + sum(each.shape[1] for each in more if each is not None)


def cost(model, grid: Grid, tokens: int, text: int | None = None) -> CostModel:
    """FLOPs of one branch; L tokens of video and reference, T of text, d width, m of the hidden layers.

    double: (8 d^2 + 4 d m) (L + T) + 4 (L + T)^2 d + 24 d^2
    single: (8 d^2 + 4 d m) (L + T) + 4 (L + T)^2 d +  6 d^2
    """
    text = TEXT if text is None else text
    d, double, single = model.hidden_size, len(model.double_blocks), len(model.single_blocks)
    m, every = model.double_blocks[0].img_mlp[0].weight.shape[0], tokens + text
    heavy = (8 * d * d + 4 * d * m) * every + 4 * every**2 * d
    mean = heavy + (24 * double + 6 * single) * d * d / (double + single)
    return CostModel(mean, 0.0, _other(model, d, tokens, text), layout(model), probe=heavy + 24 * d * d)


def _other(model, d: int, tokens: int, text: int) -> float:
    """Patch embedding, head, refinement of the text (two blocks of width d), embedding of time and whole prompt."""
    latent = prod(model.img_in.proj.weight.shape[1:])
    out = model.final_layer.linear.weight.shape[0]
    words = model.txt_in.input_embedder.weight.shape[1]
    refined = 2 * (24 * d * d * text + 4 * text**2 * d + 4 * d * d) + 2 * text * words * d
    whole = 2 * (model.vector_in.in_layer.weight.shape[1] + d) * d if model.vector_in is not None else 0
    steps = (2 + bool(model.params.guidance_embed)) * 2 * (256 + d) * d + 2 * (words + d) * d
    return 2 * tokens * (latent + out) * d + 4 * d * d + refined + whole + steps


def _adapter(name: str, title: str, patch: int, serves) -> Adapter:
    return Adapter(
        name=name,
        title=title,
        classes=("HunyuanVideo",),
        layout=layout,
        grid=lambda latent: Grid.from_latent(latent.shape, patch),
        cost=cost,
        width=lambda model: int(model.hidden_size),
        blocks=blocks,
        view=view,
        asks=lambda model, options: {} if serves(model) else None,
    )


ADAPTER = register(_adapter("hunyuan_video", "HunyuanVideo", 2, lambda model: list(model.patch_size) == [1, 2, 2]))
register(_adapter("hunyuan_video_15", "HunyuanVideo 1.5", 1, lambda model: model.vision_in is not None))
