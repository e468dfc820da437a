"""The joint choice: level, order, correction, computed steps and stored residuals for a wanted speed and memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from itertools import product
from math import hypot

import numpy as np

from .errors import BadConfig
from .layout import groups_for_ratio
from .plan import Budget, Plan, Provenance, Scores, fingerprint
from .policy import MAX_ORDER
from .recording import Recording, resample
from .schedule import Objective, Segmentation, Solution, Variant, solve_segments, solve_steps
from .telemetry import readable

SLOWER = 0.1  # how much slower than the fastest a variant may be, of the wanted speed, to be preferred for its error


@dataclass(frozen=True)
class Choice:
    """One way to run, with what it is predicted to cost and give.

    error: relative L2 of the final latent, the root of step_error^2 + staleness^2. step_error: of the forecasts. staleness:
    of audio inside merged segments; with merge "refresh" an upper proxy, for there it only moves what the refresh reads.
    """

    variant: Variant
    schedule: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    step_error: float
    staleness: float
    speedup: float
    bytes: int
    notes: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        return hypot(self.step_error, self.staleness)

    @property
    def computed(self) -> int:
        return len(self.schedule)


class Planner:
    """Solves a recording once for every variant and number of computed steps, then answers for any budget.

    human_weight: lambda, where a human region was recorded. merge, probe: as in `plan.Plan`; like level, order and
    correction they are to be confirmed by replaying the best few.
    """

    def __init__(
        self, recording: Recording, how: Objective | None = None, human_weight: float = 0.75, merge: str = "refresh",
        probe: bool = True,
    ):
        self.recording, self.merge, self.probe = recording, merge, probe
        self._how, self._human_weight = how or Objective(), human_weight

    @cached_property
    def solutions(self) -> list[Solution]:
        """One per level, order and correction."""
        return [self.solve(Variant(*v)) for v in product(self.recording.levels, range(MAX_ORDER + 1), (False, True))]

    def solve(self, variant: Variant) -> Solution:
        """Its best schedules, for every number of computed steps."""
        reused, output = (self.recording.trajectory(level, self._human_weight) for level in (variant.level, "output"))
        return solve_steps(reused, variant, self._how, output)

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
        found = [self._choice(s, computed, self._all_groups(s)) for s in self.solutions if s.schedules[computed]]
        return sorted(found, key=_order)

    def choose(self, budget: Budget) -> Choice:
        """Least predicted error among the variants at the wanted speed and memory, with notes on what could not be met.

        Raises BadConfig where not even the smallest variant fits the memory.
        """
        fitting = [(s, groups) for s in self.solutions if (groups := self._groups(s, budget)) is not None]
        if not fitting:
            least = min(self._bytes(s.variant, 1 if self._all_groups(s) else 0) for s in self.solutions)
            raise BadConfig(f"bytes {readable(budget.bytes)} are too few: the smallest plan takes {readable(least)}")
        found = [self._choice(s, self._computed(s, groups, budget), groups) for s, groups in fitting]
        nearest = min(_miss(c, budget) for c in found)
        best = min((c for c in found if _miss(c, budget) <= nearest + SLOWER), key=_order)
        return replace(best, notes=self._notes(best, budget))

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
        """version: of the pack. created: ISO date, None = today."""
        recording, variant = self.recording, choice.variant
        origin = Provenance(version, created or date.today().isoformat(), recording.count, note or " ".join(choice.notes))
        return Plan(
            adapter=recording.adapter, layout=fingerprint(recording.layout), run=recording.run, budget=budget,
            schedule=choice.schedule, level=variant.level, order=variant.order, correction=variant.correction,
            groups=choice.groups, merge=self.merge, probe=self.probe,
            predicted=Scores(choice.error, choice.speedup, choice.bytes), provenance=origin,
        )

    def _all(self) -> Iterator[Choice]:
        for solution in self.solutions:
            most = self._all_groups(solution)
            for groups in range(1, most + 1) if most else (0,):
                for computed in range(1, self.recording.steps + 1):
                    if solution.schedules[computed]:
                        yield self._choice(solution, computed, groups)

    def _all_groups(self, solution: Solution) -> int:
        return self.recording.layout.storable() if solution.variant.level == "residual" else 0

    def _bytes(self, variant: Variant, groups: int) -> int:
        return self.recording.bytes(variant.level, groups, variant.order, variant.correction, self.probe)

    def _groups(self, solution: Solution, budget: Budget) -> int | None:
        """Residuals to store, 0 at output level; None where the variant does not fit the budget."""
        variant, most = solution.variant, self._all_groups(solution)
        if budget.cache_ratio is not None and most:
            most = groups_for_ratio(self.recording.layout, budget.cache_ratio) if budget.cache_ratio > 0 else 0
        if budget.bytes is not None:
            while most and self._bytes(variant, most) > budget.bytes:
                most -= 1
            if self._bytes(variant, most) > budget.bytes:
                return None
        if variant.level == "residual":
            return self.segmentation.best(most) if most else None
        return 0

    def _speedups(self, variant: Variant, groups: int) -> np.ndarray:
        """S = T / (n + (T - n) r) for n = 0..T."""
        steps = self.recording.steps
        share = self.recording.reuse_share(variant.level, groups, self.merge, self.probe)
        computed = np.arange(steps + 1)
        return steps / np.maximum(computed + (steps - computed) * share, 1e-9)

    def _computed(self, solution: Solution, groups: int, budget: Budget) -> int:
        """The feasible number of computed steps nearest to the budget, as speed-up or as count."""
        if budget.computed is not None:
            return nearest_count(solution, budget.computed)
        return nearest_count(solution, budget.speedup, self._speedups(solution.variant, groups))

    def _choice(self, solution: Solution, computed: int, groups: int) -> Choice:
        variant, schedule = solution.variant, solution.schedules[computed]
        path = np.abs(np.diff(self.recording.run.sigmas))
        skipped = 1.0 - path[list(schedule)].sum() / path.sum()
        gain = self.recording.gains.get(variant.level, 1.0)
        stale = float(skipped * self.segmentation.costs[groups]) if groups else 0.0
        return Choice(
            variant, schedule, self.segmentation.groups[groups] if groups else (), gain * float(solution.errors[computed]),
            stale, float(self._speedups(variant, groups)[computed]), self._bytes(variant, groups),
        )

    def _notes(self, choice: Choice, budget: Budget) -> tuple[str, ...]:
        if budget.speedup is not None and choice.speedup < 0.9 * budget.speedup:
            most = f"{choice.computed} computed steps give {choice.speedup:.1f}x"
            return (f"speed-up {budget.speedup:g} is out of reach: {most}",)
        if budget.computed is not None and choice.computed != budget.computed:
            return (f"{budget.computed} computed steps are not possible here, {choice.computed} are planned",)
        return ()


def resolve(
    recording: Recording, sigmas: Sequence[float], computed: int, variant: Variant, **options
) -> tuple[tuple[int, ...], str]:
    """The best schedule of a variant for other sigmas, from the recording interpolated there, and a note.

    computed: the nearest possible number is taken. options: those of Planner.
    """
    moved, note = resample(recording, sigmas)
    solution = Planner(moved, **options).solve(variant)
    return solution.schedules[nearest_count(solution, computed)], note


def nearest_count(solution: Solution, wanted: float, values: np.ndarray | None = None) -> int:
    """The feasible n whose value (n itself, or values[n]) is nearest to the wanted one."""
    values = np.arange(len(solution.errors)) if values is None else values
    return int(np.where(np.isinf(solution.errors), np.inf, np.abs(values - wanted)).argmin())


def _order(choice: Choice) -> tuple[float, int, int]:
    """Least error first; of equals the least memory, then the lowest order."""
    return choice.error, choice.bytes, choice.variant.order


def _miss(choice: Choice, budget: Budget) -> float:
    """How far a choice falls short of the wanted speed, as a share of it."""
    if budget.speedup is None:
        return abs(choice.computed - budget.computed) / budget.computed
    return max(0.0, 1.0 - choice.speedup / budget.speedup)
