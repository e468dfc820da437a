"""Adapters: what SyncCache must know of a family of video DiTs. One file per family, found by the model's shape.

Of a model that none is for, whole results are reused, see `serve`.

A new family is one file that ends in `register(Adapter(...))`, its import below, and one line in
tests/core/test_adapters.py that hands a toy of it to `synccache_core.contract.checks.check_adapter`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch

from ...errors import UnsupportedModel
from ..audio import AudioCall
from ..cost import CostModel
from ..grid import Grid
from ..layout import Layout
from ..live import Live
from ..view import Pass, View, video_alone


@dataclass(frozen=True)
class Adapter:
    """name: stable id. title: for people. classes: class names that it serves. layout(model). grid(latent): video tokens of
    a latent [B, C, T, H, W]. cost(model, grid, tokens, text=None): operations of one call, with a prompt of `text` tokens,
    None = not known. width(model): channels of the hidden state.

    blocks(model): the heavy blocks in their order; without it, `model.blocks` at ComfyUI's "double_block" places.

    listen(pass, call): for audio inside the block, a context around a pass in which `call.refresh` is asked to run each
    audio operation, and `call.offer_audio` is told of them; see `AudioCall`, and `inside.by_attribute`.

    rest: transformer_options under which a block leaves the video alone and computes the rest of the hidden state, such as
    the sound's tokens: so it does at every step.

    live(block): how a block runs on some of its rows, see `live.Live`; None where it cannot.

    view(pass, block): where the video's tokens lie in the hidden state at a block, and how many others there are: a hidden
    state of another length is never touched. Without it, the video's are all.

    asks(model, transformer_options): None where it does not serve this model of its classes, such as one without a patch
    that makes the family; else what more `cost` must know, by the names of its keywords.

    foreign(options): whether these transformer_options are of a pass with parts of the model switched off, such as a
    guidance makes one: it is run as it is, and neither fed nor served.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    layout: Callable[[torch.nn.Module], Layout]
    grid: Callable[[torch.Tensor], Grid]
    cost: Callable[..., CostModel]
    width: Callable[[torch.nn.Module], int]
    blocks: Callable[[torch.nn.Module], Sequence["Block"]] = lambda model: in_a_row(model.blocks)
    listen: Callable[[Pass, AudioCall], AbstractContextManager] = lambda one, call: nullcontext()
    rest: Mapping[str, object] | None = None
    live: Callable[[torch.nn.Module], Live | None] = lambda block: None
    view: Callable[[Pass, int], View] = video_alone
    foreign: Callable[[Mapping], bool] = lambda options: False
    asks: Callable[[torch.nn.Module, Mapping[str, Any]], Mapping[str, Any] | None] = lambda model, options: {}

    def of(self, model: torch.nn.Module, options: Mapping[str, Any]) -> "Adapter | None":
        """It as it serves a model under these transformer_options; None where it does not."""
        asked = self.asks(model, options) if type(model).__name__ in self.classes else None
        return asked if asked is None else replace(self, cost=partial(self.cost, **asked)) if asked else self


@dataclass(frozen=True)
class Bound:
    """An adapter and the model that it serves: what both doors, `attach` and a host's hooks, ask about that model."""

    adapter: Adapter
    model: torch.nn.Module

    @cached_property
    def layout(self) -> Layout:
        return self.adapter.layout(self.model)

    @cached_property
    def blocks(self) -> Sequence["Block"]:
        """In their order; none where nothing is known of the model's inside."""
        return () if self.layout.unknown else self.adapter.blocks(self.model)

    @cached_property
    def takes_rows(self) -> bool:
        """Whether all of its blocks can run on some of their rows."""
        return bool(self.blocks) and all(self.adapter.live(block.module) is not None for block in self.blocks)

    @property
    def can_live(self) -> bool:
        """Whether a human mask can have LIVE evaluations of it: where audio comes in between blocks."""
        return self.layout.audio == "after" and self.takes_rows

    @property
    def runs_beside(self) -> bool:
        """Whether rows beside the video go through the blocks at every step."""
        return self.layout.audio == "beside" and self.adapter.rest is None and self.takes_rows

    @property
    def width(self) -> int:
        """Channels of the hidden state."""
        return self.adapter.width(self.model)

    def cost(self, grid: Grid, tokens: int, text: int | None = None) -> CostModel:
        """Of one call. grid: video tokens. tokens: all of the hidden state. text: of the prompt, None = not known."""
        return self.adapter.cost(self.model, grid, tokens, text)


@dataclass(frozen=True)
class Block:
    """A heavy block, and its place among ComfyUI's replacements of blocks, such as ("double_block", 3)."""

    module: torch.nn.Module
    place: tuple[str, int]


def in_a_row(modules: Sequence[torch.nn.Module], kind: str = "double_block") -> list[Block]:
    return [Block(module, (kind, place)) for place, module in enumerate(modules)]


_REGISTRY: dict[str, Adapter] = {}


def register(adapter: Adapter) -> Adapter:
    _REGISTRY[adapter.name] = adapter
    return adapter


def supported() -> list[str]:
    """Titles of the known families, for messages and help."""
    return [adapter.title for adapter in _REGISTRY.values()]


def find(model: torch.nn.Module, options: Mapping[str, Any] | None = None) -> Adapter:
    """The adapter of a model. options: transformer_options that are known before a run; patches there may make it one of
    another family. Raises UnsupportedModel with the class found and the supported list."""
    found = next(filter(None, (adapter.of(model, options or {}) for adapter in _REGISTRY.values())), None)
    if found is None:
        raise UnsupportedModel(f"SyncCache does not know the model class {type(model).__name__}; supported: {supported()}")
    return found


def serve(model: torch.nn.Module, options: Mapping[str, Any] | None = None) -> Adapter:
    """As `find`; of a model that is not known, the one that has its whole results reused."""
    try:
        return find(model, options)
    except UnsupportedModel:
        return outputs_only(model)


from . import (  # noqa: E402 - they register themselves
    humo,  # noqa: F401
    hunyuan_avatar,  # noqa: F401
    hunyuan_video,  # noqa: F401
    infinite_talk,  # noqa: F401
    ltx_av,  # noqa: F401
    minimax_h3,  # noqa: F401
    wan_animate,  # noqa: F401
    wan_animate2,  # noqa: F401
    wan_dancer,  # noqa: F401
    wan_s2v,  # noqa: F401
)
from .outputs_only import outputs_only  # noqa: E402
