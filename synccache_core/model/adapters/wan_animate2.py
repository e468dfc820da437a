"""Wan-Animate 2: the poses of a driving video go through the same blocks in a branch of their own, whose keys and values the
frames see. There is no audio, so one residual of all blocks but the first stands in for them; the reference is the first
frame of the latent.

The host runs the pose branch before each replacement of a block. No skipped block reads it, so there it is skipped as well;
that ComfyUI's own cache of the branch is being filled comes first.
"""

from contextlib import ExitStack, contextmanager
from dataclasses import replace

from ..audio import AudioCall
from ..cost import CostModel
from ..grid import Grid
from ..layout import Layout
from ..overrides import override
from ..view import Pass
from . import Adapter, register
from .wan import PICTURE, block_cost, embedding_cost, text_of, wan_cost, width

CACHE = "animate2_cache"  # of transformer_options: what ComfyUI's WanAnimate2Cache keeps


def layout(model) -> Layout:
    return Layout(len(model.blocks), (0,), "none")


@contextmanager
def listen(one: Pass, call: AudioCall):
    """In blocks that are certain to be skipped, poses go on as they came, without keys and values."""
    cache = one.options.get(CACHE)
    with ExitStack() as stack:

        def spare(owner, name: str, instead, place=None):
            run = getattr(owner, name)

            def spared(*args, **kwargs):
                skipped = call.skips(args[0] if place is None else place)
                return instead(*args) if skipped else run(*args, **kwargs)

            override(stack, owner, name, spared)

        for index, block in enumerate(one.model.blocks):
            if cache is None:
                spare(block, "forward_pose", lambda pose, *_: (pose, None, None), index)
            spare(block, "kv_from_input", lambda *_: (None, None), index)
        for name in ("take", "prefetch") if cache is not None else ():
            spare(cache, name, lambda *_: None)
        yield


def cost(model, grid: Grid, tokens: int, text: int | None = None) -> CostModel:
    """Of one branch with poses, without ComfyUI's cache of them, with CLIP vision's tokens of the reference. Each frame but
    the first sees the poses of one frame beside all frames. Of a reused step the pose branch runs in two blocks.
    """
    d, area, text = width(model), grid.height * grid.width, text_of(model, text)
    posed = (grid.frames - 1) * area
    pose = block_cost(model, posed, text + PICTURE)
    plain = wan_cost(model, layout(model), tokens, text, 0.0, embedding_cost(model, posed, text, 1, 1), pictures=1)
    frames, count = plain.block + 4 * posed * area * d, len(model.blocks)
    out = 2 * posed * model.head.head.weight.shape[0] * d  # poses have no head
    other = plain.other + pose - out
    return replace(plain, block=frames + pose * (count - 1) / count, other=other, probe=frames + pose, keys=0.0)


ADAPTER = register(
    Adapter(
        name="wan_animate2",
        title="Wan-Animate 2",
        classes=("WanAnimate2Model",),
        layout=layout,
        grid=lambda latent: Grid.from_latent(latent.shape, still=1),  # the reference
        cost=cost,
        width=width,
        listen=listen,
    )
)
