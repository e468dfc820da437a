"""Kinds of plans: a recipe makes a plan at any cost, and replays say which recipe to trust."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import exp, log
from typing import NamedTuple

from ..config import AUTO, AUTO_ORDER, OUTPUT, RESIDUAL, Config
from ..decide.policy import level_for
from ..decide.schedules import alpha_for
from ..model.samplers import Sampler
from .plan import CACHE, PLAIN, Budget, Plan
from .recording import Recording
from .schedule import Variant

SATURATED = 0.5  # relative L2: two videos that have little in common are about 1 apart, whatever made them
MAX_SPEED = 100.0  # that a Config can ask for
FACTOR = 2.0  # of the computed steps: the farthest that anything is carried
STILL = Variant(OUTPUT, 0)


class Recipe(NamedTuple):
    """alpha: of `schedules.blended`, None = by the dynamic programme over steps. kind: see `plan.Plan`; where it is "plain"
    the variant is STILL: an Euler sampler that takes only the computed steps goes where reusing the last output leads.
    backtest: the variant's order is the highest that a run tries.
    """

    variant: Variant
    alpha: float | None = None
    kind: str = CACHE
    backtest: bool = False


def of_plan(plan: Plan) -> Recipe:
    return Recipe(Variant(plan.level, plan.order, plan.correction), plan.alpha, plan.kind, plan.backtest)


def presets(recording: Recording) -> dict[str, Recipe]:
    """What the presets do where nothing is calibrated, by level."""
    corrected, alpha = Sampler(recording.run.sampler).could_correct, _alpha(recording)
    return {level: Recipe(Variant(level, AUTO_ORDER, corrected), alpha, backtest=True) for level in recording.levels}


def default(recording: Recording, budget: Budget) -> Recipe:
    """What they do at this speed."""
    sampler, steps, known = Sampler(recording.run.sampler), recording.steps, presets(recording)
    speed = min(MAX_SPEED, max(1.0, budget.speedup or steps / budget.computed))
    level = level_for(Config(level=AUTO, target_speedup=speed), recording.cost, steps, sampler).level
    return known.get(level) or known[OUTPUT]


def fallback(recording: Recording) -> Recipe:
    """What to trust where nothing was replayed. A sampler that needs the model at every step reuses no outputs."""
    inside = Sampler(recording.run.sampler).guidance_inside and RESIDUAL in recording.levels
    return Recipe(_variant(recording, RESIDUAL if inside else OUTPUT))


def telling(recording: Recording, budget: Budget) -> list[Recipe]:
    """What is worth a replay, most telling first: the presets' way at this speed, then the usual ones."""
    return list(dict.fromkeys([default(recording, budget), *usual(recording)]))


def usual(recording: Recording) -> list[Recipe]:
    """Plain sampling at its own sigmas, planned reuse of outputs, the presets' ways at all speeds, then others."""
    sampler, outputs, alpha = Sampler(recording.run.sampler), _variant(recording, OUTPUT), _alpha(recording)
    spread = [] if sampler.euler else [Recipe(STILL, alpha, PLAIN)]  # a multistep sampler makes much of the presets' sigmas
    found = [Recipe(STILL, None, PLAIN), *spread, Recipe(outputs), *presets(recording).values()]
    if RESIDUAL in recording.levels:
        found.append(Recipe(_variant(recording, RESIDUAL)))
    if not sampler.euler:  # there, plain sampling is the same
        found.append(Recipe(STILL))
    found += [Recipe(STILL, alpha, PLAIN), Recipe(Variant(OUTPUT, 1))]
    return [*found, Recipe(outputs, 0.5), Recipe(STILL, 0.0, PLAIN)]


def every(recording: Recording, levels: Iterable[str], orders: Iterable[int], corrections: Iterable[bool]) -> list[Recipe]:
    """All recipes with a cache of these kinds that the recording's sampler allows, the likeliest first."""
    sampler, best = Sampler(recording.run.sampler), fallback(recording)
    kinds = (Variant(*kind) for kind in product(levels, orders, corrections))
    found = [Recipe(v, a) for v in kinds for a in (None, _alpha(recording)) if not v.correction or sampler.could_correct]

    def strange(recipe: Recipe) -> tuple:
        variant, alpha = recipe.variant, recipe.alpha
        corrected = variant.correction == sampler.could_correct
        return variant.level != OUTPUT, abs(variant.order - best.variant.order), not corrected, alpha or 0.0

    return sorted(found, key=strange)


def _alpha(recording: Recording) -> float:
    return alpha_for(recording.run.sigmas)


def _order(recording: Recording) -> int:
    return Sampler(recording.run.sampler).first_order


def _variant(recording: Recording, level: str) -> Variant:
    return Variant(level, _order(recording), Sampler(recording.run.sampler).could_correct)


@dataclass(frozen=True)
class Tried:
    """What replays of a recipe gave at one budget, geometric means over recordings. ratio: measured over predicted error.
    each: measured errors, one a recording, in their order.
    """

    computed: int
    error: float
    predicted: float
    each: tuple[float, ...] = ()

    @property
    def ratio(self) -> float:
        return self.error / self.predicted

    def tells(self, computed: int) -> bool:
        """Whether it says anything of the recipe at another number of computed steps."""
        near = max(computed, self.computed) <= FACTOR * min(computed, self.computed)
        return computed == self.computed or near and self.error <= SATURATED

    def scales(self, computed: int) -> bool:
        """Whether its ratio may be applied there; a saturated prediction makes a ratio as worthless as a saturated error."""
        return computed == self.computed or self.tells(computed) and self.predicted <= SATURATED

    def nearer(self, other: "Tried", most: float, worst: float) -> bool:
        """Whether its error is at most `most` times the other's, and on no clip more than `worst` times, where both were
        tried on each: one clip's great gain says nothing of the next where another clip lost.
        """
        paired = zip(self.each, other.each) if len(self.each) == len(other.each) else ()
        return self.error <= most * other.error and all(mine <= worst * theirs for mine, theirs in paired)


Round = dict[Recipe, Tried]


def rounds(replays: Sequence[Plan], budget: Budget) -> list[Round]:
    """Replays by what was asked for, the budget nearest to this one first: only what was asked for alike can be compared."""
    asked: dict[tuple[float, bool], dict[Recipe, list[Plan]]] = {}
    for plan in replays:
        if plan.probe and plan.predicted.error > 0 < plan.measured.error:
            place = asked.setdefault(_speed(plan.budget, plan.evaluations), {})
            place.setdefault(of_plan(plan), []).append(plan)
    steps = replays[0].evaluations if replays else 1
    wanted, counted = _speed(budget, steps)
    near = sorted(asked, key=lambda place: (abs(log(place[0] / wanted)), place[1] != counted))
    return [{recipe: _tried(plans) for recipe, plans in asked[place].items()} for place in near]


def _speed(budget: Budget, steps: int) -> tuple[float, bool]:
    """As a speed-up, and whether it was asked for as a number of steps."""
    return (steps / budget.computed, True) if budget.speedup is None else (budget.speedup, False)


def _tried(plans: Sequence[Plan]) -> Tried:
    means = (exp(sum(log(getattr(p, name).error) for p in plans) / len(plans)) for name in ("measured", "predicted"))
    computed = round(sum(len(p.schedule) for p in plans) / len(plans))
    return Tried(computed, *means, tuple(p.measured.error for p in plans))
