"""Adapters: what SyncCache must know of a family of video DiTs. One file per family, found by the model's shape.

Of a model that none is for, whole results are reused, see `serve`.

A new family is one file that ends in `register(Adapter(...))`, its import below, and one line in
tests/core/test_adapters.py that hands a toy of it to `synccache_core.contract.checks.check_adapter`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ...errors import UnsupportedModel
from ..cost import CostModel
from ..grid import Grid
from ..layout import Layout
from ..view import Pass, View, video_alone


@dataclass(frozen=True)
class Adapter:
    """name: stable id. title: for people. classes: class names that it serves. layout(model). grid(latent): video tokens of
    a latent [B, C, T, H, W]. cost(model, grid, tokens, text=None): operations of one call, with a prompt of `text` tokens,
    None = not known. width(model): channels of the hidden state.

    audio_op(model, block): for audio inside the block, the (owner, attribute) of the callable that refreshes audio there,
    called by the model as op(hidden, ...) -> hidden.

    view(pass, block): where the video's tokens lie in the hidden state at a block, and how many others there are: a hidden
    state of another length is never touched. Without it, the video's are all.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    layout: Callable[[torch.nn.Module], Layout]
    grid: Callable[[torch.Tensor], Grid]
    cost: Callable[..., CostModel]
    width: Callable[[torch.nn.Module], int]
    audio_op: Callable[[torch.nn.Module, int], tuple[object, str]] | None = None
    view: Callable[[Pass, int], View] = video_alone

    def matches(self, model: torch.nn.Module) -> bool:
        return type(model).__name__ in self.classes


_REGISTRY: dict[str, Adapter] = {}


def register(adapter: Adapter) -> Adapter:
    _REGISTRY[adapter.name] = adapter
    return adapter


def supported() -> list[str]:
    """Titles of the known families, for messages and help."""
    return [adapter.title for adapter in _REGISTRY.values()]


def find(model: torch.nn.Module) -> Adapter:
    """The adapter of a model. Raises UnsupportedModel with the class found and the supported list."""
    for adapter in _REGISTRY.values():
        if adapter.matches(model):
            return adapter
    raise UnsupportedModel(f"SyncCache does not know the model class {type(model).__name__}; supported: {supported()}")


def serve(model: torch.nn.Module) -> Adapter:
    """The adapter of a model; of one that is not known, the one that has its whole results reused."""
    return next((adapter for adapter in _REGISTRY.values() if adapter.matches(model)), None) or outputs_only(model)


from . import wan_s2v  # noqa: E402, F401 - registers itself
from .outputs_only import outputs_only  # noqa: E402
