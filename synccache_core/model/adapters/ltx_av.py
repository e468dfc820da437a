"""LTX-2 with picture and sound: every block works on a tuple (video, sound), each of which attends to the other.

On a reused step the video takes a share of its residual at every block, and the block computes the sound from there on: its
own attention, the prompt, what it sees of the video, and the layer behind. So the sound is computed at every step, made up
or given. Blocks write into both tensors. Serves ComfyUI's LTXAVModel.
"""

from collections.abc import Mapping

from ..cost import CostModel, numbers
from ..grid import Grid
from ..layout import Layout
from ..view import Pass, View
from . import Adapter, in_a_row, register

SEGMENT = 4  # blocks whose residuals are stored as one
TEXT = 1024  # tokens of a prompt, which the host fills up to as many
STRIDE = 8  # frames of the film per latent frame, and latents of the sound in the time of as many, at 25 a second
PARTS = ("run_vx", "run_ax", "a2v_cross_attn", "v2a_cross_attn")
# Marks of a pass in which some blocks have no attention: the host's, and those of LTXVideo's guiders, which count a block's
# attentions to find theirs.
PERTURBED = ("stg_self_attn_blocks", "stg_indexes", "ptb_index")


def layout(model) -> Layout:
    """The first block is the probe, runs of SEGMENT blocks follow."""
    count = len(model.transformer_blocks)
    return Layout(count, tuple(range(0, count, SEGMENT)), "beside")


def foreign(options: Mapping) -> bool:
    """Guidance by a pass in which the two do not hear each other, or in which some blocks have no attention."""
    perturbed = any(options.get(mark) not in (None, ()) for mark in PERTURBED)
    return perturbed or not all(options.get(part, True) for part in PARTS)


def cost(model, grid: Grid, tokens: int, text: int | None = None) -> CostModel:
    """FLOPs of one branch; V tokens of video, A of sound, as many as 25 a second are, T of text.

    Of a block, the video's own part is what reuse spares; the sound's, which reads keys and values of all the video, runs at
    every step. Either is its attention to itself, to the text and to the other, and two linear layers.
    """
    block, sound = model.transformer_blocks[0], STRIDE * (grid.frames - 1) + 1
    text = TEXT if text is None else max(text, TEXT)
    video = attention(block.attn1, tokens, tokens) + attention(block.attn2, tokens, text)
    video += attention(block.audio_to_video_attn, tokens, sound) + linear(block.ff) * tokens
    heard = attention(block.audio_attn1, sound, sound) + attention(block.audio_attn2, sound, text)
    heard += attention(block.video_to_audio_attn, sound, tokens) + linear(block.audio_ff) * sound
    ends = linear(model.patchify_proj, model.proj_out) * tokens
    ends += linear(model.audio_patchify_proj, model.audio_proj_out) * sound
    texts = [getattr(model, name) for name in ("caption_projection", "audio_caption_projection") if hasattr(model, name)]
    words = 0 if model.caption_proj_before_connector else linear(*texts) * text
    blocks = layout(model)
    return CostModel(video, 0.0, blocks.blocks * heard + ends + words, blocks)


def linear(*modules) -> int:
    """FLOPs per token of all matrices in some modules."""
    return 2 * sum(numbers(weight) for module in modules for weight in module.parameters() if len(weight.shape) == 2)


def attention(module, queries: int, keys: int) -> int:
    """FLOPs of queries that attend to keys, with the matrices before and behind."""
    own = linear(*filter(None, (module.to_q, module.to_out, module.to_gate_logits)))
    return own * queries + linear(module.to_k, module.to_v) * keys + 4 * queries * keys * module.to_q.weight.shape[0]


def view(one: Pass, block: int) -> View:
    """The video is the first of the two, and alone there."""
    return View(one.grid.tokens, part=0)


ADAPTER = register(
    Adapter(
        name="ltx_av",
        title="LTX-2 with sound",
        classes=("LTXAVModel",),
        layout=layout,
        grid=lambda latent: Grid.from_latent(latent.shape, patch=1, stride=STRIDE),
        cost=cost,
        width=lambda model: int(model.inner_dim),
        blocks=lambda model: in_a_row(model.transformer_blocks),
        view=view,
        rest={"run_vx": False},
        foreign=foreign,
    )
)
