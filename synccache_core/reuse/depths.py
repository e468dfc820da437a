"""Where rows stand inside a segment: what blocks have added to them since it opened, in four bits a number.

A LIVE step makes keys and values of the rows that are not live, at every block. Their states at a segment's ends are known
from its residual; on a line between them they are off by a fifth, measured on the Wild Talker, and so is the attention.
"""

from collections.abc import Hashable, Sequence

import torch

from ..model.layout import Layout
from .pinned import Pinned

LEVELS = 7  # of a number in either direction
TOGETHER = 32  # channels that share a scale


class Packed:
    """[B, m, C] with C even, some channels of a row by one scale: off by up to a fourteenth of the largest of them."""

    def __init__(self, values: torch.Tensor, device: torch.device | None = None):
        values = values.unflatten(-1, (-1, TOGETHER if values.shape[-1] % TOGETHER == 0 else values.shape[-1]))
        scale = (values.abs().amax(-1, keepdim=True) / LEVELS).clamp_min(torch.finfo(values.dtype).tiny)
        steps = (values / scale).round_().add_(LEVELS).to(torch.uint8)
        packed = steps[..., ::2] | steps[..., 1::2] << 4
        self.nbytes = packed.nbytes + scale.nbytes
        to_host = device is not None and device.type == "cpu" and packed.device.type == "cuda"
        self._packed = Pinned(packed) if to_host else packed
        self._scale = scale

    def to(self, device: torch.device) -> torch.Tensor:
        """A new tensor like the values."""
        packed = self._packed.to(device, non_blocking=True)
        steps = torch.stack([packed & 15, packed >> 4], -1).flatten(-2)
        return steps.to(self._scale.dtype).sub_(LEVELS).mul_(self._scale).flatten(-2)


def depth_bytes(layout: Layout, groups: Sequence[Sequence[int]], numbers: int, size: int) -> int:
    """At most, of `numbers` in a hidden state of all branches, of `size` bytes each: as if no row were live."""
    inside = sum(len(layout.segment_blocks[segment]) for group in groups for segment in group) - len(groups)
    return inside * (numbers // 2 + numbers // TOGETHER * size)


class Depths:
    """Of the newest computed evaluation: (branch, block) -> what stands there, less what stood where its segment opened.

    device: where they rest, "cpu" = host memory. limit: bytes that they may take, None = no limit; what goes beyond it is
    not kept.
    """

    def __init__(self, device: str, limit: int | None = None):
        self._device = torch.device("cpu") if device == "cpu" else None
        self._limit = limit
        self._held: dict[tuple[Hashable, int], Packed] = {}
        self.bytes = self.peak = 0

    def put(self, branch: Hashable, block: int, offset: torch.Tensor) -> None:
        """offset: [B, m, C]."""
        old = self._held.pop((branch, block), None)
        self.bytes -= old.nbytes if old else 0
        made = Packed(offset, self._device)
        if self._limit is not None and self.bytes + made.nbytes > self._limit:
            return
        self._held[branch, block] = made
        self.bytes += made.nbytes
        self.peak = max(self.peak, self.bytes)

    def bound(self, limit: int) -> None:
        """From now on they may take so many bytes."""
        self._limit = limit
        if self.bytes > limit:
            self.clear()

    def of(self, branch: Hashable, block: int, like: torch.Tensor) -> torch.Tensor | None:
        """A new tensor of this shape, on its device; None where nothing is held."""
        held = self._held.get((branch, block))
        found = None if held is None else held.to(like.device)
        return found if found is not None and found.shape == like.shape else None

    def clear(self) -> None:
        self._held.clear()
        self.bytes = 0
