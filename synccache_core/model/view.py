"""Where the video's tokens lie in a hidden state: what an adapter states, and all that reads or writes them goes by."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from ..errors import UnknownView
from .grid import Grid

State = torch.Tensor | tuple[torch.Tensor, ...]  # what blocks hand on


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """Of torch's own class, sharing its memory. Hidden states take over the class of what they are added to, such as that
    of GGUF weights, whose clone() copies nothing.
    """
    return tensor.as_subclass(torch.Tensor)


@dataclass(frozen=True)
class View:
    """The video's `count` rows of a hidden state [B, L, C], in the order of `Grid`: `front` others stand before them, and
    `behind` after them, such as text and reference. behind: None = any number. part: which of several tensors, where blocks
    hand on a tuple, such as (video, audio). A state [L, C] of a model that packs one sequence counts as [1, L, C].
    """

    count: int
    front: int = 0
    behind: int | None = 0
    part: int | None = None

    def tensor(self, hidden: State) -> torch.Tensor:
        """[B, L, C] of a state, which shares its memory."""
        held = plain(hidden if self.part is None else hidden[self.part])
        return held if held.ndim == 3 else held[None]

    def copied(self, hidden: State) -> tuple[State, torch.Tensor]:
        """(a state whose tensor with the video may be written to, the others being those of `hidden`; its video)."""
        if self.part is None:
            out = plain(hidden).clone()
        else:
            out = tuple(plain(each).clone() if place == self.part else each for place, each in enumerate(hidden))
        return out, self.of(out)

    def of(self, hidden: State) -> torch.Tensor:
        """The video's [B, count, C] of a state, which shares its memory. Raises UnknownView where L is another."""
        hidden = self.tensor(hidden)
        length, least = hidden.shape[1], self.front + self.count + (self.behind or 0)
        if length < least or length > least and self.behind is not None:
            raise UnknownView(
                f"the model works on {length} tokens and not on the {least} expected: {self.count} of the video"
                f"{self._others()}. Which are the video's is not known, so nothing is reused; set reuse to outputs, which "
                "needs no tokens"
            )
        return hidden[:, self.front : self.front + self.count]

    def _others(self) -> str:
        places = ((self.front, "in front of them"), (self.behind, "behind them"))
        return "".join(f", {count} {where}" for count, where in places if count)


@dataclass
class Pass:
    """A forward pass before it begins, as the view of an adapter sees it: forward(*args, **kwargs) of a model on a grid."""

    model: torch.nn.Module
    grid: Grid
    forward: Callable
    args: Sequence = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """The host's transformer_options, {} where there are none."""
        return self.arguments.get("transformer_options") or {}

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """What the forward was called with, by its names; of one that takes just *args, only what was given by name."""
        parameters = inspect.signature(self.forward).parameters.values()
        names = [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
        return {**dict(zip(names, self.args)), **self.kwargs}


ViewOf = Callable[[int], View]  # of a block


def video_alone(one: Pass, block: int) -> View:
    """The view of an adapter that states none."""
    return View(one.grid.tokens)
