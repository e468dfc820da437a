"""From a plan to the settings of a run: what the plan decides, at the sigmas that the run really has."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from ..config import SCHEDULE, Config
from ..decide.policy import level_for, why_none_live
from ..decide.schedules import alpha_for, blended
from ..model.adapters import Bound
from ..model.cost import CostModel
from ..model.grid import Grid
from ..model.layout import Layout
from ..model.samplers import Sampler
from ..report.report import RunReport
from ..reuse.live import live_tokens, why_not
from ..sentences import say
from .plan import Plan, check
from .schedule import Variant, predicted_error, remap, solve_steps
from .trajectory import Trajectory, interpolation

MOST_ANEW = 61  # sigmas; solving takes about a second there, and grows with the fourth power and more
FINER = 1.5  # times the plan's steps: in much finer runs the dynamic programme trusts what is only interpolated
# Of the error at the nearest sigmas. The best of all schedules on an interpolated path owes part of its promise to the
# interpolation: of four plans carried over on the Tiny Talker, one that promised 3 % less lost 2 dB, others gained up to 3.
PROMISE = 0.9


@dataclass(frozen=True)
class Settings:
    """What a run goes by. plan: a line about its plan, "" = there is none. remapped: whether the plan was made for other
    sigmas. notes: for the report. livable: whether LIVE evaluations can be had of the model.
    """

    config: Config
    plan: str = ""
    remapped: bool = False
    notes: tuple[str, ...] = ()
    livable: bool = False

    def tell(self, report: RunReport) -> None:
        report.plan, report.remapped, report.livable = self.plan, self.remapped, self.livable
        report.note(*self.notes)


def settings_of(
    config: Config, bound: Bound, grid: Grid, sigmas: Sequence[float], sampler: Sampler, plan: Plan | None = None,
    text: int | None = None, mask: torch.Tensor | None = None, guidance: float = math.inf,
) -> Settings:
    """Of a run over sigmas [N + 1]: `config`, with what a plan decides and what is left to the model. grid: the video's
    tokens. mask: human mask. text: as `Bound.cost` takes it. guidance: its scale, infinite where it is not known. Raises
    BadInput, with both names, where the plan is for another model.
    """
    evaluated, line, is_moved, notes = sampler.evaluated(sigmas), "", False, []
    if plan is not None:
        config = planned_config(plan, config, bound.adapter.name, bound.layout)
        config, is_moved, notes = fitted_config(plan, config, sigmas, sampler, grid.tokens)
        line = describe(plan, evaluated) if _falls(sigmas) or not plan.plain else ""
    config, said = leveled(config, bound, grid, len(evaluated) - 1, sampler, text, mask, guidance)
    return Settings(config, line, is_moved, (*notes, *said), bound.can_live)


def leveled(
    config: Config, bound: Bound, grid: Grid, steps: int, sampler: Sampler, text: int | None = None,
    mask: torch.Tensor | None = None, guidance: float = math.inf,
) -> tuple[Config, list[str]]:
    """The config with its level, for a run of `steps` evaluations, without LIVE ones, which choose another level, where it
    is known that none will come; and notes.
    """
    cost, said = bound.cost(grid, grid.tokens, text), ""
    if config.live and not config.off:
        said = _why_not_live(config, bound, grid, cost, mask, guidance)
        config = replace(config, live=False) if said else config
    return level_for(config, cost, steps, sampler), [said] if said else []


def _why_not_live(
    config: Config, bound: Bound, grid: Grid, cost: CostModel, mask: torch.Tensor | None, guidance: float
) -> str:
    if not bound.takes_rows:
        return say("live has no effect on {model}: its blocks run on all rows only", model=bound.adapter.title)
    said = why_not(bound.layout, mask)
    if said or not (config.live is True and config.adapt):
        return said
    rows = live_tokens(mask, grid, config.live_reach).float().mean().item()
    return why_none_live(guidance, cost.live_share(rows, config.runs_probe))


def planned_config(plan: Plan, base: Config, adapter: str, layout: Layout) -> Config:
    """`base` with all that a plan decides, for its own sigmas. Raises BadInput, with both names, for another model."""
    check(plan, adapter, layout)
    return replace(
        base, schedule=plan.mask, force_last=False, level=plan.level, forecast_order=plan.order, correction=plan.correction,
        groups=plan.groups or None, merge=plan.merge, probe=plan.probe, backtest=plan.backtest, adapt=False, choose=SCHEDULE,
        threshold=None, live=False,
    )


def fitted_config(
    plan: Plan, config: Config, sigmas: Sequence[float], sampler: Sampler, tokens: int = 0
) -> tuple[Config, bool, list[str]]:
    """The config at a run's sigmas [N + 1], whether its schedule had to be moved, and what a person should know.

    tokens: of the run's video, 0 = unknown. A plain plan's run goes over the sigmas that `fewer` left, and reuses nothing.
    """
    if plan.plain:
        off = replace(config, target_speedup=1.0, schedule=None)
        return off, False, _differences(plan, sampler, tokens)
    wanted = sampler.evaluated(sigmas)
    schedule, note = carried_over(plan, wanted)
    computed = set(schedule)
    mask = tuple(t in computed for t in range(len(wanted) - 1))
    notes = [note] if note else []
    return replace(config, schedule=mask), bool(note), [*notes, *_differences(plan, sampler, tokens)]


def _differences(plan: Plan, sampler: Sampler, tokens: int) -> list[str]:
    notes = []
    if sampler.name != plan.run.sampler:
        notes.append(say(
            "plan made with sampler {theirs}, this run uses {ours}: errors may be larger",
            theirs=plan.run.sampler, ours=sampler.name,
        ))  # fmt: skip
    if tokens and plan.run.tokens and tokens != plan.run.tokens:
        notes.append(say(
            "plan made for {theirs} video tokens, this run has {ours}: bytes and error will differ",
            theirs=plan.run.tokens, ours=tokens,
        ))  # fmt: skip
    return notes


def fewer(plan: Plan, sigmas: Sequence[float]) -> tuple[tuple[int, ...], str]:
    """Which of a run's sigmas [N + 1] a plain plan starts its steps at, the end aside, and a note as of `carried_over`."""
    steps = tuple(range(len(sigmas) - 1))
    if not plan.plain or not steps:
        return steps, ""
    if not _falls(sigmas):
        return steps, say("the plan takes fewer steps of sigmas that fall, these do not: all are taken")
    return carried_over(plan, sigmas)


def _falls(sigmas: Sequence[float]) -> bool:
    return all(a > b for a, b in pairwise(sigmas))


def part_of(plan_sigmas: Sequence[float], run_sigmas: Sequence[float]) -> slice | None:
    """The evaluations of a plan [E + 1] that a run [E' + 1] is, both with their ends; None where it is no part of the plan.

    A run that starts later or stops earlier: the host's KSamplerAdvanced and SplitSigmas, and denoise below 1.
    """
    whole, part = np.asarray(plan_sigmas, dtype=np.float64), np.asarray(run_sigmas, dtype=np.float64)
    if len(part) < 2:
        return None
    for start in range(len(whole) - len(part) + 1):
        if np.allclose(whole[start : start + len(part)], part, rtol=1e-4, atol=1e-4):
            return slice(start, start + len(part) - 1)
    return None


def carried_over(plan: Plan, wanted: Sequence[float]) -> tuple[tuple[int, ...], str]:
    """The schedule at other sigmas [T' + 1], and a note ("" = as it was): the same share of steps, spread anew where
    `blended` made the schedule, else planned anew from the plan's sketch, interpolated in sigma; or at the nearest sigmas,
    where there is no sketch, a step takes several evaluations, the run has more than FINER times the plan's, or planning
    anew promises less than a tenth less error.
    """
    if len(wanted) < 2:
        return (), ""
    if part := part_of(plan.run.sigmas, wanted):
        # Nothing is cached where the part begins, so its first evaluation is computed as well.
        return tuple(sorted({0, *(t - part.start for t in plan.schedule if part.start <= t < part.stop)})), ""
    nearest, note = remap(plan.schedule, plan.run.sigmas, wanted)
    if note and plan.alpha is not None:
        own = None if plan.alpha == alpha_for(plan.run.sigmas) else plan.alpha  # the presets' way: as at the new sigmas
        spread = blended(wanted, len(nearest), own)
        return spread, say(
            "plan made for {theirs} evaluations at other sigmas: spread anew, {computed} of {steps} are computed",
            theirs=plan.evaluations, computed=len(spread), steps=len(wanted) - 1,
        )  # fmt: skip
    new, old = np.asarray(wanted, dtype=np.float64), np.asarray(plan.run.sigmas)
    falling = _falls(new) and _falls(old)
    most = min(FINER * len(old), MOST_ANEW)
    if not note or not plan.sketch or not falling or len(nearest) == 1 or len(new) > most:
        return nearest, note
    y = interpolation(old[:-1], new[:-1]) @ np.array(plan.sketch)
    length = np.linalg.norm(np.diff(new) @ y)
    if not length > 0:
        return nearest, note
    path, variant = Trajectory(new, y / length), Variant(plan.level, plan.order, plan.correction)
    solution = solve_steps(path, variant)
    anew, error = solution.schedules[len(nearest)], solution.errors[len(nearest)]
    if anew is None or error > PROMISE * predicted_error(path, nearest, variant):
        return nearest, note
    return anew, say(
        "plan made for {theirs} evaluations at other sigmas: planned anew, {computed} of {steps} are computed",
        theirs=len(old) - 1, computed=len(anew), steps=len(new) - 1,
    )  # fmt: skip


def describe(plan: Plan, wanted: Sequence[float] = ()) -> str:
    """One line for reports and for the live text of a node. wanted: sigmas of a run, which may be a part of the plan's."""
    if plan.plain:
        return say("{computed} of {steps} steps taken, nothing reused", **_counts(plan))
    part = part_of(plan.run.sigmas, wanted) if wanted else None
    steps = say("{computed} of {steps} steps computed", **_counts(plan))
    parts = [steps, level_words(plan), order_words(plan)]
    if plan.correction:
        parts.append(say("corrected"))
    if part and len(wanted) <= plan.evaluations:
        parts.append(say("here its steps {first} to {last}", first=part.start + 1, last=part.stop))
    return say("{parts}", parts=parts)


def _counts(plan: Plan) -> dict:
    return {"computed": len(plan.schedule), "steps": plan.evaluations}


def level_words(plan: Plan) -> str:
    return say("output level") if plan.level == "output" else say("residual level")


def order_words(plan: Plan) -> str:
    return say("order 0 to {order}", order=plan.order) if plan.backtest else say("order {order}", order=plan.order)
