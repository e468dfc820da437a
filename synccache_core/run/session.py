"""One sampling run: owns the step clock, what is stored, the policy's state and the report."""

from collections.abc import Callable, Hashable, Sequence
from contextlib import contextmanager

import torch

from ..config import Config
from ..decide.clock import Clock
from ..decide.history import ProbeHistory
from ..decide.policy import COMPUTE, REUSE, Decision, Facts, decide, least_left
from ..errors import StateError
from ..model.cost import CostModel
from ..model.grid import Grid
from ..model.layout import Layout, groups_for_ratio
from ..model.samplers import Sampler
from ..model.view import ViewOf
from ..report.report import RunReport, account, without_blocks
from ..reuse.live import LiveRows
from ..reuse.outputs import Outputs
from ..reuse.parts import parts_of
from ..reuse.residuals import Residuals
from ..sentences import say
from ..units import readable
from . import call as mode
from .call import PLAIN, PROBE, STORE, Call
from .evaluation import Evaluation
from .guard import Guarded, Others, Regimes
from .steps import Steps

CostOf = Callable[[Grid, int], CostModel]


class Session(Guarded):
    """Use as: `session.predict(sigma, run, x)` for each sampler evaluation, or `with session.evaluation(sigma):` around it
    where only residuals are reused; and inside it one `session.call(...)` per forward pass of the model.

    sigmas: the run's schedule, N + 1 falling or rising values. cost: (grid, tokens) -> CostModel of the model at that size.
    mask: human mask as `grid.token_weights` takes it, or None. on_step(report, expected) is called after each evaluation.
    sampler: whose evaluations these are. guidance: its scale, 1 where there is none. ranges: of conditioning that begins or
    ends in the run, see `guard.Regimes`. parts: shapes of the latents that x and results hold, as [B, 1, N]; () = one.
    Raises BadConfig where the settings do not suit the layout.
    """

    def __init__(
        self, config: Config, layout: Layout, sigmas: Sequence[float], cost: CostOf, mask: torch.Tensor | None = None,
        model: str = "", on_step: Callable[[RunReport, int], None] | None = None, sampler: Sampler | None = None,
        ranges: Sequence[tuple[float, float]] = (), guidance: float = 1.0, parts: Sequence[Sequence[int]] = (),
    ):
        config = config.settled(layout)
        config, self.live, said = LiveRows.of(config, layout, mask, parts)
        self.config, self.layout = config, layout
        self.sampler = sampler or Sampler()
        self.clock = Clock(sigmas, self.sampler)
        self.cost: CostModel | None = None
        self.report = RunReport(
            model, layout.blocks, layout.refreshes, config.to_dict(), level=config.level, order=config.forecast_order,
            storable=layout.storable(), usual_ratio=layout.usual_ratio,
        )
        self.residuals = Residuals(config, layout, self.sampler.first_order)
        beside = layout.audio == "beside" and config.level == "residual"
        self._idle = config.off or bool(self.sampler.why_idle)
        self.outputs, remarks = Outputs.of(config, self.sampler, self.clock.sign, parts_of(parts, self.live, beside))
        self.probes, self.steps = config.probes, Steps(config, self.clock, self.sampler, guidance, self.residuals)
        self._cost_of, self._on_step = cost, on_step
        self._history = ProbeHistory(None if layout.unknown else mask, config.human_weight, config.omega)
        self._others, self._regimes = Others(layout.unknown), Regimes(ranges)
        self._run = self._stale = 0  # evaluations since the last computed one, and since the last that was LIVE at least
        self._evaluation: Evaluation | None = None
        self._odd_branch = False
        if layout.unknown:
            self._price(Grid(0, 0, 0), 0, len(self.sampler.evaluated(sigmas)) - 1)
            remarks = [*without_blocks(config, mask), *remarks]
        for remark in [*said, *remarks]:
            self.note(remark)

    # -- what a host calls -----------------------------------------------------------------------------------------

    def predict(self, sigma: float, run: Callable[[], torch.Tensor], x: torch.Tensor | None = None) -> torch.Tensor:
        """One model evaluation of the sampler, guidance and all: what the sampler is to be given.

        run() -> denoised where the sampler's x is given, else the velocity; it is not called where the output is reused.
        """
        with self._open(sigma) as current:
            forecast = self.guard(self._reuse_output, current, x) if self.outputs else None
            if forecast is not None:
                return forecast
            out = run()
            self.guard(self._watch_others, current)
            if self.outputs is None or self.broken:
                return out
            better = self.guard(self._take_output, current, out, x)
            return out if better is None else better

    @property
    def expects_reuse(self) -> bool:
        """Whether the evaluation in progress will be reused, as far as is known before its probe."""
        current, tick = self._evaluation, self._evaluation.tick
        if current.decision is not None or self._idle or self.broken or self.config.probing or self.residuals.empty:
            return current.reused
        must = not tick.index or tick.last and self.clock.ends and self.config.force_last
        return not must and self.steps.scheduled(tick.index) is False

    def count_pass(self) -> None:
        """One forward pass of a model whose blocks are not known; outside an evaluation nobody counts them."""
        if self._evaluation is not None:
            self.call((), Grid(0, 0, 0)).ran = 1

    @contextmanager
    def evaluation(self, sigma: float):
        """One model evaluation of the sampler, all branches and windows of it. Exceptions pass through untouched."""
        if self.outputs is not None:
            raise StateError("level 'output' and correction need session.predict(sigma, run), got session.evaluation(sigma)")
        with self._open(sigma):
            yield self

    def call(self, branches: Sequence[Hashable], grid: Grid, foreign: bool = False, view: ViewOf | None = None) -> Call:
        """Begin one forward pass. branches: a key per chunk of the batch. view: of its blocks, None = the video is all.

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
        self.note(self._history.meet(grid))
        if self.live:
            self.live.meet(grid)
        call = self._new_call(keys, grid, view, foreign)
        current.calls.append(call)
        return call

    def close(self, finished: bool = False) -> None:
        """Free every tensor; the report stays. finished: the sampler returned, rather than being interrupted."""
        self.report.finished = finished
        if rows := self._attempt(self._history.heat.rows):
            self.report.heat, self.report.heat_of = rows, "probe"
        for kept in filter(None, (self.residuals, self._history, self.outputs, self.live)):
            kept.clear()
        self._on_step = None

    # -- what a call asks ------------------------------------------------------------------------------------------

    def decide(self, call: Call, hidden: torch.Tensor, sketched: torch.Tensor | None) -> str:
        """The mode of a call; the first call of an evaluation decides for all of it.

        hidden: the probe's output, with its sketch, or, where there is no probe, the input of block 0.
        """
        current, residuals = self._evaluation, self.residuals
        change = self._history.changes(call.keys, call.grid, sketched)[0] if sketched is not None else None
        current.device = hidden.device
        shape = (hidden.shape[0] // len(call.keys), call.tokens, hidden.shape[2])
        missing = say("nothing cached") if self._odd_branch else residuals.missing(call.keys, shape, hidden.dtype)
        if self.cost is None:
            self._price(call.grid, call.length, current.tick.expected)
        if current.decision is None:
            self._decide(current, change, missing)
        residuals.sizes.update(dict.fromkeys(call.keys, shape[0] * shape[1] * shape[2] * hidden.element_size()))
        if not self.config.stores:
            return PLAIN
        if current.decision.reuse:
            if missing is None:
                return mode.LIVE if current.decision.live else mode.REUSE
            current.odd_branch = True
        return STORE if residuals.settled and residuals.groups and not current.tick.last else PLAIN

    def make_room(self, key: Hashable, group: int) -> None:
        self.residuals.make_room(key, group, self._evaluation.tick.sigma)

    def keep(self, key: Hashable, group: int, residual: torch.Tensor) -> None:
        """Store a residual that nobody else holds; its magnitude is checked before it is ever used."""
        if not self.residuals.keep(key, group, self._evaluation.tick.sigma, residual):
            self._break(say("memory_budget {budget} was outgrown", budget=readable(self.config.memory_budget)))

    def forecast(self, key: Hashable, group: int, device: torch.device) -> torch.Tensor:
        return self.residuals.forecast(key, group, self._evaluation.tick.sigma, device)

    # -- inside ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _open(self, sigma: float):
        if self._evaluation is not None:
            raise StateError("evaluation() inside another evaluation")
        self._evaluation = Evaluation(self.clock.tick(float(sigma)))
        if self._regimes.changed(float(sigma)) and self.outputs:
            self.outputs.clear()  # old outputs hold the old conditioning; residuals are kept per conditioning
        try:
            yield self._evaluation
            self._attempt(self._finish)
        finally:
            self._evaluation = None

    def _new_call(self, keys: Sequence[Hashable], grid: Grid, view: ViewOf | None, foreign: bool) -> Call:
        return Call(self, keys, grid, view, PLAIN if self._idle or self.broken or foreign else PROBE, foreign)

    def _reuse_output(self, current: Evaluation, x: torch.Tensor | None) -> torch.Tensor | None:
        """Decide before the model is called, and forecast what it would have given; None = call it."""
        if self.config.level != "output" or self._idle:
            return None
        self._decide(current, None, self.outputs.missing(current.tick.sigma, x))
        if current.decision.action != REUSE:
            return None
        out = self.outputs.forecast(current.tick.sigma, self.clock.move(current.tick), x, current.tick.index)
        if out is None:
            current.decision = Decision(COMPUTE, say("nonfinite forecast"))
        return out

    def _take_output(self, current: Evaluation, out: torch.Tensor, x: torch.Tensor | None) -> torch.Tensor | None:
        """Learn from what the model gave; a corrected copy of it, or None = as it is."""
        tick = current.tick
        current.device = out.device
        if self._run and not current.reused and self.config.level == "output":
            self.report.heat, self.report.heat_of = self.outputs.off_by(tick.sigma, out, x), "forecast"
        if not self.outputs.fits(out):
            self._break(say("memory_budget {budget} is too small for outputs", budget=readable(self.config.memory_budget)))
            return None
        move = self.clock.move(tick)
        if current.reused and current.decision.live:
            return self.outputs.take_live(tick.sigma, move, out, x, tick.index)
        better = self.outputs.take(tick.sigma, move, out, x, current.reused, not tick.last, tick.index)
        self.report.corrections += better is not None and not current.reused
        return better

    def _decide(self, current: Evaluation, change: torch.Tensor | None, missing: str | None) -> None:
        tick, config = current.tick, self.config
        current.change, sound = self.residuals.read(change)
        if not sound:
            self.note(say("a residual was not finite and was never used"))
        if config.level == "residual" and self.residuals.empty:
            missing = missing or say("nothing cached")  # what was read a moment ago may have emptied the store
        self._history.add(tick.sigma, current.change)
        scheduled = None if config.probing or not tick.index else self.steps.scheduled(tick.index)
        self.note(self.steps.remark)
        planned = 0 if config.probing else self.steps.computed
        self.report.budget, self.report.live_budget = planned or self.steps.budget(tick.expected), self.steps.live
        ahead = self._history.ahead(self.clock.distance_left(tick.sigma), tick.expected - tick.index - 1)
        facts = Facts(
            tick.index, tick.expected, tick.last and self.clock.ends, self.report.computed, self.report.budget, self._run,
            current.change, self._history.accumulated, ahead, missing, scheduled,
            self.steps.lives(tick.index) and not self.residuals.empty,
        )
        current.decision = decide(config, facts)
        self._trust(current.decision, tick.index)

    def _trust(self, decision: Decision, index: int) -> None:
        """Where a gap begins, how far forecasts may go in it."""
        begins = {False: decision.reuse and not self._run, True: decision.action == REUSE and not self._stale}
        for fresh in (fresh for fresh, here in begins.items() if here):
            share = self.steps.trust(index, fresh)
            if share is not None and not fresh:
                self.residuals.trust(share)
            if share is not None and self.outputs:
                self.outputs.trust(share, fresh)

    def _price(self, grid: Grid, tokens: int, steps: int) -> None:
        """First sight of a size: what a step costs, and whether the target can be had for it."""
        self.cost, self.report.tokens = self._cost_of(grid, tokens), tokens
        self.note(self.steps.meet(self.cost, self.live.share(grid, tokens) if self.live and self.live.any else 0.0, steps))
        self.report.reuse_share, self.report.live_share = self.steps.share, self.steps.live_share
        fresh = self.cost.share("residual", groups_for_ratio(self.layout, self.config.cache_ratio), self.config.merge, True)
        if not self.layout.unknown:
            self.report.fresh_share, self.report.least_left = fresh, least_left(self.layout)

    def _watch_others(self, current: Evaluation) -> None:
        """Stop where another cache works on this model: what it left out must not be taken for a computed result."""
        reason = self._others.look(current)
        if reason and not self.broken:
            self._break(reason)

    def _finish(self) -> None:
        current = self._evaluation
        self._watch_others(current)
        decision = (None if self.broken else current.decision) or Decision(COMPUTE, self._why_plain())
        if current.skipped:
            decision = Decision(REUSE, "another extension skipped blocks")
        self._odd_branch = current.odd_branch
        if current.odd_branch:
            self.note(say("a branch appeared that had nothing stored: it was computed while the others were reused"))
        self.report.steps.append(current.record(decision, self._history.accumulated))
        account(self.report, self.config, self.residuals, self.outputs, self.live, self.cost)
        if decision.reuse:
            self._run, self._stale = self._run + 1, 0 if decision.live else self._stale + 1
        else:
            self._history.restart(self._run > 0)
            self._run = self._stale = 0
        if not self.residuals.settled and self.residuals.sizes and self.config.stores:
            self.note(self.residuals.settle())
        if self._on_step:
            self._on_step(self.report, current.tick.expected)

    def _drop(self) -> None:
        self.residuals.clear()
        if self.outputs:
            self.outputs.clear()
        for call in self._evaluation.calls if self._evaluation else ():
            call.stop()
