"""MiniMax-H3: picture and sound in one sequence [L, C] of text, given pictures and sounds, the sound, and last the video.

On a reused step the video takes a share of its residual at every block. All that stands before it goes through the block,
and hears the video by keys and values that the block makes of its state at that depth: so the sound is computed at every
step, made up or given. Serves ComfyUI's MiniMaxH3Model, which takes one conditioning a pass.
"""

from functools import partial
from math import prod

import torch

from ..cost import CostModel, numbers
from ..grid import Grid
from ..layout import Layout
from ..live import Given, Keys, Live, Rows
from ..view import Pass, View
from . import Adapter, register
from .wan_block import hearing

SEGMENT = 5  # blocks whose residuals are stored as one
TEXT = 256  # tokens of a prompt, where it is not known
STRIDE, CYCLE = 4, 5  # frames of the film per latent frame, of which every fifth stands for one
SOUND = 5 / 3  # latents of the sound in the time of a frame: 40 a second, 24 frames
CHANNELS = 2  # of the sound, each with rows of its own
TIMES = 2  # noise levels of one pass: of the video and of the sound


def layout(model) -> Layout:
    """The first block is the probe, runs of SEGMENT blocks follow."""
    count = len(model.blocks)
    return Layout(count, tuple(range(0, count, SEGMENT)), "beside")


def grid(latent: torch.Tensor) -> Grid:
    """latent: [B, C, T, H, W]."""
    return Grid.from_latent(latent.shape, stride=STRIDE, cycle=CYCLE)


def view(one: Pass, block: int) -> View:
    """The video stands last. Given pictures have a token for each two by two of their latents, given sounds as the sound."""
    given, sound = one.arguments.get("minimax_payload") or {}, one.arguments["x"][1]
    pictures = sum(prod(each.shape[-3:]) // 4 for each in given.get("cond_video_latents", ()))
    sounds = sum(CHANNELS * each.shape[-1] for each in (sound, *given.get("cond_audio_latents", ())))
    return View(one.grid.tokens, one.arguments["context"].shape[1] + pictures + sounds, 0)


def cost(model, grid: Grid, tokens: int, text: int | None = None) -> CostModel:
    """FLOPs of one branch; V tokens of video, n before them, L = V + n; d width, i of attention, m of the hidden layer.

    block: (8 d i + 6 d m) L + 4 L^2 i, of which at every step (8 d i + 6 d m) n + 4 n L i + 6 d i V
    """
    block, video = model.blocks[0], grid.tokens
    sound = CHANNELS * round(SOUND * sum(grid.spans))
    beside = tokens - video or sound + (TEXT if text is None else text)
    (d, i), length = block.attn.out_proj.weight.shape, tokens if tokens > video else video + beside
    linear = 8 * d * i + 6 * d * block.mlp.fc2.weight.shape[1]
    every = linear * beside + 4 * beside * length * i + 6 * d * i * video
    whole = linear * length + 4 * length**2 * i
    modulated = TIMES * 2 * numbers(block.adaln_proj.linear.weight)
    ends = 4 * (numbers(model.video_patch_proj.weight) * video + numbers(model.audio_patch_proj.weight) * sound)
    if hasattr(model, "time_embedder"):
        ends += TIMES * 2 * sum(numbers(weight) for weight in model.time_embedder.parameters())
    blocks = layout(model)
    return CostModel(whole - every, 0.0, blocks.blocks * (every + modulated) + ends, blocks)


def part(given: Given, rows: Rows) -> Given:
    """mod_segments: (from, to, row or rows of the modulation). rope_freqs: rotations [1, L, 1, C/2, 2, 2]."""
    found = []
    for start, end, row in given["mod_segments"]:
        first, last = torch.searchsorted(rows.at, torch.tensor([start, end])).tolist()
        if first < last:
            each = isinstance(row, torch.Tensor)  # a row of its own for each
            found.append((first, last, row[rows.index[first:last] - start] if each else row))
    return {**given, "mod_segments": found, "rope_freqs": rows.of(given["rope_freqs"])}


def keys(block: torch.nn.Module, hidden: torch.Tensor, given: Given) -> Keys:
    """[1, heads, m, C] each, as its attention takes them. The queries of one projection for all three are thrown away."""
    attention, (shift, scale, *_) = block.attn, block.adaln_proj(given["t_emb"])
    heard = block.norm1(hidden[0])
    for start, end, row in given["mod_segments"]:
        heard[start:end].mul_(1 + scale[row].to(heard)).add_(shift[row].to(heard))
    _, key, value = attention.qkv_proj(heard).unflatten(-1, (3, attention.heads, -1)).unbind(1)
    turned = rotated(attention.k_norm(key), given["rope_freqs"][0])
    return turned.transpose(0, 1)[None], value.transpose(0, 1)[None]


def rotated(key: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """[m, heads, C] of which the first channels, each with that half of them further on, are turned by [m, 1, C/2, 2, 2]."""
    half = turns.shape[-3]
    pairs = key[..., : 2 * half].unflatten(-1, (2, half)).transpose(-1, -2).unsqueeze(-2)
    both = (turns * pairs.to(turns.dtype)).sum(-1).transpose(-1, -2).flatten(-2)
    return torch.cat([both.to(key.dtype), key[..., 2 * half :]], dim=-1)


LIVE = Live(part, keys, partial(hearing, dim=2), "attn")
ADAPTER = register(
    Adapter(
        name="minimax_h3",
        title="MiniMax-H3",
        classes=("MiniMaxH3Model",),
        layout=layout,
        grid=grid,
        cost=cost,
        width=lambda model: int(model.hidden_size),
        live=lambda block: LIVE,
        view=view,
    )
)
