"""Which evaluations of a run are computed, which are LIVE, what they cost, and how far to trust a forecast between them."""

from ..config import Config
from ..decide.clock import Clock
from ..decide.policy import MIN_COMPUTED, fixed_schedule, least_left, live_schedule
from ..decide.schedules import gap_trust
from ..model.cost import CostModel
from ..model.layout import Layout, groups_for_ratio
from ..model.samplers import Sampler
from ..report.report import RunReport
from ..reuse.residuals import Residuals
from ..sentences import say

Schedule = tuple[bool, ...]


class Steps:
    """cost: of the model at its size, once it is known. rows: share of all rows that are live, 0 = none can be. computed:
    evaluations that the schedule computes, as far as known. What a person should know of it is put into the report.
    """

    def __init__(
        self, config: Config, layout: Layout, clock: Clock, sampler: Sampler, guidance: float, residuals: Residuals,
        report: RunReport,
    ):
        self.cost: CostModel | None = None
        self.rows, self.computed = 0.0, sum(config.schedule or ())
        self._config, self._layout, self._clock, self._sampler = config, layout, clock, sampler
        self._guidance, self._residuals, self._report = guidance, residuals, report
        self._schedule = config.schedule
        every = (True,) * len(config.schedule or ()) if config.live else ()
        self._lives: Schedule = every if isinstance(config.live, bool) else config.live

    def price(self, cost: CostModel, rows: float, steps: int) -> None:
        """First sight of a size: whether the wanted speed can be had in a run of `steps` evaluations."""
        self.cost, self.rows, config, report = cost, rows, self._config, self._report
        target, most = config.target_speedup, cost.speedup(steps, min(steps, MIN_COMPUTED), self.share)
        if config.schedule is None and config.threshold is None and round(most, 1) < round(target, 1):
            report.note(say(
                "target_speedup {target} is out of reach here: {steps} steps allow {most}×",
                target=f"{target:g}", steps=steps, most=f"{most:.1f}",
            ))  # fmt: skip
        report.reuse_share, report.live_share = self.share, self.live_share
        if not self._layout.unknown:
            groups = groups_for_ratio(self._layout, config.cache_ratio)
            report.fresh_share = cost.share("residual", groups, config.merge, True)
            report.least_left = least_left(self._layout)

    @property
    def share(self) -> float:
        """r, cost of a reused evaluation over a computed one."""
        groups = len(self._residuals.groups)
        return self.cost.share(self._config.level, groups, self._config.merge, self._config.probe)

    @property
    def live_share(self) -> float | None:
        """c of a LIVE one, None where there is none."""
        return self.cost.live_share(self.rows, self._config.probes) if self.rows else None

    def budget(self, steps: int) -> int:
        """How many of `steps` evaluations are computed: by the schedule, or for the wanted speed, the ends included."""
        planned = 0 if self._config.probing else self.computed
        self._report.budget = planned or self._affordable(steps)
        return self._report.budget

    def scheduled(self, index: int) -> bool | None:
        """Whether the schedule computes an evaluation, None past its end. Made at the second one, when costs are known."""
        if self._schedule is None:
            self._make()
        self.computed, self._report.live_budget = sum(self._schedule), sum(self._lives)
        return self._schedule[index] if index < len(self._schedule) else None

    def lives(self, index: int) -> bool:
        """Whether an evaluation is LIVE where it is not computed."""
        if not self.rows or self._config.probing:
            return bool(self.rows and self._config.live)
        return index < len(self._lives) and self._lives[index]

    def trust(self, index: int, fresh: bool) -> float | None:
        """`forecast.stable_trust` of the gap that begins at an evaluation, None where it is not asked for. fresh: of what
        LIVE evaluations compute as well.
        """
        if not self._config.backtest or not self._schedule:
            return None
        live = self._lives if fresh else ()
        ends = [done or place < len(live) and live[place] for place, done in enumerate(self._schedule)]
        return gap_trust(ends, self._sampler.evaluated(self._clock.sigmas), index, self._guidance)

    def _make(self) -> None:
        sigmas, config = self._sampler.evaluated(self._clock.sigmas), self._config
        steps = len(sigmas) - 1
        if config.live is True and self.rows:
            found = live_schedule(config, sigmas, config.target_speedup, self.share, self.live_share)
            self._schedule, self._lives = found
            if not any(self._lives):
                speed = f"{config.target_speedup:g}"
                self._report.note(say("no step is live: {speed}× leaves nothing beside the computed ones", speed=speed))
        else:
            self._schedule = fixed_schedule(config, sigmas, self._affordable(steps), self._clock.ends)

    def _affordable(self, steps: int) -> int:
        least = min(steps, MIN_COMPUTED) if self._config.force_last and self._clock.ends else 1
        if self.cost is None:
            return max(least, min(steps, round(steps / self._config.target_speedup)))
        return max(least, self.cost.budget(steps, self._config.target_speedup, self.share))
