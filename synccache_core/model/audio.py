"""What an adapter may ask of a forward pass in progress, where audio enters inside the blocks: see `Adapter.listen`."""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch

from .layout import Layout

AudioOp = Callable[..., torch.Tensor]  # (hidden [B, L, C], *args, **kwargs) -> a new one, with the audio in it


class Notes(Protocol):
    def note(self, *texts: str) -> None: ...


class AudioCall(Protocol):
    """A `run.call.Call`, as adapters see it. report: of the run, for what a person should know."""

    layout: Layout
    report: Notes

    def refresh(self, index: int, compute: AudioOp, hidden: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        """Run the audio operation of block `index`: compute(hidden [B, L, C], *args, **kwargs).

        The probe's is seen at every pass, so its arguments serve the operations of skipped blocks.
        """

    def offer_audio(self, operations: Mapping[int, AudioOp]) -> None:
        """The original audio operation of every refresh block, to run where the block is skipped."""

    def skips(self, index: int) -> bool:
        """Whether block `index` is certain not to run: whole blocks are reused in this pass, and all of that is added."""

    def remember(self, block: int, value: torch.Tensor) -> None:
        """Keep what the audio of a block takes from the rest of that block, for passes in which that rest is skipped: the
        last computed one, of these branches, and nobody else's. value: [B, L, 2] at most, which is not counted as memory.
        """

    def recall(self, block: int) -> torch.Tensor | None:
        """What was kept of a block, None where nothing was."""
