"""Which evaluations of a run are computed, which are LIVE, what they cost, and how far to trust a forecast between them."""

from ..config import Config
from ..decide.clock import Clock
from ..decide.policy import MIN_COMPUTED, fixed_schedule, live_schedule
from ..decide.schedules import gap_trust
from ..model.cost import CostModel
from ..model.samplers import Sampler
from ..reuse.residuals import Residuals
from ..sentences import say

Schedule = tuple[bool, ...]


class Steps:
    """cost: of the model at its size, once it is known. rows: share of all rows that are live, 0 = none can be.

    computed, live: evaluations that are planned, as far as known. remark: what a person should know of that.
    """

    def __init__(self, config: Config, clock: Clock, sampler: Sampler, guidance: float, residuals: Residuals):
        self.cost: CostModel | None = None
        self.remark = ""
        self.rows, self.computed, self.live = 0.0, sum(config.schedule or ()), 0
        self._config, self._clock, self._sampler, self._guidance = config, clock, sampler, guidance
        self._residuals = residuals
        self._schedule = config.schedule
        every = (True,) * len(config.schedule or ()) if config.live else ()
        self._lives: Schedule = every if isinstance(config.live, bool) else config.live

    def meet(self, cost: CostModel, rows: float, steps: int) -> str | None:
        """First sight of a size; a remark where the wanted speed cannot be had in a run of `steps` evaluations."""
        self.cost, self.rows, config = cost, rows, self._config
        target, most = config.target_speedup, cost.speedup(steps, min(steps, MIN_COMPUTED), self.share)
        if config.schedule is None and config.threshold is None and round(most, 1) < round(target, 1):
            return say(
                "target_speedup {target} is out of reach here: {steps} steps allow {most}×",
                target=f"{target:g}", steps=steps, most=f"{most:.1f}",
            )  # fmt: skip
        return None

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
        """How many of `steps` evaluations to compute for the wanted speed, the first and the last among them."""
        least = min(steps, MIN_COMPUTED) if self._config.force_last and self._clock.ends else 1
        if self.cost is None:
            return max(least, min(steps, round(steps / self._config.target_speedup)))
        return max(least, self.cost.budget(steps, self._config.target_speedup, self.share))

    def scheduled(self, index: int) -> bool | None:
        """Whether the schedule computes an evaluation, None past its end. Made at the second one, when costs are known."""
        if self._schedule is None:
            self._make()
        self.computed, self.live = sum(self._schedule), sum(self._lives)
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
                self.remark = say("no step is live: {speed}× leaves nothing beside the computed ones", speed=speed)
        else:
            self._schedule = fixed_schedule(config, sigmas, self.budget(steps), self._clock.ends)
