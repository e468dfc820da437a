"""What a setting of `bench.quality` needs before its clips: calibrations and the rivals' settings, kept in a file.

Both from clips that no test uses. Thresholds are bisected on uncached runs of those clips, over which a cache's own code is
stepped without the model, so that it computes a given number of steps on average; then one threshold serves every clip.
Where a paper has several forms, the one with the least error of the final latent on the first two of the clips is taken,
for every number of steps on its own.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import ceil
from pathlib import Path

import numpy as np
import torch

from demo.sampling import integrate
from demo.standalone import LATENT, Standalone
from demo.table import WAN_14B
from synccache_core import Grid, __version__
from synccache_core.attach import calibrate
from synccache_core.planning.plan import Budget
from synccache_core.planning.planner import Planner
from synccache_core.planning.recording import Recording, merge
from synccache_core.planning.replays import replayed

from .harness import on_all_cores, packed, unpacked
from .hooks import Trace, guided, hooked, magnitudes, polynomial_fit, sample_with, simulate, trace
from .remember import Memory
from .rivals import Make, Scheduled, make
from .rows import Run, as_quick, most_computed, planned_sigmas
from .settings import TESTED, Setting

CALIBRATION = tuple(range(100, 106))
TRIED = 2  # of them, on which forms are compared and LeMiCa's edges measured
REPLAYS = 5
UNIPC_GRIDS = ((0, False), (1, False), (1, True))  # order, correction of the plan whose steps UniPC takes for its sigmas
LEAST = 3  # two steps to start with, and the last
THRESHOLDS, HALVINGS = (1e-6, 1e3), 26
LONGEST_GAP = 20  # steps, of LeMiCa's edges
PROBED_EVERY, PROBED_GAP = 2, 4  # steps, of how far the flow carries an error


@dataclass
class Fit:
    """recording, masked: merged calibrations without and with a mask. rivals: (name, computed steps of 40, what to make).
    unipc: number of steps -> (order, correction) of the grid that served UniPC best.
    """

    recording: Recording
    masked: Recording
    rivals: list[tuple[str, int, Make]]
    unipc: dict[int, tuple[int, bool]]

    def to_json(self) -> str:
        recordings = {name: getattr(self, name).to_json() for name in ("recording", "masked")}
        return json.dumps({**recordings, "rivals": self.rivals, "unipc": list(self.unipc.items())})

    @classmethod
    def from_json(cls, text: str) -> "Fit":
        data = json.loads(text)
        recordings = (Recording.from_json(data[name]) for name in ("recording", "masked"))
        rivals = [(name, count, (kind, settings)) for name, count, (kind, settings) in data["rivals"]]
        return cls(*recordings, rivals, {count: tuple(grid) for count, grid in data["unipc"]})


@torch.inference_mode()
def recorded(setting: Setting, number: int, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, Recording]:
    """The latent of an uncached run and what it measured."""
    on, grid = setting.stage(number), Grid.from_latent(LATENT)
    with calibrate(on.talker.dit, setting.evaluated, grid, mask, cfg=setting.guidance) as session:
        x = integrate(setting.sampler, on.noise(), setting.sigmas, lambda x, sigma: on.guided(x, sigma, session))
        recording = session.recording()
    return x, replace(recording, run=replace(recording.run, sampler=setting.sampler))


def unmasked(job: tuple[Setting, int]) -> Recording:
    """A calibration of one clip without mask, replayed at two speeds and at one number of steps."""
    setting, number = job
    speeds = [as_quick(setting, setting.count(count)) for count in TESTED]
    return replays(setting, number, (*speeds, Budget(computed=setting.count(TESTED[0]), cache_ratio=1.0)), REPLAYS)


def record(job: tuple[Setting, int]) -> tuple[Recording, Recording]:
    """Calibrations of one clip without mask and with one."""
    setting, number = job
    return unmasked(job), recorded(setting, number, Run(setting, setting.stage(number), number).mask)[1]


def replays(setting: Setting, number: int, budgets: Sequence[Budget], count: int) -> Recording:
    """A calibration of one clip without mask, with at most `count` plans tried for each budget."""
    plain, recording = recorded(setting, number)
    planner, run, done, found = Planner(recording), Run(setting, setting.stage(number), number), {}, []
    for budget in budgets:
        for choice in planner.trials(budget, count):
            plan = planner.plan(choice, budget, __version__)
            if choice not in done:  # another speed may come to the same steps
                latents, report = run.attached(plan=plan)
                done[choice] = report, (latents - plain).norm().item() / recording.displacement("whole")
            found.append(replayed(plan, *done[choice]))
    return replace(recording, replays=tuple(found))


def fit(setting: Setting, file: Path, fresh: bool = False) -> Fit:
    """From its file, or measured: about eight minutes on two cores at 40 steps."""
    if file.is_file() and not fresh:
        return Fit.from_json(unpacked(file))
    jobs = [(setting, number) for number in CALIBRATION]
    plain, masked = (merge(each) for each in zip(*on_all_cores(record, jobs, f"{setting.name}: calibrations")))
    masked = replace(masked, replays=plain.replays)  # what they say of a kind of plan does not depend on the weights
    planner = Planner(plain)
    made = Fit(plain, masked, *choose(setting, planner))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(packed(made.to_json()))
    return Fit.from_json(made.to_json())  # numbers and tuples as the next start will read them


def choose(setting: Setting, planner: Planner) -> tuple[list[tuple[str, int, Make]], dict[int, tuple[int, bool]]]:
    """The rivals at every cost, each in the form that does best on the first calibration clips."""
    jobs = [(setting, number) for number in CALIBRATION]
    runs = on_all_cores(trace, jobs, f"{setting.name}: traces")
    damage = np.mean(on_all_cores(edges, jobs[:TRIED], f"{setting.name}: LeMiCa's edges"), axis=0)
    wanted = {}
    for asked in setting.counts:
        count = setting.count(asked)
        path = {"LeMiCa-like path": [("scheduled", {"schedule": lexicographic_path(damage, count)})]}
        wanted |= {(name, asked): made for name, made in {**forms(runs, count, setting.steps), **path}.items()}
        wanted |= dicache_at_cost(setting, planner, runs, asked)
    specs = [spec for made in wanted.values() for spec in made]
    grids = [planned_sigmas(planner, setting.count(count), *grid) for count, grid in product(setting.counts, UNIPC_GRIDS)]
    half = [(setting, number, specs, grids) for number in CALIBRATION[:TRIED]]
    caches, others = (np.log(each).mean(0) for each in zip(*on_all_cores(tried, half, f"{setting.name}: forms")))
    errors, found = iter(caches), []
    for (name, asked), made in wanted.items():
        best = min(zip((next(errors) for _ in made), range(len(made))))[1]
        found.append((name, asked, made[best]))
    best = others.reshape(len(setting.counts), -1).argmin(1)
    return found, {count: UNIPC_GRIDS[i] for count, i in zip(setting.counts, best)}


def dicache_at_cost(setting: Setting, planner: Planner, runs: Sequence, asked: int) -> dict[tuple[str, int], list[Make]]:
    """DiCache with so many steps fewer that its probes are paid for: equal cost on this model, and on 14B."""
    found = {}
    for name, cost in (("this model", planner.recording.cost), ("14B", WAN_14B)):
        count = most_computed(setting.count(asked), setting.steps, (cost.block + cost.other) / cost.full)
        if count >= LEAST:
            found[f"DiCache, at cost on {name}", asked] = thresholded(dicache_forms(count), runs, count, setting.steps)
    return found


# -- rivals -------------------------------------------------------------------------------------------------------------


def warm_up(computed: int) -> int:
    """Steps that are computed at the start, of methods that leave the number to the user."""
    return max(2, computed // 4)


def fixed_interval(computed: int, steps: int) -> tuple[int, ...]:
    """0 and then every steps / computed, rounded down."""
    return tuple(step * steps // computed for step in range(computed))


def after_three(computed: int, steps: int) -> tuple[int, ...]:
    """TaylorSeer's: 0, 1, 2 to have all orders, then a fixed interval."""
    rest = (round(2 + k * (steps - 2) / (computed - 2)) for k in range(1, computed - 2))
    return tuple(range(min(3, computed))) + tuple(rest)


def lexicographic_path(edges: Sequence[Sequence[float]], computed: int) -> tuple[int, ...]:
    """LeMiCa (arXiv 2511.00090): of all paths 0 = s_1 < ... < s_n < T the one whose edges, sorted from the worst down, are
    least in lexicographic order. edges [T][T + 1]: [i][j] is the damage of reusing step i until j (T: to the end).

    Adding an edge to two paths keeps the order of their sorted edges, so that the best path to each step is enough.
    """
    steps = len(edges)
    best: list[tuple[tuple[float, ...], tuple[int, ...]] | None] = [((), (0,)), *[None] * steps]
    for count in range(1, computed + 1):
        reached = [None] * (steps + 1)
        for end in range(count, steps) if count < computed else (steps,):
            ways = [(tuple(sorted((*best[i][0], edges[i][end]), reverse=True)), (*best[i][1], end))
                    for i in range(end) if best[i] is not None]  # fmt: skip
            reached[end] = min(ways, default=None)
        best = reached
    return best[steps][1][:-1]


def bisect(
    count_at: Callable[[float], float], wanted: float, halvings: int = HALVINGS, within: tuple[float, float] = THRESHOLDS
) -> float:
    """The threshold at which count_at, which falls with it, is nearest to `wanted`; of equals the one found first."""
    low, high = np.log(within)
    tried = []
    for _ in range(halvings):
        middle = (low + high) / 2
        count = count_at(float(np.exp(middle)))
        tried.append((abs(count - wanted), len(tried), middle))
        low, high = (middle, high) if count > wanted else (low, middle)
        if count == wanted:
            break
    return float(np.exp(min(tried)[2]))


def forms(runs: Sequence[Trace], computed: int, steps: int) -> dict[str, list[Make]]:
    """Every form of every method that needs no more than traces, at one number of computed steps."""
    warm = {"warm": warm_up(computed)}
    least = ceil((steps - computed) / max(1, computed - warm["warm"]))
    tea = [("teacache", {**warm, "polynomial": polynomial_fit(runs, of), "of": of}) for of in ("time", "modulated")]
    mag = [("magcache", {**warm, "ratios": magnitudes(runs), "longest": most}) for most in (least, steps)]
    adaptive = {"TeaCache-like": tea, "MagCache": mag, "DiCache": dicache_forms(computed)}
    adaptive["EasyCache formula"] = [("easycache", warm)]
    taylor = [("taylorseer", {"schedule": after_three(computed, steps), "order": order}) for order in (1, 2)]
    fixed = {"fixed interval (FORA-like)": [("scheduled", {"schedule": fixed_interval(computed, steps)})]}
    found = {name: thresholded(made, runs, computed, steps) for name, made in adaptive.items()}
    return {**fixed, **found, "TaylorSeer-Lite": taylor}


def dicache_forms(computed: int) -> list[Make]:
    return [("dicache", {"warm": warm_up(computed), "minus": minus}) for minus in (False, True)]


def thresholded(specs: Sequence[Make], runs: Sequence[Trace], computed: int, steps: int) -> list[Make]:
    """The caches with the thresholds at which they compute so many steps on average."""
    def count_at(spec: Make, threshold: float) -> float:
        caches = [make((spec[0], {**spec[1], "threshold": threshold}), steps) for _ in runs]
        return sum(map(simulate, caches, runs)) / len(runs)

    return [(name, {**settings, "threshold": bisect(partial(count_at, (name, settings)), computed)})
            for name, settings in specs]  # fmt: skip


@torch.inference_mode()
def edges(job: tuple[Setting, int]) -> np.ndarray:
    """LeMiCa's [T, T + 1]: damage to the final latent, mean |.|, of reusing step i up to j, everything else computed.

    Adapted: the paper runs on to the end after every gap; here the error at j, which is exact, is multiplied by how far the
    flow carries one from j to the end, measured at every second j and interpolated. Gaps are LONGEST_GAP long at most.
    Euler steps, whatever the sampler: the error of a gap is not the sampler's.
    """
    setting, number = job
    on, sigmas, steps = setting.stage(number), setting.sigmas, setting.steps
    memory = Memory(on.talker.dit.blocks)  # of the path alone, where every gap starts; runs to the end would crowd it out
    with memory:
        path, rests = uncached(on, sigmas)
    damage, carried = np.full((steps, steps + 1), np.inf), {}
    for i in range(steps):
        with memory:
            found = gap(on, sigmas, i, path[i], min(LONGEST_GAP, steps - i))
        for j, x in found.items():
            damage[i, j] = float((x - path[j]).abs().mean())
        j = i + PROBED_GAP
        if j in found and j < steps and i % PROBED_EVERY == 0:
            end = integrate("euler", found[j], sigmas[j:], rests)
            carried[j] = float((end - path[-1]).abs().mean()) / damage[i, j]
    places = sorted(carried)
    return damage * np.interp(np.arange(steps + 1), [*places, steps], [*(carried[j] for j in places), 1.0])


def uncached(on: Standalone, sigmas: Sequence[float]) -> tuple[list[torch.Tensor], Callable]:
    """x before every step and at the end, and the velocity that made them."""
    def velocity(x: torch.Tensor, sigma: float) -> torch.Tensor:
        return on.guided(x, sigma, None)

    path = [on.noise()]
    for here, there in zip(sigmas, sigmas[1:]):
        path.append(path[-1] + (there - here) * velocity(path[-1], here))
    return path, velocity


def gap(on: Standalone, sigmas: Sequence[float], first: int, x: torch.Tensor, most: int) -> dict[int, torch.Tensor]:
    """{j: x before step j} where step `first` was computed and those after it reused its residual."""
    cache, found = Scheduled(most, (0,)), {}
    with hooked(on.talker.dit, cache):
        for here in range(first, first + most):
            x = x + (sigmas[here + 1] - sigmas[here]) * guided(on, cache, x, sigmas[here])
            found[here + 1] = x
    return found


@torch.inference_mode()
def tried(job: tuple[Setting, int, Sequence[Make], Sequence[tuple[float, ...]]]) -> tuple[list[float], list[float]]:
    """Relative L2 of the final latent, of caches and of uncached runs at other sigmas. job: setting, clip, both."""
    setting, number, specs, grids = job
    on = setting.stage(number)
    with Memory(on.talker.dit.blocks):
        plain = integrate(setting.sampler, on.noise(), setting.sigmas, lambda x, s: on.guided(x, s, None))
        moved = (plain - on.noise()).norm()
        caches = (sample_with(on, make(spec, setting.steps), setting.sampler, setting.sigmas) for spec in specs)
        others = (integrate("uni_pc", on.noise(), grid, lambda x, s: on.guided(x, s, None)) for grid in grids)
        return tuple([((x - plain).norm() / moved).item() for x in each] for each in (caches, others))
