"""Thresholds and forms of published caches, by clips that no test uses.

Thresholds are bisected on uncached runs of those clips, over which a cache's own code is stepped without the model, so that
it computes a given number of steps on average; then one threshold serves every clip. Where a paper has several forms, the
one with the least error of the final latent is taken, for every number of steps on its own.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil

import numpy as np
import torch

from demo.sampling import integrate

from .harness import on_all_cores
from .hooks import Trace, magnitudes, polynomial_fit, sample_with, simulate, trace
from .remember import Memory
from .rivals import Make, make
from .settings import CALIBRATION, Setting

THRESHOLDS, HALVINGS = (1e-6, 1e3), 26


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
def tried(job: tuple[Setting, int, Sequence[Make]]) -> list[float]:
    """Relative L2 of the final latent, of each cache. job: setting, clip, caches."""
    setting, number, specs = job
    on = setting.stage(number)
    with Memory(on.talker.dit.blocks):
        plain = integrate(setting.sampler, on.noise(), setting.sigmas, lambda x, s: on.guided(x, s, None))
        moved = (plain - on.noise()).norm()
        caches = (sample_with(on, make(spec, setting.steps), setting.sampler, setting.sigmas) for spec in specs)
        return [((x - plain).norm() / moved).item() for x in caches]


def fitted(setting: Setting, computed: int) -> dict[str, Make]:
    """Every method with the threshold for so many computed steps, in the form that does best on the calibration clips."""
    runs = on_all_cores(trace, [(setting, number) for number in CALIBRATION], f"{setting.name}: traces")
    made = forms(runs, computed, setting.steps)
    specs = [spec for each in made.values() for spec in each]
    jobs = [(setting, number, specs) for number in CALIBRATION]
    errors = iter(np.log(on_all_cores(tried, jobs, f"{setting.name}: forms")).mean(0))
    best = {name: min(zip((next(errors) for _ in each), range(len(each))))[1] for name, each in made.items()}
    return {name: made[name][form] for name, form in best.items()}
