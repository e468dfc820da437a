"""Which evaluations of a run are computed, which are LIVE, what they cost, and how far to trust a forecast between them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ..config import Config
from ..decide.clock import Clock
from ..decide.policy import COMPUTE, MIN_COMPUTED, fixed_schedule, least_left, live_schedule, why_none_live
from ..decide.schedules import STILL, STILL_ALPHA, blended, evened, gap_trust
from ..model.cost import CostModel
from ..model.layout import Layout, groups_for_ratio
from ..model.samplers import Sampler
from ..report.report import RunReport
from ..reuse.residuals import Residuals
from ..sentences import say

Schedule = tuple[bool, ...]


class Planned(NamedTuple):
    """Of one evaluation. budget: how many the run computes, 0 where a given threshold leaves that open. computed: whether
    the schedule computes this one, None where the probe decides or the schedule has ended. live: whether it is LIVE where it
    is not computed.
    """

    budget: int
    computed: bool | None
    live: bool


class Steps:
    """cost: of the model at its size, once it is known. rows: share of all rows that are live, 0 = none can be.

    What a person should know of it is put into the report.
    """

    def __init__(
        self, config: Config, layout: Layout, clock: Clock, sampler: Sampler, guidance: float, residuals: Residuals,
        report: RunReport,
    ):
        self.cost: CostModel | None = None
        self.rows = 0.0
        self._config, self._layout, self._clock, self._sampler = config, layout, clock, sampler
        self._guidance, self._residuals, self._report = guidance, residuals, report
        self._schedule = config.schedule
        every = (True,) * len(config.schedule or ()) if config.live else ()
        self._lives: Schedule = every if isinstance(config.live, bool) else config.live

    def price(self, cost: CostModel, rows: float, steps: int) -> None:
        """First sight of a size: whether the wanted speed can be had in a run of `steps` evaluations."""
        self.cost, self.rows, config, report = cost, rows, self._config, self._report
        target, most = config.target_speedup, cost.speedup(steps, self._least(steps), self.share)
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
        return self.cost.live_share(self.rows, self._config.runs_probe) if self.rows else None

    def planned(self, index: int, expected: int) -> Planned:
        """Of evaluation `index` of as many as are expected. The schedule is made at the second one, when costs are known."""
        config, report, computed = self._config, self._report, None
        live = bool(self.rows and config.live)
        if not config.probe_decides:
            if index:
                if self._schedule is None:
                    self._make()
                elif self._remakes and len(self._schedule) != expected and not any(self._lives):
                    self._remake(expected)
                computed = self._schedule[index] if index < len(self._schedule) else None
                report.live_budget = sum(self._lives)
            live = bool(self.rows) and index < len(self._lives) and self._lives[index]
        if config.threshold is None:
            report.budget = (0 if config.probe_decides else sum(self._schedule or ())) or self._affordable(expected)
        return Planned(report.budget, computed, live)

    def trust(self, index: int, fresh: bool) -> float | None:
        """`forecast.stable_trust` of the gap that begins at an evaluation, None where it is not asked for. fresh: of what
        LIVE evaluations compute as well.
        """
        if not self._config.backtest or not self._schedule:
            return None
        live = self._lives if fresh else ()
        ends = [done or place < len(live) and live[place] for place, done in enumerate(self._schedule)]
        return gap_trust(ends, self._clock.evaluated, index, self._guidance)

    def adapt(self, index: int, rate: float) -> None:
        """See `schedules.evened`. Behind a warm-up of more than one step the first gap is too short to tell anything."""
        config, sigmas = self._config, self._clock.evaluated
        if not self._schedule or any(self._lives) or (config.warmup or 1) != 1:
            return
        if config.live is True and self.rows:
            self._liven(sigmas, index, rate)
        if not any(self._lives):
            self._schedule = evened(sigmas, self._schedule, index, rate, config.force_last and self._clock.ends)

    def _liven(self, sigmas: Sequence[float], index: int, rate: float) -> None:
        """LIVE evaluations behind the first gap, which ends at `index`, where little changed in it and they are cheap. Where
        much did, what is not live needs the computed ones that they would be paid with (`bench.live`: 1 to 2 dB of the
        person of the Wild Talker).
        """
        moves = say("no step is live: the video changes too much from step to step")
        said = why_none_live(self._guidance, self.live_share) or ("" if rate < STILL else moves)
        if said:
            self._report.note(said)
            return
        steps, share = len(sigmas) - 1, self.share
        left = steps / self._config.target_speedup - 1 - (index - 1) * share
        if left > 1:
            config = replace(self._config, alpha=STILL_ALPHA)
            computed, lives = live_schedule(config, sigmas[index:], (steps - index) / left, share, self.live_share)
            if any(lives):
                self._schedule = (*self._schedule[:index], *computed)
                self._lives = (*(False for _ in range(index)), *lives)
        if not any(self._lives):
            self._none_live()

    def _none_live(self) -> None:
        speed = f"{self._config.target_speedup:g}"
        self._report.note(say("no step is live: {speed}× leaves nothing beside the computed ones", speed=speed))

    def _make(self) -> None:
        sigmas, config = self._clock.evaluated, self._config
        steps = len(sigmas) - 1
        if config.live is True and self.rows and not config.adapt:
            found = live_schedule(config, sigmas, config.target_speedup, self.share, self.live_share)
            self._schedule, self._lives = found
            if not any(self._lives):
                self._none_live()
        else:
            self._schedule = fixed_schedule(config, sigmas, self._affordable(steps), self._clock.ends)

    @property
    def _remakes(self) -> bool:
        """Whether the run decides: a schedule that was given is kept, unless it knows of one evaluation in each step."""
        given = self._config.schedule
        return given is None or self._clock.several and len(given) == self._clock.steps

    def _remake(self, expected: int) -> None:
        """The schedule behind the newest computed evaluation, for a run that takes others than it was made for."""
        config, given = self._config, self._config.schedule
        done = [step.action == COMPUTE for step in self._report.steps]
        newest = max((i for i, each in enumerate(done) if each), default=0)
        budget = self._affordable(expected) if given is None else round(expected * sum(given) / len(given))
        end = config.force_last and self._clock.ends if given is None else given[-1]
        left = max(int(end), min(budget - sum(done), expected - len(done)))
        places = {expected - 1} if end else set()
        if left > end:
            chosen = blended(self._clock.evaluated[newest:], left + 1, config.alpha, end=end)[1:]
            places = {max(len(done), newest + place) for place in chosen}
        self._schedule = (*done, *(step in places for step in range(len(done), expected)))
        self._report.remapped = given is not None

    def _affordable(self, steps: int) -> int:
        """How many of `steps` evaluations to compute for the wanted speed."""
        target = self._config.target_speedup
        if self.cost is None:
            return max(self._least(steps), min(steps, round(steps / target)))
        return max(self._least(steps), self.cost.computed_steps(steps, target, self.share))

    def _least(self, steps: int) -> int:
        return min(steps, MIN_COMPUTED) if self._config.force_last and self._clock.ends else 1
