"""Seconds and bytes of a model under a session: on a GPU by its own clock and allocator, else wall clock and a count."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from statistics import median

import torch

from synccache_core import Config, CostModel, RunReport, attach, find
from synccache_core.model.layout import groups_for_ratio

from .peaks import peaks
from .scale_model import BRANCHES, COMPUTED, GIB, HERE, ORDER, PINNED, STEPS, Stand, predicted, rounded

SCHEDULE = (True,) * 2 + (False,) * 6  # a quarter is computed, as with 10 of 40
FILLING = (True,) * 3 + (False,)  # both anchors, one of them replaced, one reuse
LIVING = (True,) * 2 + (False,) * 3  # those that are not computed are LIVE
PERSON = 0.2  # of the picture's width and height each way from its middle, so 16 % of it, are the person's


def sigmas(count: int) -> list[float]:
    """With one more than is evaluated: the last one would not be stored."""
    return [1 - i / (count + 1) for i in range(count + 2)]


@contextmanager
def session_of(stand: Stand, config: Config, count: int, mask: torch.Tensor | None = None) -> Iterator:
    with attach(stand.model, config, sigmas(count), stand.size.grid, mask) as session:
        if not stand.real:  # nothing can be read from a tensor without data
            session.residuals.read_and_vet = lambda extra: (0.0, True)
        yield session


def settings(schedule: Sequence[bool], place: str, ratio: float = 1.0) -> Config:
    device = "cpu" if place == PINNED else "same"
    return Config(schedule=(*schedule, True), forecast_order=ORDER, cache_ratio=ratio, cache_device=device)


# -- seconds ------------------------------------------------------------------------------------------------------------


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
    taken, _ = sampled(stand, clock, SCHEDULE, settings(SCHEDULE, place))
    computed, reused = ([seconds for seconds, kept in zip(taken, SCHEDULE) if kept == kind] for kind in (True, False))
    return {"computed": median(computed), "reused": median(reused), "mean": sum(taken) / len(taken)}


def lived(stand: Stand, clock: Clock, place: str, cost: CostModel) -> dict[str, float]:
    """Seconds of a LIVE evaluation of a person in the middle, and its share of a computed one's: measured, and counted."""
    config = replace(settings(LIVING, place), live=(*(not computed for computed in LIVING), False), live_reach=0)
    grid, size = stand.size.grid, stand.size
    mask = torch.zeros(grid.height, grid.width)
    rows, columns = (range(round((0.5 - PERSON) * side), round((0.5 + PERSON) * side)) for side in mask.shape)
    mask[rows.start : rows.stop, columns.start : columns.stop] = 1.0
    taken, report = sampled(stand, clock, LIVING, config, mask)
    if report.lived != len(LIVING) - sum(LIVING):
        raise RuntimeError(f"{report.lived} evaluations were LIVE: {'; '.join(map(str, report.notes))}")
    live = median(seconds for seconds, computed in zip(taken, LIVING) if not computed)
    computed = median(seconds for seconds, computed in zip(taken, LIVING) if computed)
    share = 1 - grid.frames * (grid.height * grid.width - len(rows) * len(columns)) / size.tokens
    return {"live_seconds": live, "live_rows": share, "live_over_computed": live / computed,
            "live_counted": cost.live_share(share, probe=True)}  # fmt: skip


def sampled(
    stand: Stand, clock: Clock, schedule: Sequence[bool], config: Config, mask: torch.Tensor | None = None
) -> tuple[list[float], RunReport]:
    """(seconds of each evaluation of a run, its report). Raises RuntimeError where it did not keep to the schedule."""
    taken = []
    with session_of(stand, config, len(schedule), mask) as session:
        for sigma in sigmas(len(schedule))[: len(schedule)]:
            taken.append(clock.seconds(evaluate, stand, sigma, session))
        report = session.report
    if session.guard.broken or report.computed != sum(schedule):
        raise RuntimeError(session.guard.broken or f"{report.computed} evaluations computed, {sum(schedule)} wanted")
    return taken, report


def evaluate(stand: Stand, sigma: float, session) -> None:
    with session.evaluation(sigma):
        stand.evaluate(sigma, session)


def why(error: Exception) -> str:
    return str(error).splitlines()[0][:80]


# -- bytes -------------------------------------------------------------------------------------------------------------


def fill_cache(stand: Stand, place: str, ratio: float) -> None:
    """Fill a cache and use it once. Raises RuntimeError where caching stopped."""
    with session_of(stand, settings(FILLING, place, ratio), len(FILLING)) as session:
        for sigma in sigmas(len(FILLING))[: len(FILLING)]:
            evaluate(stand, sigma, session)
        if session.guard.broken or not session.report.reused:
            raise RuntimeError(session.guard.broken or "nothing was reused")


# -- rows ---------------------------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """The rows of one stand; what several of them need is measured once. kind: "measured" or "counted", for the names of
    the columns of bytes. Where memory or caching fails, a row says so in its `note`.
    """

    stand: Stand
    kind: str
    repeats: int = 1
    filled: set[str] = field(default_factory=set)  # places whose memory has been allocated before

    @cached_property
    def clock(self) -> Clock:
        return Clock(self.stand.device if torch.cuda.is_available() else "cpu")

    @cached_property
    def cost(self) -> CostModel:
        return find(self.stand.model).cost(self.stand.model, self.stand.size.grid, self.stand.size.tokens)

    @cached_property
    def first(self) -> tuple[int, float]:
        """(the most bytes that a plain evaluation takes, its seconds, for once)."""
        seconds = []
        most, _ = peaks(self.stand, lambda: seconds.append(self.clock.seconds(self.stand.evaluate, 1.0)))
        return most, seconds[0]

    @cached_property
    def plain(self) -> dict[str, float]:
        """Seconds of a plain evaluation, of two of its parts, and percent that a session adds that is off."""
        assert self.first
        seconds, off = plain_and_off(self.stand, self.clock, self.repeats)
        return {"plain_seconds": seconds, "off_overhead_percent": off} | parts(self.stand, self.clock)

    def takes(self, place: str, ratio: float | None) -> float:
        """About how many seconds a row will take, counted in plain evaluations; None: a row of seconds."""
        share = self.cost.reused / self.cost.full
        passes = sum(FILLING) + share if ratio or place not in self.filled else 0.0
        if ratio is None:
            passes += sum(SCHEDULE) + (len(SCHEDULE) - sum(SCHEDULE)) * share
            passes += 0 if "plain" in vars(self) else 2 * self.repeats + 1
            passes += len(LIVING)  # a LIVE one as a whole one: it is never more
        return passes * self.first[1]

    def row(self, place: str, ratio: float | None, left: float = inf) -> dict:
        """Of bytes with a cache ratio; of seconds without one. left: seconds; what takes longer is left out."""
        stand = self.stand
        made = {"size": str(stand.size), "blocks": stand.shape.blocks, "guidance": stand.guidance, "cache_at": place}
        made |= {} if ratio is None else {"cache_ratio": round(ratio, 4)}
        try:
            if left < inf and left < self.takes(place, ratio):
                note = f"left out: takes about {self.takes(place, ratio):.0f} s, {max(0.0, left):.0f} s are left"
                return made | {"note": note}
            return made | (self.seconds(place) if ratio is None else self.memory(place, ratio))
        except (torch.OutOfMemoryError, RuntimeError) as error:
            return made | {"note": why(error)}

    def seconds(self, place: str) -> dict:
        """What a step of both branches takes, and how near the speed-up at 10 of 40 comes to the cost model's ideal."""
        plain = dict(self.plain)
        off, seconds = plain.pop("off_overhead_percent"), plain["plain_seconds"]
        if place not in self.filled:
            fill_cache(self.stand, place, 1.0)
        taken = cached(self.stand, self.clock, place)
        ideal, measured = self.cost.speedup(STEPS, COMPUTED), seconds / taken["mean"]
        return plain | lived(self.stand, self.clock, place, self.cost) | {
            "computed_seconds": taken["computed"], "reused_seconds": taken["reused"], "off_overhead_percent": off,
            "plain_tflops": BRANCHES * self.cost.full / seconds / 1e12, "ideal_speedup": ideal,
            "measured_speedup": measured, "measured_over_ideal": measured / ideal,
        }  # fmt: skip

    def memory(self, place: str, ratio: float) -> dict:
        """What filling a cache takes beside a plain evaluation and the weights, and what was predicted."""
        stand, kind, plain = self.stand, self.kind, self.first[0]
        cache, on_device = predicted(stand.shape, stand.size, ratio, stand.batched, place)
        most, host = peaks(stand, fill_cache, stand, place, ratio)
        weights, extra = stand.shape.weight_bytes, most - plain
        self.filled |= {place} if ratio == 1.0 else set()
        row = {
            "residuals": groups_for_ratio(stand.shape.layout, ratio), "cache_gib": cache / GIB,
            f"plain_{kind}_gib": plain / GIB, "extra_predicted_gib": on_device / GIB,
            f"extra_{kind}_gib": extra / GIB, "over_predicted_percent": 100 * (extra / on_device - 1),
            "over_cache_percent": 100 * (extra / cache - 1) if place == HERE else None,
            "peak_predicted_gib": (weights + plain + on_device) / GIB, f"peak_{kind}_gib": (weights + most) / GIB,
        }  # fmt: skip
        if place == PINNED:
            row |= {f"host_{kind}_gib": host / GIB, "host_rounded_gib": rounded(stand.shape, stand.size, cache) / GIB}
        return row
