"""What the rivals need to know of this model, measured on calibration clips that no test uses.

Thresholds: bisected on uncached runs of those clips, over which a cache's own code is stepped without the model, so that it
computes a given number of steps on average. Then one threshold serves every clip. Where a paper has several forms, the one
with the least error of the final latent on the first two of the clips is taken, for every number of steps on its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from math import ceil

import numpy as np
import torch

from demo.sampling import integrate
from demo.standalone import Standalone

from .hooks import guided, hooked, sample_with
from .remember import Memory
from .rivals import Cache, Entry, Make, Scheduled, make, relative
from .settings import Setting

DEGREE = 4  # of TeaCache's polynomial
THRESHOLDS, HALVINGS = (1e-6, 1e3), 26
LONGEST_GAP = 20  # steps, of LeMiCa's edges
PROBED_EVERY, PROBED_GAP = 2, 4  # steps, of how far the flow carries an error


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


@dataclass
class Trace:
    """The conditional branch of an uncached run of T steps: tokens, modulated, probe and y [T, 1, L, C], time [T, 1, 6, C],
    x and v [T, 1, 16, t, h, w].
    """

    x: torch.Tensor
    tokens: torch.Tensor
    time: torch.Tensor
    modulated: torch.Tensor
    probe: torch.Tensor
    y: torch.Tensor
    v: torch.Tensor


class Watch(Cache):
    """Computes everything and keeps what a Trace holds."""

    depth, reads = 1, "nothing"

    def __init__(self, steps: int):
        super().__init__(steps)
        self.seen = {field.name: [] for field in fields(Trace)}

    def _keep(self, **values: torch.Tensor) -> None:
        for name, value in values.items() if self.branch == "cond" else ():
            self.seen[name].append(value.clone())

    def latent(self, x: torch.Tensor) -> None:
        self._keep(x=x)

    def enter(self, entry: Entry) -> None:
        self._keep(tokens=entry.tokens, time=entry.time, modulated=entry.modulated())

    def probe(self, tokens: torch.Tensor, probe: torch.Tensor) -> None:
        self._keep(probe=probe)

    def leave(self, tokens: torch.Tensor, y: torch.Tensor) -> None:
        self._keep(y=y)

    def output(self, x: torch.Tensor, v: torch.Tensor) -> None:
        self._keep(v=v)


def trace(job: tuple[Setting, int]) -> Trace:
    """job: setting, number of a clip."""
    setting, number = job
    watch = Watch(setting.steps)
    sample_with(setting.stage(number), watch, setting.sampler, setting.sigmas)
    return Trace(**{name: torch.stack(values) for name, values in watch.seen.items()})


def simulate(cache: Cache, run: Trace) -> int:
    """How many steps it would compute if skipping changed nothing."""
    for step in range(len(run.x)):
        cache.step()
        entry = Entry(run.tokens[step], run.time[step], lambda step=step: run.modulated[step])
        instead = cache.latent(run.x[step])
        instead = cache.enter(entry) if instead is None else instead
        if instead is None and cache.depth:
            instead = cache.probe(run.tokens[step], run.probe[step])
        if instead is None:
            cache.leave(run.tokens[step], run.y[step])
            cache.output(run.x[step], run.v[step])
    return cache.computed


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


def polynomial_fit(runs: Sequence[Trace], of: str) -> tuple[float, ...]:
    """TeaCache's p: from the indicator's relative change to that of the model's output, over all clips and steps."""
    pairs = [(relative(getattr(run, of)[t], getattr(run, of)[t - 1]), relative(run.v[t], run.v[t - 1]))
             for run in runs for t in range(1, len(run.x))]  # fmt: skip
    return tuple(float(c) for c in np.polyfit(*zip(*pairs), DEGREE))


def magnitudes(runs: Sequence[Trace]) -> tuple[float, ...]:
    """MagCache's ratios, with 1 for the first step: means over tokens and clips."""
    found = []
    for run in runs:
        norms = (run.y - run.tokens).norm(dim=-1)[:, 0]
        found.append((norms[1:] / norms[:-1]).mean(1))
    return (1.0, *torch.stack(found).mean(0).tolist())


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
