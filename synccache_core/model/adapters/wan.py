"""What the Wan classes share: blocks of self-attention, cross-attention to text and pictures, and a feed-forward network;
frames that the host joins to the video; what their operations cost.
"""

from math import prod

from ..cost import CostModel
from ..grid import Grid
from ..layout import Layout
from ..view import Pass

PICTURE = 257  # CLIP vision's tokens of one picture


def patches(shape, patch=(1, 2, 2)) -> int:
    """Tokens of frames [T, H, W] that are not padded."""
    return prod(size // step for size, step in zip(shape, patch))


def joined(one: Pass) -> int:
    """Tokens of the frames that ComfyUI puts behind the video's own: `time_dim_concat` [B, C, T, H, W]."""
    extra = one.arguments.get("time_dim_concat")
    return 0 if extra is None else Grid.from_latent(extra.shape).tokens


def width(model) -> int:
    return int(model.dim)


def text_of(model, text: int | None) -> int:
    """Tokens of the prompt; where they are not known, as many as the model takes."""
    return int(getattr(model, "text_len", 512)) if text is None else text


def block_cost(model, tokens: int, context: int) -> float:
    """FLOPs of one block; L tokens, n of the context, that is text and pictures, d width:

    (12 d^2 + 4 d ffn) L + 4 L^2 d + 4 L n d + 4 n d^2
    """
    ffn, d = model.blocks[0].ffn[0].weight.shape
    return (12 * d * d + 4 * d * ffn) * tokens + 4 * tokens**2 * d + 4 * tokens * context * d + 4 * context * d * d


def cross_attention_cost(d: int, tokens: int, context: int, seen: int, kv: int | None = None) -> float:
    """FLOPs of attention of L tokens to n others, of which each token sees `seen`: 4 d^2 L + 4 d kv n + 4 L seen d.
    kv: channels of the others, None = d."""
    return 4 * d * d * tokens + 4 * d * (d if kv is None else kv) * context + 4 * tokens * seen * d


def wan_cost(
    model, layout: Layout, tokens: int, text: int | None, refresh: float, extra: float = 0.0, pictures: int = 0,
    times: int = 1,
) -> CostModel:
    """Of one branch. refresh: one audio refresh. extra: what the family embeds beside the latent, in FLOPs. pictures: that
    CLIP vision has seen. times: noise levels that are embedded, more than 1 where each frame has its own."""
    text = text_of(model, text)
    block = block_cost(model, tokens, text + pictures * PICTURE)
    other, keys = extra + embedding_cost(model, tokens, text, pictures, times), 4 * width(model) ** 2 * tokens
    return CostModel(block, refresh, other, layout, keys=keys)


def embedding_cost(model, tokens: int, text: int, pictures: int, times: int) -> float:
    """FLOPs of patch embedding, head, time, text and picture embedding."""
    d = width(model)
    patch, out = prod(model.patch_embedding.weight.shape[1:]), model.head.head.weight.shape[0]
    text_in, freq = model.text_embedding[0].weight.shape[1], model.time_embedding[0].weight.shape[1]
    seen = 0
    if pictures:
        hidden, clip = model.img_emb.proj[1].weight.shape
        seen = 2 * pictures * PICTURE * (clip * hidden + hidden * d)
    return 2 * tokens * (patch + out) * d + 2 * text * (text_in * d + d * d) + times * (2 * freq * d + 14 * d * d) + seen
