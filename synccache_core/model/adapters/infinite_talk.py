"""InfiniteTalk and MultiTalk: ComfyUI's plain WanModel with a patch in its transformer_options, which attends to the voice
inside every block, between the text and the feed-forward, on all tokens.

With two speakers, a patch of the self-attention writes into the options who is where, and that of the voice takes it from
there. Where the self-attention is skipped, the voice is given what was last computed in that block.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ...sentences import say
from ..audio import AudioCall
from ..cost import CostModel
from ..grid import Grid
from ..layout import Layout
from ..view import Pass, View
from . import Adapter, register
from .wan import cross_attention_cost, joined, patches, wan_cost, width

VOICES, WHERE = "MultiTalkCrossAttnPatch", "MultiTalkGetAttnMapPatch"  # classes of ComfyUI's patches
AFTER_TEXT, AFTER_SELF = "attn2_patch", "attn1_patch"  # where it lists them
MAP = "x_ref_attn_map"
RESTED = say("who speaks where was not looked for in skipped blocks: there it is as last computed, the voices are fresh")


def layout(model) -> Layout:
    return Layout(len(model.blocks), tuple(range(len(model.blocks))), "inside")


def view(one: Pass, block: int) -> View:
    """A reference of some checkpoints comes first; frames joined to the video and references in context come behind it."""
    reference, context = map(one.arguments.get, ("reference_latent", "context_latents"))
    in_front = reference is not None and one.model.ref_conv is not None
    front = patches((1, *reference.shape[-2:])) if in_front else 0
    return View(one.grid.tokens, front, joined(one) + sum(patches(more.shape[-3:]) for more in context or ()))


def asks(model, options: Mapping[str, Any]) -> dict[str, int] | None:
    """Of the patch: tokens of all voices per latent frame and their channels; speakers that are told apart."""
    heard = options.get("audio_embeds")  # [1, T, tokens, channels]
    if heard is None or not _named(options, AFTER_TEXT, VOICES):
        return None
    masks = [patch.ref_target_masks for patch in _named(options, AFTER_SELF, WHERE)]
    apart = sum(len(mask) for mask in masks if mask is not None)
    return {"heard": heard.shape[-2], "channels": heard.shape[-1], "apart": apart}


def _named(options: Mapping[str, Any], place: str, name: str) -> list:
    return [patch for patch in options.get("patches", {}).get(place, ()) if type(patch).__name__ == name]


@contextmanager
def listen(one: Pass, call: AudioCall):
    """The patches from the first voice to the last one in ComfyUI's list become one, for this pass."""
    lists = one.options.get("patches", {})
    before = lists.get(AFTER_TEXT, [])
    places = [place for place, patch in enumerate(before) if type(patch).__name__ == VOICES]
    if not places:
        yield
        return
    first, end = places[0], places[-1] + 1
    call.offer_audio({index: _skipped(call, index, before[first:end]) for index in call.layout.refresh})
    lists[AFTER_TEXT] = [*before[:first], _computed(call, before[first:end]), *before[end:]]
    try:
        yield
    finally:
        lists[AFTER_TEXT] = before


def _computed(call: AudioCall, voices: Sequence[Callable]) -> Callable:
    """What ComfyUI calls in a block that runs. given: x, transformer_options."""

    def hear(given):
        options = given["transformer_options"]
        if options.get(MAP) is not None:
            call.remember(options["block_index"], options[MAP])
        return call.refresh(options["block_index"], _run(voices), given["x"], given)

    return hear


def _skipped(call: AudioCall, index: int, voices: Sequence[Callable]) -> Callable:
    """The voice in a block that does not run. given: of a block before it, in the same pass."""

    def hear(hidden, given):
        options, where = {**given["transformer_options"], "block_index": index}, call.recall(index)
        if where is not None:
            options[MAP] = where
            call.report.note(RESTED)
        return _run(voices)(hidden, {**given, "transformer_options": options})

    return hear


def _run(voices: Sequence[Callable]) -> Callable:
    def run(hidden, given):
        for voice in voices:
            hidden = voice({**given, "x": hidden})
        return hidden

    return run


def cost(
    model, grid: Grid, tokens: int, text: int | None = None, heard: int = 32, channels: int = 768, apart: int = 0
) -> CostModel:
    """FLOPs of one branch; L all tokens, V video tokens, T latent frames, S tokens of one of them, d width. heard, channels,
    apart: see `asks`.

    block:   a Wan block's with prompt and portrait, and 2 apart L S d to tell the speakers apart
    refresh: 4 d^2 V + 4 V heard d + 4 T heard channels d
    """
    d, pictures = width(model), int(model.img_emb is not None)
    refresh = cross_attention_cost(d, grid.tokens, grid.frames * heard, heard, channels)
    made = wan_cost(model, layout(model), tokens, text, refresh, pictures=pictures)
    return replace(made, block=made.block + 2 * apart * tokens * grid.height * grid.width * d)


ADAPTER = register(
    Adapter(
        name="infinite_talk",
        title="InfiniteTalk",
        classes=("WanModel",),
        layout=layout,
        grid=lambda latent: Grid.from_latent(latent.shape),
        cost=cost,
        width=width,
        listen=listen,
        view=view,
        asks=asks,
    )
)
