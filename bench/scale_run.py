"""Seconds and bytes of a model under a session: on a GPU by its own clock and allocator, else wall clock and a count."""

import gc
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from synccache_core import Config, attach
from synccache_core.decide.probe import SKETCH_CHANNELS
from synccache_core.model.cost import cache_bytes
from synccache_core.model.layout import groups_for_ratio
from synccache_core.reuse.pinned import pieces

from .scale_model import Shape, Size, Stand

STEPS, COMPUTED = 40, 10
SCHEDULE = (True,) * 2 + (False,) * 6  # a quarter is computed, as with 10 of 40
FILLING = (True,) * 3 + (False,)  # both anchors, one of them replaced, one reuse
ORDER, BRANCHES = 1, 2
GIB, MIB = 2**30, 2**20
HERE, PINNED = "model's device", "pinned host"


def sigmas(count: int) -> list[float]:
    """With one more than is evaluated: the last one would not be stored."""
    return [1 - i / (count + 1) for i in range(count + 2)]


@contextmanager
def session_of(stand: Stand, config: Config, count: int) -> Iterator:
    with attach(stand.model, config, sigmas(count), stand.size.grid) as session:
        if not stand.real:  # nothing can be read from a tensor without data
            session.residuals.read = lambda extra: (0.0, True)
        yield session


def settings(schedule: Sequence[bool], place: str, ratio: float = 1.0) -> Config:
    device = "cpu" if place == PINNED else "same"
    return Config(schedule=(*schedule, True), forecast_order=ORDER, cache_ratio=ratio, cache_device=device)


# -- seconds -----------------------------------------------------------------------------------------------------------


class Clock:
    """Marks in time: CUDA events on a GPU, else the wall clock."""

    def __init__(self, device: str):
        self.events = device == "cuda"

    def mark(self):
        if not self.events:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, first, last) -> float:
        """Seconds."""
        if not self.events:
            return last - first
        last.synchronize()
        return first.elapsed_time(last) / 1000

    def seconds(self, work: Callable, *arguments) -> float:
        first = self.mark()
        work(*arguments)
        return self.between(first, self.mark())


@contextmanager
def spans(owner: object, name: str, clock: Clock) -> Iterator[list]:
    """The (start, end) of every call of owner.name inside; afterwards it is what it was."""
    original, found = getattr(owner, name), []

    def timed(*args, **kwargs):
        first = clock.mark()
        out = original(*args, **kwargs)
        found.append((first, clock.mark()))
        return out

    vars(owner)[name] = timed
    try:
        yield found
    finally:
        del vars(owner)[name]


def parts(stand: Stand, clock: Clock) -> dict[str, float]:
    """Seconds of the probe and of the injectors, in one plain evaluation."""
    third = hasattr(stand.model, "after_transformer_block")
    owner, name = (stand.model, "after_transformer_block") if third else (stand.model.audio_injector, "forward")
    with spans(stand.model.blocks[0], "forward", clock) as probe, spans(owner, name, clock) as injectors:
        stand.evaluate(1.0)
        names = (("probe_seconds", probe), ("injectors_seconds", injectors))
        return {key: sum(clock.between(*span) for span in found) for key, found in names}


def plain_and_off(stand: Stand, clock: Clock, repeats: int) -> tuple[float, float]:
    """(seconds of a plain evaluation, percent that a session adds that is off), medians of pairs in turning order.

    The first evaluation of all takes longer and should be over.
    """

    def off() -> float:
        with session_of(stand, Config(target_speedup=1.0), 1) as session:
            return clock.seconds(evaluate, stand, 1.0, session)

    def plain() -> float:
        return clock.seconds(stand.evaluate, 1.0)

    pairs = [(plain(), off()) if turn % 2 else (off(), plain())[::-1] for turn in range(repeats)]
    return median(one for one, _ in pairs), 100 * (median(other / one for one, other in pairs) - 1)


def cached(stand: Stand, clock: Clock, place: str) -> dict[str, float]:
    """Seconds of a computed, a reused and a mean evaluation."""
    taken = []
    with session_of(stand, settings(SCHEDULE, place), len(SCHEDULE)) as session:
        for sigma in sigmas(len(SCHEDULE))[: len(SCHEDULE)]:
            taken.append(clock.seconds(evaluate, stand, sigma, session))
        report = session.report
    if session.broken or report.computed != sum(SCHEDULE):
        raise RuntimeError(session.broken or f"{report.computed} evaluations computed, {sum(SCHEDULE)} wanted")
    computed = [seconds for seconds, kept in zip(taken, SCHEDULE) if kept]
    reused = [seconds for seconds, kept in zip(taken, SCHEDULE) if not kept]
    return {"computed": median(computed), "reused": median(reused), "mean": sum(taken) / len(taken)}


def evaluate(stand: Stand, sigma: float, session) -> None:
    with session.evaluation(sigma):
        stand.evaluate(sigma, session)


def why(error: Exception) -> str:
    return str(error).splitlines()[0][:80]


def labels(stand: Stand, place: str) -> dict:
    return {"size": str(stand.size), "blocks": stand.shape.blocks, "guidance": stand.guidance, "cache_at": place}


# -- bytes -------------------------------------------------------------------------------------------------------------


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


def predicted(shape: Shape, size: Size, ratio: float, batched: bool, place: str) -> tuple[int, int]:
    """(bytes of the cache of two branches, bytes that a session adds on the model's device).

    These are the cache, where it rests there, or else the residual that is being made, of all branches of a pass, which has
    no older one to take the place of; and a sketch of the probe per branch.
    """
    tokens = size.grid.tokens
    residual, sketched = shape.hidden_bytes(tokens), len(range(0, shape.dim, max(1, shape.dim // SKETCH_CHANNELS)))
    groups = groups_for_ratio(shape.layout, ratio)
    cache = cache_bytes(BRANCHES * residual, 0, "residual", groups, ORDER, False)
    there = cache if place == HERE else residual * (BRANCHES if batched else 1)
    return cache, there + BRANCHES * tokens * sketched * shape.dtype.itemsize


def rounded(shape: Shape, size: Size, cache: int) -> int:
    """Bytes that PyTorch takes for `cache` bytes of pinned residuals: each piece in a block of a power of two."""
    residual = shape.hidden_bytes(size.grid.tokens)
    return cache // residual * sum(1 << (piece - 1).bit_length() for piece in pieces(residual))


def fill_cache(stand: Stand, place: str, ratio: float) -> None:
    """Fill a cache and use it once. Raises RuntimeError where caching stopped."""
    with session_of(stand, settings(FILLING, place, ratio), len(FILLING)) as session:
        for sigma in sigmas(len(FILLING))[: len(FILLING)]:
            evaluate(stand, sigma, session)
        if session.broken or not session.report.reused:
            raise RuntimeError(session.broken or "nothing was reused")
