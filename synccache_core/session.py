"""One sampling run: owns the step clock, the residual store, the policy's state and the report."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from contextlib import contextmanager

import torch

from .call import PLAIN, PROBE, REUSE, STORE, Call
from .clock import Clock, Tick
from .cost import CostModel
from .errors import StateError
from .grid import Grid
from .history import ProbeHistory
from .layout import Layout, even_groups, groups_for_ratio
from .policy import COMPUTE, MIN_COMPUTED, Config, Decision, Facts, decide
from .store import ResidualStore, fit
from .telemetry import RunReport, StepRecord, readable

log = logging.getLogger("synccache")

CostOf = Callable[[Grid, int], CostModel]


class Evaluation:
    """State of the evaluation in progress: its place on the clock, the decision that all its branches follow."""

    def __init__(self, tick: Tick):
        self.tick = tick
        self.decision: Decision | None = None
        self.change: float | None = None
        self.passes: Counter[Hashable] = Counter()
        self.calls: list[Call] = []
        self.odd_branch = False
        self.device: torch.device | None = None
        self.started = time.perf_counter()


class Session:
    """Use as: `with session.evaluation(sigma):` around each sampler evaluation, and inside it one `session.call(...)` per
    forward pass of the model.

    sigmas: the run's schedule, N + 1 falling values. cost: (grid, tokens) -> CostModel of the model at that size.
    mask: human mask as `grid.token_weights` takes it, or None. on_step(report, expected) is called after each evaluation.
    """

    def __init__(
        self,
        config: Config,
        layout: Layout,
        sigmas: Sequence[float],
        cost: CostOf,
        mask: torch.Tensor | None = None,
        model: str = "",
        on_step: Callable[[RunReport, int], None] | None = None,
    ):
        self.config = config
        self.layout = layout
        self.clock = Clock(sigmas)
        self.cost: CostModel | None = None
        self.broken: str | None = None
        self.report = RunReport(model, layout.blocks, len(layout.refresh), config.to_dict())
        self._cost_of, self._on_step = cost, on_step
        self._history = ProbeHistory(mask, config.human_weight)
        device = "cpu" if config.cache_device == "cpu" else None
        self._store = ResidualStore(config.forecast_order, config.memory_budget, device, config.max_gain)
        self._sizes: dict[Hashable, int] = {}
        self._magnitudes: list[torch.Tensor] = []
        self._run = 0
        self._evaluation: Evaluation | None = None
        self._odd_branch = False
        # Without a byte budget every group fits; with one, the first evaluation measures what a group takes.
        self.groups = even_groups(layout, groups_for_ratio(layout, config.cache_ratio))
        self._fitted = config.memory_budget is None

    # -- what a host calls -----------------------------------------------------------------------------------------

    @contextmanager
    def evaluation(self, sigma: float):
        """One model evaluation of the sampler, all branches and windows of it. Exceptions pass through untouched."""
        if self._evaluation is not None:
            raise StateError("evaluation() inside another evaluation")
        self._evaluation = Evaluation(self.clock.tick(float(sigma)))
        try:
            yield self
            self._attempt(self._finish)
        finally:
            self._evaluation = None

    def call(self, branches: Sequence[Hashable], grid: Grid, foreign: bool = False) -> Call:
        """Begin one forward pass. branches: a key per chunk of the batch.

        foreign: a pass that another extension altered; it is run as it is and neither fed nor served by the cache.
        Raises BadMask where the mask does not fit the grid, StateError outside an evaluation.
        """
        current = self._evaluation
        if current is None:
            raise StateError("the model was called outside session.evaluation(sigma)")
        keys = []
        for branch in branches:
            keys.append((branch, current.passes[branch]))
            current.passes[branch] += 1
        remark = self._history.meet(grid)
        if remark:
            self.note(remark)
        idle = self.config.off or self.broken or foreign
        call = Call(self, keys, grid, PLAIN if idle else PROBE)
        current.calls.append(call)
        return call

    def close(self) -> None:
        """Free every tensor; the report stays."""
        self._store.clear()
        self._history.clear()
        self._magnitudes.clear()
        self._on_step = None

    def note(self, sentence: str) -> None:
        """Add a sentence that a person should read, once."""
        if sentence not in self.report.notes:
            self.report.notes.append(sentence)

    # -- what a call asks ------------------------------------------------------------------------------------------

    def guard(self, step: Callable, *args):
        """Run our own bookkeeping: where it fails, the run goes on uncached, with one warning.

        The model's own code never runs in here, so its exceptions and the host's interrupt are never touched.
        """
        return None if self.broken else self._attempt(step, *args)

    def _attempt(self, step: Callable, *args):
        try:
            return step(*args)
        except Exception as error:  # noqa: BLE001 - one of the two named boundary spots
            self._break(f"caching stopped: {type(error).__name__}: {error}")
            return None

    def decide(self, call: Call, probe: torch.Tensor, sketched: torch.Tensor) -> str:
        """The mode of a call whose probe has just run; the first call of an evaluation decides for all of it."""
        current = self._evaluation
        change = self._history.changes(call.keys, call.grid, sketched)[0]
        current.device = probe.device
        shape = (probe.shape[0] // len(call.keys), call.tokens, probe.shape[2])
        missing = self._missing(call.keys, shape, probe.dtype)
        if current.decision is None:
            self._decide(current, call.grid, probe.shape[1], change, missing)
        self._sizes.update(dict.fromkeys(call.keys, shape[0] * shape[1] * shape[2] * probe.element_size()))
        if current.decision.reuse:
            if missing is None:
                return REUSE
            current.odd_branch = True
        return STORE if self._fitted and self.groups and not current.tick.last else PROBE

    def group_of(self, segment: int) -> tuple[int, int]:
        """(group, last segment of that group)."""
        return next((g, members[-1]) for g, members in enumerate(self.groups) if segment in members)

    def group_at(self, segment: int) -> int | None:
        """The group whose residual is added where this segment opens."""
        return next((g for g, members in enumerate(self.groups) if members[0] == segment), None)

    def keep(self, key: Hashable, group: int, residual: torch.Tensor) -> None:
        """Store a residual that nobody else holds; its magnitude is checked before it is ever used."""
        self._magnitudes.append(residual.abs().amax().float())
        if not self._store.put(key, group, self._evaluation.tick.sigma, residual):
            self._break(f"caching stopped: memory_budget {readable(self.config.memory_budget)} was outgrown")

    def forecast(self, key: Hashable, group: int, device: torch.device) -> torch.Tensor:
        return self._store.forecast(key, group, self._evaluation.tick.sigma, device)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _missing(self, keys: Sequence[Hashable], shape: tuple, dtype: torch.dtype) -> str | None:
        """Why these branches cannot be served from the store, None where they can."""
        if self._odd_branch or not self.groups:
            return "nothing cached"
        reasons = (self._store.missing(key, range(len(self.groups)), shape, dtype) for key in keys)
        return next(filter(None, reasons), None)

    def _decide(
        self, current: Evaluation, grid: Grid, tokens: int, change: torch.Tensor | None, missing: str | None
    ) -> None:
        if self.cost is None:
            self._price(grid, tokens, current.tick.expected)
        current.change = self._read(change)
        self._history.add(current.tick.sigma, current.change)
        if not self._store.bytes:
            missing = missing or "nothing cached"  # what was read a moment ago may have emptied the store
        tick, config = current.tick, self.config
        planned = sum(config.schedule) if config.schedule is not None else None
        self.report.budget = planned or self.cost.budget(tick.expected, config.target_speedup)
        ahead = self._history.ahead(self.clock.distance_left(tick.sigma), tick.expected - tick.index - 1)
        facts = Facts(
            tick.index, tick.expected, tick.last, self.report.computed, self.report.budget, self._run,
            current.change, self._history.accumulated, ahead, missing,
        )
        current.decision = decide(config, facts)

    def _price(self, grid: Grid, tokens: int, steps: int) -> None:
        """First sight of a size: what a step costs, and whether the target can be had for it."""
        self.cost, self.report.tokens = self._cost_of(grid, tokens), tokens
        target, most = self.config.target_speedup, self.cost.speedup(steps, min(steps, MIN_COMPUTED))
        if self.config.schedule is None and self.config.threshold is None and most < target:
            self.note(f"target_speedup {target:g} is out of reach here: {steps} steps allow {most:.1f}×")

    def _read(self, change: torch.Tensor | None) -> float | None:
        """Change and the magnitudes of what was stored since, read from the device in one go."""
        waiting = self._magnitudes + ([change] if change is not None else [])
        numbers = torch.stack(waiting).tolist() if waiting else []
        value = numbers.pop() if change is not None else None
        self._magnitudes.clear()
        if not all(number < float("inf") for number in numbers):  # NaN compares false
            self._store.clear()
            self.note("a residual was not finite and was never used")
        return value

    def _finish(self) -> None:
        current = self._evaluation
        decided = current.decision if not self.broken else None
        decision = decided or Decision(COMPUTE, self._why_plain())
        self._odd_branch = current.odd_branch
        if current.odd_branch:
            self.note("a branch appeared that had nothing stored: it was computed while the others were reused")
        self._record(current, decision)
        if decision.reuse:
            self._run += 1
        else:
            self._run = 0
            self._history.restart()
        if not self._fitted and self._sizes:
            self._fit()
        if self._on_step:
            self._on_step(self.report, current.tick.expected)

    def _record(self, current: Evaluation, decision: Decision) -> None:
        finite = current.change is not None and current.change < float("inf")
        _wait_for(current.device)  # a GPU still works on what was queued: its time belongs to this evaluation
        seconds = time.perf_counter() - current.started
        self.report.steps.append(
            StepRecord(
                current.tick.index, current.tick.sigma, decision.action, decision.reason,
                current.change if finite else None, self._history.accumulated if finite else 0.0,
                decision.threshold, seconds,
            )
        )
        report = self.report
        report.branches, report.groups = max(report.branches, len(self._sizes)), len(self.groups)
        report.bytes_held = self._store.peak
        report.bytes_predicted = sum(self._sizes.values()) * len(self.groups) * (self._store.order + 1)
        if self.cost:
            report.speedup_ideal = self.cost.speedup(len(report.steps), report.computed)
        report.finished = current.tick.last

    def _why_plain(self) -> str:
        if self.config.off:
            return "off"
        return "caching stopped" if self.broken else "another extension altered the pass"

    def _fit(self) -> None:
        """Choose groups and order that the byte budget allows, once the size of a residual is known."""
        self._fitted = True
        per_group, wanted, order = sum(self._sizes.values()), len(self.groups), self._store.order
        count, self._store.order = fit(self.config.memory_budget, per_group, wanted, order)
        self.groups = even_groups(self.layout, count)
        have = readable(self.config.memory_budget)
        if count == 0:
            self.note(f"memory_budget {have} is too small: one residual needs {readable(per_group)}; nothing is cached")
        elif (count, self._store.order) != (wanted, order):
            self.note(
                f"memory_budget {have} instead of the {readable(per_group * wanted * (order + 1))} wanted: "
                f"{count} of {wanted} residuals, forecast order {self._store.order} of {order}"
            )

    def _break(self, reason: str) -> None:
        self.broken = reason
        self._store.clear()
        for call in self._evaluation.calls if self._evaluation else ():
            call.stop()
        self.note(reason)
        log.warning("SyncCache: %s", reason)


def _wait_for(device: torch.device | None) -> None:
    synchronize = getattr(getattr(torch, device.type, None), "synchronize", None) if device is not None else None
    if synchronize is not None:
        synchronize()
