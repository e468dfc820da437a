"""The joint choice: recipe, computed steps and stored residuals for a wanted speed and memory.

Speeds are counted operations: what is tried and chosen does not depend on how busy a machine was.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from functools import cache, cached_property
from math import hypot
from typing import NamedTuple

import numpy as np

from ..config import AUTO_ORDER, HUMAN_WEIGHT
from ..decide.policy import MIN_COMPUTED
from ..decide.schedules import blended
from ..errors import BadConfig
from ..model.layout import groups_for_ratio
from ..units import readable
from .plan import PLAIN, Budget, Plan, Provenance, Scores, fingerprint
from .recipes import Recipe, Tried, default, every, fallback, rounds, telling, usual
from .recording import Recording
from .remarks import CARRIED, GUESSED, REPLAYED, remarks
from .schedule import (
    MAX_RUN,
    Segmentation,
    Solution,
    Variant,
    adapted,
    gap_sizes,
    predicted_error,
    solve_segments,
    solve_steps,
)
from .trajectory import Trajectory, sketch

SLOWER = 0.1  # how much slower than the fastest a recipe may be, of the wanted speed, to be preferred for its error
ALIKE = 1.25  # times the least error: on another clip, or at another speed, the other one may well be nearer
BETTER = 0.75  # of the presets' error, 2.5 dB: what was not nearer than that on a clip or two may be farther on others


@dataclass(frozen=True)
class Choice:
    """One way to run, with what it is predicted to cost and give.

    error: relative L2 of the final latent, the root of step_error^2 + staleness^2. step_error: of the forecasts. staleness:
    of audio inside merged segments. Both are multiplied by what replays of the recipe measured over what was predicted for
    them. speedup: by operation count. basis: where the error comes from, REPLAYED at this very cost, CARRIED or GUESSED.
    """

    recipe: Recipe
    schedule: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    step_error: float
    staleness: float
    speedup: float
    bytes: int
    basis: str = GUESSED
    notes: tuple[str, ...] = ()

    @property
    def variant(self) -> Variant:
        return self.recipe.variant

    @property
    def plain(self) -> bool:
        return self.recipe.kind == PLAIN

    @property
    def error(self) -> float:
        return hypot(self.step_error, self.staleness)

    @property
    def computed(self) -> int:
        return len(self.schedule)


class Size(NamedTuple):
    """What a recipe comes to at a budget. groups: stored residuals."""

    computed: int
    groups: int
    speedup: float
    bytes: int


class Planner:
    """Plans from a recording, for any budget. human_weight: lambda, where a human region was recorded. recipes: those that
    may be chosen, the likeliest first, None = all that forecast by a line at most. watch: called before each dynamic
    programme, a second or less of work.
    """

    def __init__(
        self, recording: Recording, human_weight: float = HUMAN_WEIGHT, recipes: list[Recipe] | None = None,
        watch: Callable[[], None] | None = None,
    ):
        self.recording = recording
        self._human_weight, self._watch = human_weight, watch
        orders = range(AUTO_ORDER + 1)
        known = [fallback(recording), *usual(recording), *every(recording, recording.levels, orders, (False, True))]
        self.recipes = list(dict.fromkeys(known)) if recipes is None else recipes
        self._path = np.abs(np.diff(recording.run.sigmas))
        self.solve = cache(self.solve)

    def solve(self, variant: Variant) -> Solution:
        """Its best schedules, for every number of computed steps."""
        if self._watch:
            self._watch()
        reused, output = self._paths(variant)
        return solve_steps(reused, variant, output)

    @cached_property
    def segmentation(self) -> Segmentation:
        """Without recorded audio deltas every refresh counts alike: groups come out even in size, staleness unknown as 0."""
        layout, audio = self.recording.layout, self.recording.audio
        if audio is not None:
            return solve_segments(audio, layout)
        alike = solve_segments(np.ones((len(layout.refresh),) * 2), layout)
        return replace(alike, costs=np.where(np.isinf(alike.costs), np.inf, 0.0))

    def make(self, recipe: Recipe, computed: int, groups: int | None = None) -> Choice:
        """Its plan with `computed` steps. groups: stored residuals, None = all. Raises BadConfig where there is none."""
        if not 1 <= computed <= self.recording.steps:
            raise BadConfig(f"computed must be in 1..{self.recording.steps}, got {computed}")
        groups = self._most(recipe) if groups is None else groups
        schedule, size = self._schedule(recipe, computed), self._size(recipe, computed, groups)
        reused, output = self._paths(recipe.variant)
        error = predicted_error(reused, schedule, recipe.variant, output)
        skipped = 1.0 - self._path[list(schedule)].sum() / self._path.sum()
        stale = float(skipped * self.segmentation.costs[groups]) if groups else 0.0
        kept = self.segmentation.groups[groups] if groups else ()
        return Choice(recipe, schedule, kept, error, stale, size.speedup, size.bytes)

    def choose(self, budget: Budget) -> Choice:
        """What did best where it was tried, at this speed or the nearest one, made for the wanted speed and memory, with
        notes on what could not be met. Where nothing comparable was tried, the likeliest recipe; none is preferred for being
        unknown. Raises BadConfig where not even the smallest plan fits the memory.
        """
        sizes = self._near(budget)
        recipe, found = self._trusted(sizes, budget)
        choice = self.make(recipe, sizes[recipe].computed, sizes[recipe].groups)
        tried = found.get(recipe)
        if tried is not None:
            scales = tried.scales(choice.computed)
            ratio = tried.ratio if scales else 1.0
            basis = REPLAYED if tried.computed == choice.computed else CARRIED if scales else GUESSED
            choice = replace(choice, step_error=ratio * choice.step_error, staleness=ratio * choice.staleness, basis=basis)
        return replace(choice, notes=tuple(remarks(choice, budget, self.recording)))

    def trials(self, budget: Budget, count: int) -> list[Choice]:
        """What to replay for a budget: of `recipes.telling` the first `count` that come to different plans."""
        sizes, found = self._sizes(budget), {}
        for recipe in telling(self.recording, budget):
            if len(found) < count and recipe in sizes:
                made = self.make(recipe, sizes[recipe].computed, sizes[recipe].groups)
                found.setdefault((made.schedule, recipe.variant, recipe.kind, recipe.backtest), made)
        return list(found.values())

    def front(self, budget: Budget) -> list[Choice]:
        """What other speeds give with this memory, fastest first; none that is slower and no better than another."""
        found: dict[Choice, None] = {}
        kinds = {(recipe.variant.level, size.groups) for recipe, size in self._sizes(budget).items()}
        speeds = {max(1.0, float(speed)) for kind in kinds for speed in self._speedups(*kind)[self._fewest :]}
        for speedup in sorted(speeds, reverse=True):
            choice = replace(self.choose(replace(budget, speedup=speedup, computed=None)), notes=())
            least = min((c.error for c in found), default=np.inf)
            if choice.error < least:
                found[choice] = None
        return list(found)

    def gaps(self, choice: Choice) -> np.ndarray:
        """What each gap adds to step_error, [n]; their squares add up to its square."""
        reused, output = self._paths(choice.variant)
        sizes = gap_sizes(reused, choice.schedule, choice.variant, output)
        return sizes * (choice.step_error / (np.linalg.norm(sizes) or 1.0))

    def plan(self, choice: Choice, budget: Budget, version: str, note: str = "", created: str | None = None) -> Plan:
        """version: of the pack. created: ISO date, None = today. What a replay of the very plan measured goes with it."""
        recording, variant = self.recording, choice.variant
        origin = Provenance(version, created or date.today().isoformat(), recording.count, note or " ".join(choice.notes))
        plan = Plan(
            adapter=recording.adapter, layout=fingerprint(recording.layout), run=recording.run, budget=budget,
            schedule=choice.schedule, level=variant.level, order=variant.order, correction=variant.correction,
            groups=choice.groups, merge="freeze", probe=True, predicted=Scores(choice.error, choice.speedup, choice.bytes),
            provenance=origin, sketch=sketch(self._paths(variant)[0]), kind=choice.recipe.kind, alpha=choice.recipe.alpha,
            backtest=choice.recipe.backtest, boundaries=recording.boundaries,
        )
        return replace(plan, measured=next((p.measured for p in recording.replays if _same_way(p, plan)), None))

    def _trusted(self, sizes: dict[Recipe, Size], budget: Budget) -> tuple[Recipe, dict[Recipe, Tried]]:
        """The recipe to take, and the replays that speak for it.

        The presets' way, unless something is nearer and on no clip farther; of that, what is ALIKE and extrapolates least.
        """
        mine, said = default(self.recording, budget), []
        for found in rounds(self.recording.replays, budget):
            said.append({r: tried for r, tried in found.items() if r in sizes and tried.tells(sizes[r].computed)})
        told = min(filter(None, said), key=lambda told: mine not in told, default={})  # the first with the presets
        if not told:
            return next(recipe for recipe in self.recipes if recipe in sizes), {}
        nearer = {r: t.error for r, t in told.items() if mine not in told or t.nearer(told[mine], BETTER, ALIKE)}
        alike = [r for r, error in nearer.items() if error <= ALIKE * min(nearer.values())]
        return min(alike, key=lambda r: (r.kind != PLAIN, r.variant.order, nearer[r]), default=mine), told

    def _near(self, budget: Budget) -> dict[Recipe, Size]:
        """Of all that fits the memory, what comes nearest to the wanted speed."""
        sizes = self._sizes(budget)
        missed = {recipe: _miss(size, budget) for recipe, size in sizes.items()}
        return {recipe: size for recipe, size in sizes.items() if missed[recipe] <= min(missed.values()) + SLOWER}

    def _sizes(self, budget: Budget) -> dict[Recipe, Size]:
        """Every recipe that fits the memory, as near to the wanted speed as it comes. Raises BadConfig where none does."""
        found = {}
        for recipe in self.recipes:
            groups = self._groups(recipe, budget)
            if groups is not None:
                found[recipe] = self._size(recipe, self._computed(recipe, groups, budget), groups)
        if not found:
            least = min(self._bytes(recipe, min(1, self._most(recipe))) for recipe in self.recipes)
            raise BadConfig(f"bytes {readable(budget.bytes)} are too few: the smallest plan takes {readable(least)}")
        return found

    def _schedule(self, recipe: Recipe, computed: int) -> tuple[int, ...]:
        if recipe.alpha is not None:
            schedule = blended(self.recording.run.sigmas, computed, recipe.alpha)
            return adapted(schedule, self.recording.trajectory("output")) if recipe.backtest else schedule
        schedule = self.solve(recipe.variant).schedules[computed]
        if schedule is None:
            raise BadConfig(f"{computed} computed steps are too few: no gap may be longer than {MAX_RUN} steps")
        return schedule

    def _paths(self, variant: Variant) -> tuple[Trajectory, Trajectory]:
        """Of what is forecast, and of the output."""
        return tuple(self.recording.trajectory(level, self._human_weight) for level in (variant.level, "output"))

    def _most(self, recipe: Recipe) -> int:
        return self.recording.layout.storable() if recipe.variant.level == "residual" else 0

    def _size(self, recipe: Recipe, computed: int, groups: int) -> Size:
        speedup = float(self._speedups(recipe.variant.level, groups)[computed])
        return Size(computed, groups, speedup, self._bytes(recipe, groups))

    def _bytes(self, recipe: Recipe, groups: int) -> int:
        variant = recipe.variant
        return 0 if recipe.kind == PLAIN else self.recording.bytes(variant.level, groups, variant.order, variant.correction)

    def _groups(self, recipe: Recipe, budget: Budget) -> int | None:
        """Residuals to store, 0 at output level; None where the recipe does not fit the budget."""
        most = self._most(recipe)
        if budget.cache_ratio is not None and most:
            most = groups_for_ratio(self.recording.layout, budget.cache_ratio) if budget.cache_ratio > 0 else 0
        if budget.bytes is not None:
            while most and self._bytes(recipe, most) > budget.bytes:
                most -= 1
            if self._bytes(recipe, most) > budget.bytes:
                return None
        if recipe.variant.level == "residual":
            return self.segmentation.best(most) if most else None
        return 0

    def _speedups(self, level: str, groups: int) -> np.ndarray:
        """S = T / (n + (T - n) r) for n = 0..T."""
        steps, share = self.recording.steps, self.recording.reuse_share(level, groups)
        computed = np.arange(steps + 1)
        return steps / np.maximum(computed + (steps - computed) * share, 1e-9)

    @property
    def _fewest(self) -> int:
        """Computed steps between which no gap is longer than a forecast may reach."""
        return -(-self.recording.steps // (MAX_RUN + 1))

    def _computed(self, recipe: Recipe, groups: int, budget: Budget) -> int:
        """The number of computed steps nearest to the budget, for a speed the one that a preset takes."""
        recording, wanted = self.recording, budget.computed
        if budget.speedup is not None:
            share = recording.reuse_share(recipe.variant.level, groups)
            wanted = max(MIN_COMPUTED, recording.cost.computed_steps(recording.steps, budget.speedup, share))
        return min(recording.steps, max(self._fewest, wanted))


def _same_way(one: Plan, other: Plan) -> bool:
    """Whether two plans sample alike."""
    fields = ("kind", "run", "schedule", "level", "order", "backtest", "correction", "groups", "merge", "probe")
    return all(getattr(one, name) == getattr(other, name) for name in fields)


def _miss(size: Size, budget: Budget) -> float:
    """How far a size falls short of the wanted speed, as a share of it."""
    if budget.speedup is None:
        return abs(size.computed - budget.computed) / budget.computed
    return max(0.0, 1.0 - size.speedup / budget.speedup)
