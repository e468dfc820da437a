"""What to do at one model evaluation: COMPUTE, REUSE, or LIVE between the two, and why. Plain numbers in and out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..config import AUTO, OUTPUT, RESIDUAL, Config
from ..model.cost import CostModel, affordable
from ..model.layout import Layout, groups_for_ratio
from ..model.samplers import Sampler
from ..sentences import say
from .schedules import blended, filled

COMPUTE, REUSE, LIVE = "compute", "reuse", "live"
MIN_WARMUP = 2
MIN_COMPUTED = 2  # the first step and, of three or more, the last
# Of the computed steps that a speed leaves, before and after rounding: fresh residuals are not worth more than the rest.
LEAST_LEFT, ROUNDED = 0.88, 0.85
COMPUTED_SHARE = 0.7  # of what is spent where some evaluations are LIVE
# Of all evaluations: what is not the person, and so the person too, needs these. With 4 of 20 computed instead of 5 the Wild
# Talker lost 5 dB, more than LIVE evaluations brought.
LEAST_COMPUTED = 0.25
# Guidance multiplies late errors, which LIVE evaluations keep small; at 2 and 1 both talkers lost by them.
LEAST_GUIDANCE = 4.0
MOST_LIVE = 0.5  # of a computed evaluation: at 0.7, where a person fills the picture, whole steps are as near
# Of both, where sound has a stream of its own: whole results make it rest, and it is heard alone. At equal cost its error is
# a third with residuals, and the picture's grows: with 61 % left (MiniMax-H3 at 3x) both stay below that of a sound that
# rests, with 42 % (at 4x) the picture's does not (two seeds at random weights).
LEAST_BESIDE = 0.55


@dataclass(frozen=True)
class Situation:
    """What is known at one evaluation, after its probe.

    index: evaluations before this one. expected: evaluations of the whole run. last: the schedule's last step. computed:
    evaluations computed so far. budget: evaluations that the whole run should compute. streak: reused evaluations since
    the last computed one. change: probe change e, None where there is none, NaN or inf where it has no meaning.
    accumulated: E, the sum of changes since the last computed evaluation, this one included. ahead: predicted sum of
    changes after this evaluation. missing: why the store cannot serve this evaluation, None where it can. scheduled:
    whether the schedule computes it, None where the probe decides or the schedule has ended. live: whether it is LIVE where
    it is not computed.
    """

    index: int
    expected: int
    last: bool
    computed: int
    budget: int
    streak: int
    change: float | None
    accumulated: float
    ahead: float
    missing: str | None
    scheduled: bool | None = None
    live: bool = False


@dataclass(frozen=True)
class Decision:
    action: str
    reason: str
    threshold: float | None = None

    @property
    def reuse(self) -> bool:
        """Whether anything is reused."""
        return self.action != COMPUTE

    @property
    def live(self) -> bool:
        return self.action == LIVE


def decide(config: Config, situation: Situation) -> Decision:
    """Rules in order of authority: what must be computed, then the schedule, or the threshold that was given or steered."""
    found = _decided(config, situation)
    return replace(found, action=LIVE) if found.reuse and situation.live else found


def _decided(config: Config, situation: Situation) -> Decision:
    must = _must_compute(config, situation)
    if must:
        return Decision(COMPUTE, must)
    if not config.probe_decides:
        return Decision(COMPUTE if situation.scheduled else REUSE, say("schedule"))
    if config.threshold is not None:
        reuse = situation.accumulated < config.threshold
        return Decision(REUSE if reuse else COMPUTE, say("probe"), config.threshold)
    return _steer(situation)


def least_left(layout: Layout) -> tuple[float, float]:
    """Of the computed steps that a speed leaves, before and after rounding, what residuals must leave, see `level_for`."""
    return (LEAST_BESIDE,) * 2 if layout.audio == "beside" else (LEAST_LEFT, ROUNDED)


def level_for(config: Config, cost: CostModel, steps: int, sampler: Sampler | None = None) -> Config:
    """The config with a level, for a run of `steps` evaluations: "auto" reuses residuals, with the audio refreshed at every
    step, where probe and audio leave LEAST_LEFT of the computed steps or more (Wan2.2-S2V-14B: 95 % at 2x, 90 % at 3x, but
    85 % at 4x), or LEAST_BESIDE where sound is made beside the video, or where the sampler needs the model at every step;
    else outputs, which cost nothing. Outputs too where some evaluations are LIVE, and where no blocks are known.
    """
    if config.level != AUTO:
        return config
    if cost.layout.unknown or config.live and not (config.probe_decides or config.groups):
        return replace(config, level=OUTPUT)
    speed = config.target_speedup if config.schedule is None else steps / max(1, sum(config.schedule))
    groups = len(config.groups or ()) or groups_for_ratio(cost.layout, config.cache_ratio)
    share = cost.share(RESIDUAL, groups, config.merge, config.probe)
    bare, left = steps / speed, affordable(steps, speed, share) if share < 1 else 0.0
    least, rounded = least_left(cost.layout)
    enough = left >= least * bare and round(left) >= rounded * round(bare)
    needed = config.probe_decides or config.groups or (sampler is not None and sampler.guidance_inside)
    return replace(config, level=RESIDUAL if needed or enough else OUTPUT)


def fixed_schedule(config: Config, sigmas: Sequence[float], computed: int, ends: bool) -> tuple[bool, ...]:
    """Per evaluation True = compute, for a run over `sigmas` [E + 1] that computes so many. ends: whether it goes all the
    way, so that its last evaluation counts.
    """
    steps = len(sigmas) - 1
    warmup = warmup_steps(config, steps, computed)
    chosen = set(blended(sigmas, computed, config.alpha, warmup, config.force_last and ends))
    return tuple(step in chosen for step in range(steps))


def live_schedule(
    config: Config, sigmas: Sequence[float], speed: float, reused: float, live: float
) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """(computed, LIVE) per evaluation, for a run over `sigmas` [E + 1] that is to be so many times as fast. reused, live:
    costs of such evaluations over a computed one.

    COMPUTED_SHARE of what the speed allows goes into computed evaluations, which lie as `blended` puts them, or more where
    all others can be LIVE, and before others LEAST_COMPUTED of all; the rest into LIVE ones, `filled` in between.
    """
    steps = len(sigmas) - 1
    allowed = (steps / speed - steps * reused) / (1 - reused)  # in computed evaluations, beside what every one costs
    each = (live - reused) / (1 - reused)
    least = max(COMPUTED_SHARE * allowed, min(allowed, LEAST_COMPUTED * steps))
    least = max(least, (allowed - steps * each) / (1 - each)) if each < 1 else allowed
    computed = min(steps, max(MIN_COMPUTED, int(least + 0.5)))
    more = steps if each <= 0 else int((allowed - computed) / each + 1e-9)
    chosen = blended(sigmas, computed, config.alpha, warmup_steps(config, steps, computed))
    found = (tuple(step in those for step in range(steps)) for those in (chosen, filled(sigmas, chosen, more, config.alpha)))
    return next(found), next(found)


def why_none_live(guidance: float, live: float) -> str:
    """Why LIVE evaluations would lose by what is known before a run, "" where they may gain. live: cost of one over a
    computed one.
    """
    if guidance < LEAST_GUIDANCE:
        return say("no step is live: at this guidance whole steps are nearer")
    if live > MOST_LIVE:
        return say("no step is live: it would cost {share} of a computed one, too much to gain by it", share=f"{live:.0%}")
    return ""


def warmup_steps(config: Config, expected: int, budget: int) -> int:
    """Evaluations that are always computed at the start. Where the probe decides: max(2, 15 %), but at most a quarter of the
    computed ones, since a flow schedule of high shift takes its first steps close to sigma 1; 2 where a given threshold
    leaves open how many these are.
    """
    if config.schedule is not None:
        return 1
    if config.warmup is not None:
        return max(1, config.warmup)
    if not config.probe_decides:
        return 1
    if config.threshold is not None:
        return MIN_WARMUP
    wanted = max(MIN_WARMUP, math.ceil(0.15 * expected))
    return min(wanted, max(MIN_WARMUP, budget // 4))


def ends_computed(config: Config, scheduled: bool | None, budget: int) -> bool:
    """Whether the last evaluation is computed whatever else holds: of two the second lies before it. scheduled, budget: of
    `Situation`.
    """
    return config.force_last and not (scheduled is False and budget == MIN_COMPUTED)


def _must_compute(config: Config, situation: Situation) -> str | None:
    if situation.last and ends_computed(config, situation.scheduled, situation.budget):
        return say("last step")
    if situation.index < warmup_steps(config, situation.expected, situation.budget):
        return say("warm-up")
    if not config.probe_decides and situation.scheduled is None:
        return say("past the schedule")
    if situation.missing:
        return situation.missing
    if situation.change is not None and not math.isfinite(situation.change):
        return say("nonfinite probe")
    if config.probe_decides and situation.change is None:
        return say("no earlier probe")
    if config.probe_decides and situation.streak >= config.max_reuse_run:
        return say("longest reuse run")
    return None


def _steer(situation: Situation) -> Decision:
    """Spread the computed evaluations that are left so that the probe changes by equal amounts between them.

    One evaluation of the budget is kept for the last step. tau = (E + predicted change ahead) / (computed left + 1).
    """
    left = situation.budget - situation.computed - 1
    free = situation.expected - situation.index - 2  # evaluations between this one and the last step
    if left <= 0:
        return Decision(REUSE, say("budget spent"))
    if left > free:
        return Decision(COMPUTE, say("budget to spend"))
    threshold = (situation.accumulated + situation.ahead) / (left + 1)
    action = COMPUTE if situation.accumulated >= threshold else REUSE
    return Decision(action, say("probe"), threshold)
