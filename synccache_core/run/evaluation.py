"""One evaluation of the sampler while it is in progress."""

import time
from collections import Counter
from collections.abc import Hashable

import torch

from ..decide.clock import Tick
from ..decide.policy import Decision
from ..report.report import StepRecord
from .call import Call


class Evaluation:
    """Its place on the clock, and the decision that all its branches follow."""

    def __init__(self, tick: Tick):
        self.tick = tick
        self.decision: Decision | None = None
        self.change: float | None = None
        self.passes: Counter[Hashable] = Counter()
        self.calls: list[Call] = []
        self.odd_branch = False
        self.skipped = 0  # blocks that another extension left out
        self.device: torch.device | None = None
        self.started = time.perf_counter()

    @property
    def reused(self) -> bool:
        return self.decision is not None and self.decision.reuse

    def record(self, decision: Decision, accumulated: float) -> StepRecord:
        """What happened, once all of it has: a GPU still works on what was queued."""
        wait_for(self.device)
        finite = self.change is not None and self.change < float("inf")
        return StepRecord(
            self.tick.index, self.tick.sigma, decision.action, decision.reason, self.change if finite else None,
            accumulated if finite else 0.0, decision.threshold, time.perf_counter() - self.started,
        )


def wait_for(device: torch.device | None) -> None:
    synchronize = getattr(getattr(torch, device.type, None), "synchronize", None) if device is not None else None
    if synchronize is not None:
        synchronize()
