"""One evaluation of the sampler while it is in progress: what is done at it is decided here."""

import math
import time
from collections import Counter
from collections.abc import Hashable
from typing import TYPE_CHECKING

import torch

from ..decide.policy import COMPUTE, LIVE, REUSE, Decision, Situation, decide, ends_computed
from ..errors import BadConfig
from ..model.tick import Tick
from ..report.report import StepRecord
from ..sentences import say
from ..units import readable
from .state import RunState

if TYPE_CHECKING:
    from .call import Call

# What a forward pass does, beside REUSE and LIVE: only run; run until its probe decides; run and be stored.
IDLE, UNDECIDED, STORE = "idle", "undecided", "store"


class Evaluation:
    """Its place on the clock, and the decision that all its passes follow, made by the first of them or, at level "output",
    before the model is called. change: of its probe. skipped: blocks that another extension left out. empty: no
    conditioning held, so that the host gave zeros without a pass. x and results are of any shape that stays the same.
    """

    def __init__(self, tick: Tick, run: RunState):
        self.tick, self.run = tick, run
        self.decision: Decision | None = None
        self.change: float | None = None
        self.odd_branch = False
        self.skipped = 0
        self.empty = False
        self.device: torch.device | None = None
        self.started = time.perf_counter()
        self._passes: Counter[Hashable] = Counter()

    @property
    def reused(self) -> bool:
        return self.decision is not None and self.decision.reuse

    @property
    def expects_reuse(self) -> bool:
        """Whether it will be reused, as far as is known before its probe."""
        run, tick = self.run, self.tick
        if self.decision is not None or run.idle or run.guard.broken or run.config.probe_decides or run.residuals.empty:
            return self.reused
        if not tick.index:
            return False
        planned = run.steps.planned(tick.index, tick.expected)
        must = tick.last and run.clock.ends and ends_computed(run.config, planned.computed, planned.budget)
        return not must and planned.computed is False

    def key(self, branch: Hashable) -> tuple[Hashable, int]:
        """Of its next pass that runs this branch: some samplers and guiders run one several times."""
        self._passes[branch] += 1
        return branch, self._passes[branch] - 1

    def mode(self, call: "Call", probed: torch.Tensor, sampled: torch.Tensor | None = None) -> str:
        """What a pass does from here on. probed: output [B, tokens, C] of the probe, with a `subsample`, or, where there is
        no probe, the input [B, L, C] of block 0.
        """
        run, residuals, keys, grid = self.run, self.run.residuals, call.keys, call.grid
        change = run.history.changes(keys, grid, sampled)[0] if sampled is not None else None
        self.device = probed.device
        shape = (probed.shape[0] // len(keys), grid.tokens, probed.shape[2])
        residuals.measure(keys, math.prod(shape) * probed.element_size())
        missing = say("nothing cached") if run.odd_branch else residuals.missing(keys, shape, probed.dtype)
        if run.steps.cost is None:
            run.price(grid, call.length, self.tick.expected)
        if self.decision is None:
            self._decide(change, missing)
        if not run.config.stores:
            return IDLE
        if self.decision.reuse:
            if missing is None:
                return LIVE if self.decision.live else REUSE
            self.odd_branch = True
        return STORE if residuals.settled and residuals.groups and not self.tick.last else IDLE

    def forecast(self, x: torch.Tensor | None) -> torch.Tensor | None:
        """What stands in for the model's output at the sampler's x, decided before the model is called; None = call it."""
        run, tick = self.run, self.tick
        if run.config.level != "output" or run.idle:
            return None
        self._decide(None, run.outputs.missing(tick.sigma, x))
        if self.decision.action != REUSE:
            return None
        out = run.outputs.forecast(tick, x)
        if out is None:
            self.decision = Decision(COMPUTE, say("nonfinite forecast"))
        return out

    def learn(self, out: torch.Tensor, x: torch.Tensor | None) -> torch.Tensor | None:
        """Keep what the model gave; a corrected copy of it, None where it stays as it is. Raises BadConfig where the byte
        budget holds no outputs of this size.
        """
        run, tick = self.run, self.tick
        self.device = out.device
        if run.streak and not self.reused and run.config.level == "output":
            run.report.heat, run.report.heat_of = run.outputs.off_by(tick, out, x), "forecast"
        if not run.outputs.fits(out):
            limit = readable(run.config.memory_budget)
            raise BadConfig(say("memory_budget {budget} is too small for outputs", budget=limit))
        if self.reused and self.decision.live:
            return run.outputs.take_live(tick, out, x)
        if run.config.adapt and not self.reused and run.report.computed == 1:
            rate = run.outputs.rate(tick, out, x)
            if rate is not None:
                run.steps.adapt(tick.index, rate)
        better = run.outputs.take(tick, out, x, self.reused, not tick.last)
        if better is not None and not self.reused:
            run.report.corrections += 1
        return better

    def record(self, decision: Decision) -> StepRecord:
        """What happened, once all of it has: a GPU still works on what was queued."""
        wait_for(self.device)
        finite = self.change is not None and self.change < float("inf")
        return StepRecord(
            self.tick.index, self.tick.sigma, decision.action, decision.reason, self.change if finite else None,
            self.run.history.accumulated if finite else 0.0, decision.threshold, time.perf_counter() - self.started,
        )

    def _decide(self, change: torch.Tensor | None, missing: str | None) -> None:
        """change: of the probe, still on its device. missing: why nothing can be reused, None where it can."""
        run, tick, config = self.run, self.tick, self.run.config
        self.change, sound = run.residuals.read_and_vet(change)
        if not sound:
            run.report.note(say("a residual was not finite and was never used"))
        if config.level == "residual" and run.residuals.empty:
            missing = missing or say("nothing cached")  # what was read a moment ago may have emptied the store
        run.history.add(tick.sigma, self.change)
        planned, ahead = run.steps.planned(tick.index, tick.expected), 0.0
        if config.probe_decides:
            ahead = run.history.ahead(run.clock.distance_left(tick.sigma), tick.expected - tick.index - 1)
        situation = Situation(
            tick.index, tick.expected, last=tick.last and run.clock.ends, computed=run.report.computed,
            budget=planned.budget, streak=run.streak, change=self.change, accumulated=run.history.accumulated, ahead=ahead,
            missing=missing, scheduled=planned.computed, live=planned.live and not run.residuals.empty,
        )
        self.decision = decide(config, situation)
        if self.decision.reuse:
            self._begin_gap()

    def _begin_gap(self) -> None:
        """How far forecasts may go in the gap that begins here, if one does."""
        run, index = self.run, self.tick.index
        for fresh in (False, True):
            begins = (not run.stale and self.decision.action == REUSE) if fresh else not run.streak
            share = run.steps.trust(index, fresh) if begins else None
            if share is not None and not fresh:
                run.residuals.trust(share)
            if share is not None and run.outputs:
                run.outputs.trust(share, fresh)


def wait_for(device: torch.device | None) -> None:
    synchronize = getattr(getattr(torch, device.type, None), "synchronize", None) if device is not None else None
    if synchronize is not None:
        synchronize()
