"""The joint choice: level, order, correction, computed steps and stored residuals for a wanted speed and memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import cache, cached_property
from itertools import product
from math import hypot
from typing import NamedTuple

import numpy as np

from .errors import BadConfig
from .gram import Trajectory, sketch
from .layout import groups_for_ratio
from .plan import Budget, Plan, Provenance, Scores, fingerprint
from .policy import MAX_ORDER
from .recording import Recording
from .samplers import Sampler
from .schedule import Objective, Segmentation, Solution, Variant, gap_sizes, solve_segments, solve_steps
from .telemetry import readable

REFRESH = "refresh"
FAR = 0.03  # relative L2 of the final latent to warn of: 4x and more of 20 uni_pc steps at guidance 4.5 in docs/RESULTS.md
SLOWER = 0.1  # how much slower than the fastest a variant may be, of the wanted speed, to be preferred for its error


class Style(NamedTuple):
    """How a residual plan reuses, see `plan.Plan`. Audio inside merged segments is frozen in the first place: refreshed
    there, it reads a state that its own segment has not reached, which cost up to 10 dB in bench.schedules.
    """

    merge: str = "freeze"
    probe: bool = True


PLAIN = Style()


@dataclass(frozen=True)
class Choice:
    """One way to run, with what it is predicted to cost and give.

    error: relative L2 of the final latent, the root of step_error^2 + staleness^2. step_error: of the forecasts. staleness:
    of audio inside merged segments; with merge "refresh" a proxy, for there it moves what the refresh reads.
    Both are multiplied by what replays measured over what was predicted for them.
    """

    variant: Variant
    schedule: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    step_error: float
    staleness: float
    speedup: float
    bytes: int
    style: Style = PLAIN
    notes: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        return hypot(self.step_error, self.staleness)

    @property
    def computed(self) -> int:
        return len(self.schedule)


def possible(
    recording: Recording, levels: Iterable[str] | None = None, orders: Iterable[int] = range(MAX_ORDER + 1),
    corrections: Iterable[bool] = (False, True),
) -> list[Variant]:
    """The variants of these kinds that the recording's sampler allows. levels: None = those recorded."""
    sampler = Sampler(recording.run.sampler)
    kinds = product(recording.levels if levels is None else levels, orders, corrections)
    return [Variant(*kind) for kind in kinds if not kind[2] or sampler.could_correct]


class Planner:
    """Solves a recording once for every variant and number of computed steps, then answers for any budget.

    human_weight: lambda, where a human region was recorded. style: what residual plans leave out; None = nothing, and what
    was replayed besides, for what it measured. variants: those to solve, None = all that the recording allows.
    """

    def __init__(
        self, recording: Recording, how: Objective | None = None, human_weight: float = 0.75, style: Style | None = None,
        variants: Iterable[Variant] | None = None,
    ):
        self.recording = recording
        self._how, self._human_weight = how or Objective(), human_weight
        replayed = dict.fromkeys(Style(p.merge, p.probe) for p in recording.replays)
        self._styles = (style,) if style else tuple(dict.fromkeys((PLAIN, *replayed)))
        self._variants = possible(recording) if variants is None else variants
        self._path = np.abs(np.diff(recording.run.sigmas))
        self._gain, self._speedups = cache(self._gain), cache(self._speedups)  # the front asks for the same ones often

    @cached_property
    def solutions(self) -> list[Solution]:
        """One per variant."""
        return [self.solve(variant) for variant in self._variants]

    def solve(self, variant: Variant) -> Solution:
        """Its best schedules, for every number of computed steps."""
        reused, output = self._paths(variant)
        return solve_steps(reused, variant, self._how, output)

    def gaps(self, choice: Choice) -> np.ndarray:
        """What each gap adds to step_error, [n]; with the default objective their squares add up to its square."""
        reused, output = self._paths(choice.variant)
        sizes = gap_sizes(reused, choice.schedule, choice.variant, self._how, output)
        return self._gain(choice.variant, choice.style) * sizes

    @cached_property
    def segmentation(self) -> Segmentation:
        """Without recorded audio deltas every refresh counts alike: groups come out even in size, staleness unknown as 0."""
        layout, audio = self.recording.layout, self.recording.audio
        if audio is not None:
            return solve_segments(audio, layout)
        alike = solve_segments(np.ones((len(layout.refresh),) * 2), layout)
        return replace(alike, costs=np.where(np.isinf(alike.costs), np.inf, 0.0))

    def candidates(self, computed: int) -> list[Choice]:
        """Every variant with `computed` steps and all residuals, least predicted error first. Raises BadConfig."""
        if not 1 <= computed <= self.recording.steps:
            raise BadConfig(f"computed must be in 1..{self.recording.steps}, got {computed}")
        found = [self.choice(s, computed, self._all_groups(s)) for s in self.solutions if s.schedules[computed]]
        return sorted(found, key=_order)

    def choose(self, budget: Budget) -> Choice:
        """Least predicted error among the variants at the wanted speed and memory, with notes on what could not be met.

        Raises BadConfig where not even the smallest variant fits the memory.
        """
        best = min(self._near(budget), key=_order)
        return replace(best, notes=tuple(self._notes(best, budget)))

    def fitting(self, budget: Budget) -> list[Choice]:
        """Every variant and style that fits the memory, each as near to the wanted speed as it comes; raises BadConfig."""
        found = []
        for solution, style in product(self.solutions, self._styles):
            groups = self._groups(solution, budget, style)
            if groups is not None and self._differs(solution.variant, groups, style):
                found.append(self.choice(solution, self._computed(solution, groups, budget, style), groups, style))
        if not found:
            ways = product(self.solutions, self._styles)
            least = min(self._bytes(s.variant, min(1, self._all_groups(s)), style) for s, style in ways)
            raise BadConfig(f"bytes {readable(budget.bytes)} are too few: the smallest plan takes {readable(least)}")
        return found

    def trials(self, budget: Budget, count: int) -> list[Choice]:
        """What to replay: of every level, with and without correction, the most promising; then its other styles, then
        what else is promising. Those alone can tell which predictions to trust.
        """
        ranked, first = sorted(self._near(budget), key=_order), {}
        for choice in ranked:
            first.setdefault((choice.variant.level, choice.variant.correction), choice)
        kinds = sorted(first.values(), key=_order)
        styled = [self._restyled(choice, budget) for choice in kinds if choice.variant.level == "residual"]
        wanted = [*kinds, *(other for others in styled[:1] for other in others), *ranked]
        return list(dict.fromkeys(wanted))[:count]

    def pareto(self) -> list[Choice]:
        """What no other choice beats in speed, predicted error and bytes at once; fastest first."""
        front: list[Choice] = []
        held = np.zeros((0, 2))
        for choice in sorted(self._all(), key=lambda c: (-c.speedup, c.error, c.bytes)):
            point = (choice.error, choice.bytes)
            if not (held <= point).all(1).any():
                front.append(choice)
                held = np.vstack([held, point])
        return front

    def plan(self, choice: Choice, budget: Budget, version: str, note: str = "", created: str | None = None) -> Plan:
        """version: of the pack. created: ISO date, None = today. What a replay of the very plan measured goes with it."""
        recording, variant = self.recording, choice.variant
        origin = Provenance(version, created or date.today().isoformat(), recording.count, note or " ".join(choice.notes))
        plan = Plan(
            adapter=recording.adapter, layout=fingerprint(recording.layout), run=recording.run, budget=budget,
            schedule=choice.schedule, level=variant.level, order=variant.order, correction=variant.correction,
            groups=choice.groups, merge=choice.style.merge, probe=choice.style.probe,
            predicted=Scores(choice.error, choice.speedup, choice.bytes), provenance=origin,
            sketch=sketch(self._paths(variant)[0]),
        )
        return replace(plan, measured=next((p.measured for p in recording.replays if _same_way(p, plan)), None))

    def _near(self, budget: Budget) -> list[Choice]:
        """Of all that fits the memory, what comes nearest to the wanted speed."""
        found = self.fitting(budget)
        nearest = min(_miss(c, budget) for c in found)
        return [c for c in found if _miss(c, budget) <= nearest + SLOWER]

    def _paths(self, variant: Variant) -> tuple[Trajectory, Trajectory]:
        """Of what is forecast, and of the output."""
        return tuple(self.recording.trajectory(level, self._human_weight) for level in (variant.level, "output"))

    def _gain(self, variant: Variant, style: Style) -> float:
        return self.recording.gain(variant.level, variant.order, variant.correction, *style)

    def _differs(self, variant: Variant, groups: int, style: Style) -> bool:
        """Whether a style is another one than the first for this many residuals, and possible."""
        if style == self._styles[0]:
            return True
        whole, inside = groups == self.recording.layout.storable(), self.recording.layout.audio == "inside"
        merged_alike = whole and style.merge != self._styles[0].merge
        return variant.level == "residual" and not merged_alike and not (inside and not style.probe)

    def _restyled(self, choice: Choice, budget: Budget) -> list[Choice]:
        solution = next(s for s in self.solutions if s.variant == choice.variant)
        made = []
        for style in (Style(probe=False), Style(merge=REFRESH)):
            groups = self._groups(solution, budget, style)
            if groups is not None and self._differs(choice.variant, groups, style):
                made.append(self.choice(solution, self._computed(solution, groups, budget, style), groups, style))
        return made

    def _all(self) -> Iterator[Choice]:
        for solution, style in product(self.solutions, self._styles):
            most = self._all_groups(solution)
            for groups in range(1, most + 1) if most else (0,):
                for computed in range(1, self.recording.steps + 1) if self._differs(solution.variant, groups, style) else ():
                    if solution.schedules[computed]:
                        yield self.choice(solution, computed, groups, style)

    def _all_groups(self, solution: Solution) -> int:
        return self.recording.layout.storable() if solution.variant.level == "residual" else 0

    def _bytes(self, variant: Variant, groups: int, style: Style) -> int:
        return self.recording.bytes(variant.level, groups, variant.order, variant.correction, style.probe)

    def _groups(self, solution: Solution, budget: Budget, style: Style) -> int | None:
        """Residuals to store, 0 at output level; None where the variant does not fit the budget."""
        variant, most = solution.variant, self._all_groups(solution)
        if budget.cache_ratio is not None and most:
            most = groups_for_ratio(self.recording.layout, budget.cache_ratio) if budget.cache_ratio > 0 else 0
        if budget.bytes is not None:
            while most and self._bytes(variant, most, style) > budget.bytes:
                most -= 1
            if self._bytes(variant, most, style) > budget.bytes:
                return None
        if variant.level == "residual":
            return self.segmentation.best(most) if most else None
        return 0

    def _speedups(self, variant: Variant, groups: int, style: Style) -> np.ndarray:
        """S = T / (n + (T - n) r) for n = 0..T."""
        steps = self.recording.steps
        share = self.recording.reuse_share(variant.level, groups, *style)
        computed = np.arange(steps + 1)
        return steps / np.maximum(computed + (steps - computed) * share, 1e-9)

    def _computed(self, solution: Solution, groups: int, budget: Budget, style: Style) -> int:
        """The feasible number of computed steps nearest to the budget, as speed-up or as count."""
        if budget.computed is not None:
            return nearest_count(solution, budget.computed)
        return nearest_count(solution, budget.speedup, self._speedups(solution.variant, groups, style))

    def choice(self, solution: Solution, computed: int, groups: int, style: Style | None = None) -> Choice:
        """`computed` steps of a solution with `groups` stored residuals; style: None = the first there is."""
        variant, schedule, style = solution.variant, solution.schedules[computed], style or self._styles[0]
        skipped = 1.0 - self._path[list(schedule)].sum() / self._path.sum()
        gain = self._gain(variant, style)
        stale = gain * float(skipped * self.segmentation.costs[groups]) if groups else 0.0
        return Choice(
            variant, schedule, self.segmentation.groups[groups] if groups else (), gain * float(solution.errors[computed]),
            stale, float(self._speedups(variant, groups, style)[computed]), self._bytes(variant, groups, style), style,
        )

    def _notes(self, choice: Choice, budget: Budget) -> Iterator[str]:
        if budget.speedup is not None and choice.speedup < 0.9 * budget.speedup:
            most = f"{choice.computed} computed steps give {choice.speedup:.1f}x"
            yield f"speed-up {budget.speedup:g} is out of reach: {most}"
        if budget.computed is not None and choice.computed != budget.computed:
            yield f"{budget.computed} computed steps are not possible here, {choice.computed} are planned"
        if choice.error >= FAR:
            yield f"a predicted error of {choice.error:.2%} will show: ask for less speed, or take more steps"


def nearest_count(solution: Solution, wanted: float, values: np.ndarray | None = None) -> int:
    """The feasible n whose value (n itself, or values[n]) is nearest to the wanted one."""
    values = np.arange(len(solution.errors)) if values is None else values
    return int(np.where(np.isinf(solution.errors), np.inf, np.abs(values - wanted)).argmin())


def _same_way(one: Plan, other: Plan) -> bool:
    """Whether two plans sample alike."""
    fields = ("run", "schedule", "level", "order", "correction", "groups", "merge", "probe")
    return all(getattr(one, name) == getattr(other, name) for name in fields)


def _order(choice: Choice) -> tuple[float, int, int]:
    """Least error first; of equals the least memory, then the lowest order."""
    return choice.error, choice.bytes, choice.variant.order


def _miss(choice: Choice, budget: Budget) -> float:
    """How far a choice falls short of the wanted speed, as a share of it."""
    if budget.speedup is None:
        return abs(choice.computed - budget.computed) / budget.computed
    return max(0.0, 1.0 - choice.speedup / budget.speedup)
