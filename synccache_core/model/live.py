"""Live rows: a block that runs on some rows of its hidden state while its attention hears all of them.

A LIVE step stands between a computed and a reused one: the rows of the person go through the blocks, the others are reused,
and what a block's attention needs of these, their keys and values, is made from states that are known well enough. An
adapter says how, for each kind of block.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

Given = Mapping[str, Any]  # a block's arguments by name, without its hidden state
Keys = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Rows:
    """Some rows of a hidden state [B, L, C]. index: [n] rising, on its device. video: how many of them are the video's."""

    index: torch.Tensor
    video: int

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def at(self) -> torch.Tensor:
        """[n] in the CPU's memory, so that a device is asked once."""
        return self.index.cpu()

    def of(self, hidden: torch.Tensor, dim: int = 1) -> torch.Tensor:
        """These rows, a copy."""
        return hidden.index_select(dim, self.index)


@dataclass(frozen=True)
class Live:
    """What an adapter knows of one kind of block.

    part(given, rows): its arguments for these rows. keys(block, hidden, given): keys and values [B, m, C] that it makes of
    rows `hidden`, with the arguments of these rows. hearing(block, given, keys): a context, in which its self-attention
    hears `keys` as well, that gives the arguments to call it with. attention: the block's attribute that hears.
    """

    part: Callable[[Given, Rows], Given]
    keys: Callable[[torch.nn.Module, torch.Tensor, Given], Keys]
    hearing: Callable[[torch.nn.Module, Given, Keys], AbstractContextManager[Given]]
    attention: str = "self_attn"


@dataclass(frozen=True)
class LiveBlock:
    """A block at one call. given: what it was called with. run(hidden, given): calls it. packed: states are [L, C]."""

    live: Live
    module: torch.nn.Module
    given: Given
    run: Callable[[torch.Tensor, Given], torch.Tensor]
    packed: bool = False

    def __call__(self, hidden: torch.Tensor, rows: Rows, others: torch.Tensor, rest: Rows) -> torch.Tensor:
        """What the block gives for `rows`, which hold `hidden` [B, n, C], while the rest is in states `others` [B, m, C]."""
        mine = self.live.part(self.given, rows)
        if not len(rest):
            return self._ran(hidden, mine)
        keys = self.live.keys(self.module, others, self.live.part(self.given, rest))
        with self.live.hearing(self.module, mine, keys) as mine:
            return self._ran(hidden, mine)

    def _ran(self, hidden: torch.Tensor, given: Given) -> torch.Tensor:
        return self.run(hidden[0], given)[None] if self.packed else self.run(hidden, given)
