"""One sampling run: its life from the first evaluation to the report."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager

import torch

from ..config import Config
from ..decide.clock import Clock
from ..decide.history import ProbeHistory
from ..decide.policy import COMPUTE, REUSE, Decision
from ..errors import StateError
from ..model.grid import Grid
from ..model.layout import Layout
from ..model.samplers import Sampler
from ..model.view import ViewOf
from ..report.report import RunReport, account, without_blocks
from ..reuse.live import LiveRows
from ..reuse.outputs import Outputs
from ..reuse.parts import parts_of
from ..reuse.residuals import Residuals
from ..sentences import say
from .call import Call
from .evaluation import IDLE, STORE, UNDECIDED, Evaluation
from .guard import Guard
from .others import APART, Others
from .state import CostOf, RunState
from .steps import Steps


class Session:
    """Use as: `session.predict(sigma, compute, x)` for each sampler evaluation, or `with session.evaluation(sigma):` around
    it where only residuals are reused; and inside it one `session.call(...)` per forward pass of the model.

    sigmas: the run's schedule, N + 1 falling or rising values. cost: (grid, tokens) -> CostModel of the model at that size.
    mask: human mask as `grid.token_weights` takes it, or None. on_step(report, expected) is called after each evaluation.
    sampler: whose evaluations these are. guidance: its scale, 1 where there is none. ranges: (from, to, inside) of each
    part of the conditioning that does not hold all the time, as sigmas, from >= to, both included; inside: it changes what
    blocks make of the same prompt, as a ControlNet or a LoRA does. parts: shapes of the latents that x and results hold, as
    [B, 1, N]; () = one. current: the evaluation in progress.
    Raises BadConfig where the settings do not suit the layout.
    """

    activity = say("caching")

    def __init__(
        self, config: Config, layout: Layout, sigmas: Sequence[float], cost: CostOf, mask: torch.Tensor | None = None,
        model: str = "", on_step: Callable[[RunReport, int], None] | None = None, sampler: Sampler | None = None,
        ranges: Sequence[tuple[float, float, bool]] = (), guidance: float = 1.0, parts: Sequence[Sequence[int]] = (),
    ):
        config = config.settled(layout)
        config, self.live, said = LiveRows.of(config, layout, mask, parts)
        self.config, self.layout = config, layout
        self.sampler = sampler or Sampler()
        self.clock = Clock(sigmas, self.sampler)
        self.report = RunReport(
            model, layout.blocks, layout.refreshes, config.to_dict(), level=config.level, order=config.forecast_order,
            storable=layout.storable(), usual_ratio=layout.usual_ratio,
            part=not self.clock.ends,
        )
        self.residuals = Residuals(config, layout, self.sampler.first_order)
        beside = layout.audio == "beside" and config.level == "residual"
        self.outputs, remarks = Outputs.of(config, self.sampler, self.clock.sign, parts_of(parts, self.live, beside))
        self.steps = Steps(config, layout, self.clock, self.sampler, guidance, self.residuals, self.report)
        self.guard = Guard(self.activity, self._failed)
        history = ProbeHistory(None if layout.unknown else mask, config.human_weight, config.omega)
        self.run = RunState(
            config, layout, self.clock, self.report, self.residuals, self.outputs, self.live, history, self.steps,
            self.guard, cost, idle=config.off or bool(self.sampler.why_idle),
        )
        self._on_step = on_step
        self._others, self._ranges = Others(layout.unknown), tuple(ranges)
        self._sigma: float | None = None  # sigma of the newest evaluation
        self.current: Evaluation | None = None
        self._calls: list[Call] = []  # of the evaluation in progress
        if layout.unknown:
            self.run.price(Grid(0, 0, 0), 0, len(self.sampler.evaluated(sigmas)) - 1)
            remarks = [*without_blocks(config, mask), *remarks]
        self.report.note(*said, *remarks)

    # -- what a host calls -----------------------------------------------------------------------------------------

    def predict(
        self, sigma: float, compute: Callable[[], torch.Tensor], x: torch.Tensor | None = None, told: float | None = None
    ) -> torch.Tensor:
        """One model evaluation of the sampler, guidance and all: what the sampler is to be given.

        compute() -> denoised where the sampler's x is given, else the velocity, of x's shape, which may be any that
        stays the same; it is not called where the output is reused. told: the sigma that the model is told, where it is
        another than the sampler's. Raises StateError inside another evaluation.
        """
        with self._open(sigma, told) as current:
            if self.guard.run(self._others.apart, current.tick, x):
                self.guard.stop(APART)
            forecast = self.guard.run(current.forecast, x) if self.outputs else None
            if forecast is not None:
                return forecast
            out = compute()
            current.empty = not (self._calls or out.any())
            self.guard.run(self._watch_others, current)
            if self.run.listener:
                self.guard.run(self.run.listener.evaluated, current, out, x)
            better = self.guard.run(current.learn, out, x) if self.outputs else None
            return out if better is None else better

    def count_pass(self) -> None:
        """One forward pass of a model whose blocks are not known; outside an evaluation nobody counts them."""
        if self.current is not None:
            self.call((), Grid(0, 0, 0)).ran = 1

    @contextmanager
    def evaluation(self, sigma: float) -> Iterator["Session"]:
        """One model evaluation of the sampler, all branches and windows of it. Exceptions pass through untouched."""
        if self.outputs is not None:
            raise StateError(
                "level 'output' and correction need session.predict(sigma, compute), got session.evaluation(sigma)"
            )
        with self._open(sigma):
            yield self

    def call(self, branches: Sequence[Hashable], grid: Grid, foreign: bool = False, view: ViewOf | None = None) -> Call:
        """Begin one forward pass. branches: a key per chunk of the batch. view: of its blocks, None = the video is all.

        foreign: a pass that another extension altered; it is run as it is and neither fed nor served by the cache.
        Raises BadMask where the mask does not fit the grid, StateError outside an evaluation.
        """
        current = self.current
        if current is None:
            raise StateError("the model was called outside session.evaluation(sigma)")
        self.report.note(self.run.history.fit_mask(grid))
        if self.live:
            self.live.fit_mask(grid)
        mode = STORE if self.run.listener else IDLE if self.run.idle else UNDECIDED
        mode = IDLE if foreign or self.guard.broken else mode
        call = Call(current, [current.key(branch) for branch in branches], grid, view, mode, foreign)
        self._calls.append(call)
        return call

    def close(self, finished: bool = False) -> None:
        """Free every tensor; the report stays. finished: the sampler returned, rather than being interrupted."""
        self.report.finished = finished
        rows = self.guard.run(self.run.history.heat.rows, anyway=True)
        if rows:
            self.report.heat, self.report.heat_of = rows, "probe"
        for kept in filter(None, (self.residuals, self.run.history, self.outputs, self.live)):
            kept.clear()
        self._on_step = None

    # -- inside ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _open(self, sigma: float, told: float | None = None) -> Iterator[Evaluation]:
        if self.current is not None:
            raise StateError("evaluation() inside another evaluation")
        tick = self.clock.tick(float(sigma), None if told is None else float(told))
        current = self.current = Evaluation(tick, self.run)
        self._forget_what_held(tick.seen)
        try:
            yield current
            self.guard.run(self._finish, current, anyway=True)
        finally:
            self.current = None
            self._calls.clear()

    def _forget_what_held(self, sigma: float) -> None:
        """Old outputs hold the old conditioning; residuals are kept per conditioning, not per what changes the blocks."""
        before, self._sigma = self._sigma, sigma
        changed = [
            inside for start, end, inside in self._ranges
            if before is not None and (end <= before <= start) != (end <= sigma <= start)
        ]  # fmt: skip
        if changed and self.outputs:
            self.outputs.clear()
        if any(changed):
            self.residuals.clear()

    def _watch_others(self, current: Evaluation) -> None:
        """Stop where another cache works on this model: what it left out must not be taken for a computed result."""
        if current.reused or current.skipped or current.empty:
            return
        current.skipped = self._others.skipped(self._calls)
        if current.skipped and not self.guard.broken:
            self.guard.stop(self._others.told(current.skipped))

    def _why_computed(self) -> str:
        """Why nothing was decided at an evaluation."""
        stopped = say("{activity} stopped", activity=self.activity)
        if self.current.empty and not self.guard.broken:
            return say("no conditioning holds here")
        if self.run.listener:
            return stopped if self.guard.broken else self.activity
        if self.config.off:
            return say("off")
        return self.sampler.why_idle or (stopped if self.guard.broken else say("another extension altered the pass"))

    def _finish(self, current: Evaluation) -> None:
        run = self.run
        self._watch_others(current)
        decision = (None if self.guard.broken else current.decision) or Decision(COMPUTE, self._why_computed())
        if current.skipped:
            decision = Decision(REUSE, say("another extension skipped blocks"))
        run.odd_branch = current.odd_branch
        if current.odd_branch:
            self.report.note(say("a branch appeared that had nothing stored: it was computed while the others were reused"))
        self.report.steps.append(current.record(decision))
        self.report.altered = self._others.altered(self._calls)
        account(self.report, self.config, self.residuals, self.outputs, self.steps.cost)
        if decision.reuse:
            run.streak, run.stale = run.streak + 1, 0 if decision.live else run.stale + 1
        else:
            run.history.restart(run.streak > 0)
            run.streak = run.stale = 0
        if not self.residuals.settled and self.residuals.sizes and self.config.stores:
            self.report.note(self.residuals.settle(self.report.whole_bytes))
        if self._on_step:
            self._on_step(self.report, current.tick.expected)

    def _failed(self, reason: str) -> None:
        """Free what is stored, and end the caching of passes in progress."""
        self.residuals.clear()
        if self.outputs:
            self.outputs.clear()
        for call in self._calls:
            call.stop()
        self.report.note(reason)
