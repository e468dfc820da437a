"""Blocks that are given the same again return the same: all ways of one film start from one noise."""

from collections import OrderedDict
from collections.abc import Callable

import torch

MOST = 2000  # results that are kept, half a gigabyte of the Tiny Talker's


class Memory:
    """While entered, a block whose inputs are those of an earlier call returns a copy of what it returned then.

    Hooks replace `forward` on a block itself; this stands below them, on its class. Entered again, it still knows what it
    knew; results must not depend on anything but the inputs meanwhile (attention kernel, autocast). most: results that
    are kept, those that were wanted last.
    """

    def __init__(self, blocks: torch.nn.ModuleList, most: int = MOST):
        self.known: OrderedDict[tuple, torch.Tensor] = OrderedDict()
        self._blocks, self._classes, self._most = blocks, [type(block) for block in blocks], most

    def __enter__(self) -> "Memory":
        for index, (block, own) in enumerate(zip(self._blocks, self._classes)):
            block.__class__ = type(own.__name__, (own,), {"forward": self._below(index, own.forward)})
        return self

    def __exit__(self, *_) -> None:
        for block, own in zip(self._blocks, self._classes):
            block.__class__ = own

    def _below(self, index: int, computed: Callable) -> Callable:
        def forward(block: torch.nn.Module, *inputs) -> torch.Tensor:
            key = (index, *map(fingerprint, inputs))
            if key not in self.known:
                self.known[key] = computed(block, *inputs).clone()
            self.known.move_to_end(key)
            if len(self.known) > self._most:
                self.known.popitem(last=False)
            return self.known[key].clone()  # hosts and hooks write into what a block returns

        return forward


def fingerprint(value: object) -> object:
    """64 bits of a tensor's very bits and its shape; anything else stands for itself."""
    if not isinstance(value, torch.Tensor):
        return value
    return hash((value.shape, value.dtype, value.detach().cpu().contiguous().numpy().tobytes()))
