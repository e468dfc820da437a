"""The most bytes that work takes: of a GPU by its allocator, else of the tensors that operations make."""

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .scale_model import Stand


class Counted(TorchDispatchMode):
    """Bytes of all tensors that operations made and that are alive, by kind of device. known: what was there before."""

    def __init__(self, known: Iterable[torch.Tensor]):
        super().__init__()
        self.most: Counter[str] = Counter()
        self._now: Counter[str] = Counter()
        self._sizes = {tensor.untyped_storage()._cdata: ("", 0) for tensor in known}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._see(leaf.untyped_storage(), leaf.device.type)
        return out

    def _see(self, storage: torch.UntypedStorage, device: str) -> None:
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = (device, storage.nbytes())
            self._now[device] += storage.nbytes()
            self.most[device] = max(self.most[device], self._now[device])
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        device, size = self._sizes.pop(key)
        self._now[device] -= size


def peaks(stand: Stand, work: Callable, *arguments) -> tuple[int, int]:
    """The most bytes that work took above what was there before: on the device, in pinned host memory."""
    gc.collect()
    if stand.device == "cuda" and stand.real:
        return _allocated(work, *arguments)
    with Counted([*stand.model.parameters(), *stand.model.buffers(), *stand.inputs]) as count:
        work(*arguments)
    return count.most[stand.device], count.most["cpu"] if stand.device == "cuda" else 0


def _allocated(work: Callable, *arguments) -> tuple[int, int]:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    getattr(torch.cuda, "reset_peak_host_memory_stats", int)()  # torch 2.6 has none
    before, host = torch.cuda.memory_allocated(), _pinned("current")
    work(*arguments)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before, _pinned("peak") - host


def _pinned(which: str) -> int:
    """Bytes of blocks in use, as PyTorch rounds them: up to a power of two."""
    return getattr(torch.cuda, "host_memory_stats", dict)().get(f"active_bytes.{which}", 0)
