"""The rows of bench.scale about one model and size, what they share, and which of them come first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf

import torch

from synccache_core import CostModel, find
from synccache_core.model.layout import groups_for_ratio

from .scale_model import Stand
from .scale_run import (
    BRANCHES,
    COMPUTED,
    FILLING,
    GIB,
    HERE,
    PINNED,
    SCHEDULE,
    STEPS,
    Clock,
    cached,
    fill_cache,
    labels,
    parts,
    peaks,
    plain_and_off,
    predicted,
    rounded,
    why,
)


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
        return passes * self.first[1]

    def row(self, place: str, ratio: float | None, left: float = inf) -> dict:
        """Of bytes with a cache ratio; of seconds without one. left: seconds; what takes longer is left out."""
        made = labels(self.stand, place) | ({} if ratio is None else {"cache_ratio": round(ratio, 4)})
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
        return plain | {
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


def in_order(benches: Sequence[Bench], places: Sequence[str], ratios: Sequence[float]) -> Iterator[tuple]:
    """(bench, place, ratio or None) of all rows, those first that tell most. A row of bytes also allocates what the row
    of seconds behind it needs."""
    for bench in benches:
        for place in places:
            yield bench, place, ratios[0]
            yield bench, place, None
    for bench in benches:
        yield from ((bench, place, ratio) for place in places for ratio in ratios[1:])
