"""The block that the models of the Wan family share, on some of its rows: ComfyUI's, and diffsynth's of Wan-S2V."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from ..live import Given, Keys, Live, Rows
from ..overrides import override

OVERRIDE = "optimized_attention_override"  # of ComfyUI's transformer_options: (function, q, k, v, ...) -> attention


def names(given: Given) -> tuple[str, str]:
    """Of modulation [B, F, 6, C], each of equally many rows in a row, and rotations [B, L, 1, C/2, 2, 2]: as the host's
    replacements of blocks are given them, or as the block is called."""
    return ("vec", "pe") if "pe" in given else ("e", "freqs")


def part(given: Given, rows: Rows) -> Given:
    """With the modulation [B, n, 6, C], or [B, 1, 6, C], and the rotations [B, n, 1, C/2, 2, 2] of n rows."""
    (name, modulation), (place, turns) = ((key, given[key]) for key in names(given))
    if modulation.shape[1] > 1:
        modulation = modulation.index_select(1, rows.index // each(turns.shape[1], modulation.shape[1]))
    return {**given, name: modulation, place: rows.of(turns)}


def each(length: int, count: int) -> int:
    """Rows that share one of `count` modulations; where they do not divide `length`, the host gives the last one less."""
    return -(-length // count)


def keys(block: torch.nn.Module, hidden: torch.Tensor, given: Given) -> Keys:
    """Of rows [B, n, C], with the arguments of these: (keys, values), each [B, n, C], keys normed and rotated."""
    attention, (modulation, turns) = block.self_attn, (given[key] for key in names(given))
    shift, scale = (block.modulation.to(hidden)[:, :2].unsqueeze(1) + modulation[:, :, :2]).unbind(2)
    heard = torch.addcmul(shift, block.norm1(hidden), 1 + scale)
    key = attention.norm_k(attention.k(heard)).unflatten(2, (attention.num_heads, -1))
    return rotated(key, turns).flatten(2), attention.v(heard)


def rotated(key: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Pairs of channels [B, n, heads, C/2, 2] by 2 x 2 rotations [B, n, 1, C/2, 2, 2], in the rotations' precision."""
    pairs = key.to(turns.dtype).unflatten(-1, (-1, 1, 2))
    return (turns * pairs).sum(-1).flatten(-2).to(key.dtype)


@contextmanager
def hearing(block: torch.nn.Module, given: Given, more: Keys, dim: int = 1) -> Iterator[Given]:
    """The block's first attention is that of its rows among each other. What is at the host's override already goes on.
    dim: along which its keys lie."""
    options = dict(given.get("transformer_options") or {})
    before, waiting = options.get(OVERRIDE), [more]

    def attend(function, q, k, v, *args, **kwargs):
        if waiting:
            k, v = (torch.cat(both, dim=dim) for both in zip((k, v), waiting.pop()))
        return function(q, k, v, *args, **kwargs) if before is None else before(function, q, k, v, *args, **kwargs)

    options[OVERRIDE] = attend
    yield {**given, "transformer_options": options}


COMFY = Live(part, keys, hearing)


def diffsynth_part(given: Given, rows: Rows) -> Given:
    """t_mod: modulation [1, 6, 2, C], of the video's rows, of which there are seq_len_x, and of those behind them.
    freqs: rotations [L, 1, C/2], complex."""
    return {**given, "seq_len_x": rows.video, "freqs": rows.of(given["freqs"], dim=0)}


def diffsynth_keys(block: torch.nn.Module, hidden: torch.Tensor, given: Given) -> Keys:
    """Of rows of the video [B, m, C]."""
    attention, count = block.self_attn, len(given["freqs"])
    shift, scale = (block.modulation.to(hidden)[:, :2] + given["t_mod"][:, :2, 0]).chunk(2, dim=1)
    heard = torch.addcmul(shift, block.norm1(hidden), 1 + scale)
    key = attention.norm_k(attention.k(heard)).unflatten(2, (attention.num_heads, -1, 2))
    turned = torch.view_as_complex(key.double().contiguous()) * given["freqs"].reshape(count, -1, key.shape[3])
    return torch.view_as_real(turned).flatten(2).to(key.dtype), attention.v(heard)


@contextmanager
def diffsynth_hearing(block: torch.nn.Module, given: Given, more: Keys) -> Iterator[Given]:
    attend = block.self_attn.attn.forward

    def both(q, k, v):
        return attend(q, *(torch.cat(pair, dim=1) for pair in zip((k, v), more)))

    with ExitStack() as stack:
        override(stack, block.self_attn.attn, "forward", both)
        yield given


DIFFSYNTH = Live(diffsynth_part, diffsynth_keys, diffsynth_hearing)
OF_BLOCK = {"WanAttentionBlock": COMFY, "WanS2VDiTBlock": DIFFSYNTH}


def live(block: torch.nn.Module) -> Live | None:
    """For `Adapter.live`."""
    return OF_BLOCK.get(type(block).__name__)
