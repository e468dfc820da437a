"""Planned schedules against evenly spread reuse and against plain sampling with fewer steps, on the Tiny Talker.

`python -m bench.schedules [--quick] [--json FILE] [--check]`. 40 Euler steps, guidance 2, shift 8 and 3; plans come from
calibrations of other clips than those that are measured. PSNR to the uncached video in dB, mean over held-out clips. Needs
espeak-ng, no ComfyUI. These numbers are evidence about the mechanism, never about a real model's quality.
"""

import sys
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.stats import spearmanr

from demo import sampling
from demo.console import say
from demo.scene import Settings
from synccache_core import Config
from synccache_core.choice import Choice, Planner
from synccache_core.plan import Budget, Plan
from synccache_core.recording import Recording, merge

from .harness import decibels, finish, on_all_cores, parser, stage

STEPS = 40
CLIPS, CALIBRATION = tuple(range(8)), (100, 101)
COUNTS = (16, 12, 10, 8, 6)
AHEAD_DB = {10: 10.0, 8: 7.0}
VERSION = "bench"


@dataclass(frozen=True)
class Way:
    """One way to make a video with `computed` full steps: a plan, a config, or plain sampling at other sigmas."""

    name: str
    computed: int
    plan: Plan | None = None
    config: Config | None = None
    sigmas: tuple[float, ...] | None = None
    unipc: bool = False
    predicted: Choice | None = None


def settings(shift: float, steps: int = STEPS, seed: int = 0) -> Settings:
    return Settings(steps=steps, shift=shift, seed=seed)


def record(number: int, shift: float) -> Recording:
    """A calibration of one clip."""
    return stage(number, settings(shift, seed=number)).calibrate()[1]


def evenly(count: int) -> tuple[bool, ...]:
    chosen = set(np.linspace(0, STEPS - 1, count).round().astype(int).tolist())
    return tuple(i in chosen for i in range(STEPS))


def planned(planner: Planner, choice: Choice) -> Plan:
    return planner.plan(choice, Budget(computed=choice.computed), VERSION)


def best_plan(planner: Planner, count: int) -> Way:
    choice = planner.candidates(count)[0]
    return Way("planned", count, plan=planned(planner, choice), predicted=choice)


def variants(planner: Planner, count: int) -> list[Way]:
    """One plan for every level, order and correction: what the prediction has to rank."""
    names = ((c, f"{c.variant.level}, order {c.variant.order}{', corrected' * c.variant.correction}")
             for c in planner.candidates(count))
    return [Way(name, count, plan=planned(planner, c), predicted=c) for c, name in names]


def rivals(planner: Planner, count: int) -> list[Way]:
    """What the planned run is measured against, at the same number of computed steps."""
    order_0 = next(c for c in planner.candidates(count) if (c.variant.level, c.variant.order, c.variant.correction)
                   == ("output", 0, False))
    sigmas = planner.recording.run.sigmas
    own = tuple(sigmas[i] for i in order_0.schedule) + (sigmas[-1],)
    even = [Way(f"evenly spread, order {order}, {level}", count,
                config=Config(schedule=evenly(count), force_last=False, forecast_order=order, level=level))
            for level in ("residual", "output") for order in (0, 1)]
    return [*even, Way("euler, stock sigmas", count), Way("uni_pc, stock sigmas", count, unipc=True),
            Way("euler, planned sigmas", count, sigmas=own)]


def unipc(steps: int, shift: float, noise: torch.Tensor, velocity) -> torch.Tensor:
    """diffusers' UniPC for flow models, at the sigmas that the stock scheduler has."""
    from diffusers import UniPCMultistepScheduler
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)
    scheduler.set_timesteps(steps)
    x = noise
    for sigma, timestep in zip(scheduler.sigmas.tolist(), scheduler.timesteps):
        x = scheduler.step(velocity(x, sigma), timestep, x).prev_sample
    return x


@torch.inference_mode()
def latents_of(way: Way, on) -> tuple[torch.Tensor, float | None]:
    """(latents, speed-up by operation count) of one way on a stage."""
    if way.plan is not None or way.config is not None:
        take = on.sample(way.config, plan=way.plan, label=way.name)
        return take.latents, take.seconds
    made = settings(on.settings.shift, way.computed)
    noise = on.noise()
    if way.unipc:
        return unipc(way.computed, made.shift, noise, lambda x, s: on.guided(x, s, None)), None
    sigmas = way.sigmas or sampling.simple_sigmas(way.computed, made.shift)
    return sampling.euler(noise, list(sigmas), lambda x, s: on.guided(x, s, None)), None


def film(number: int, shift: float, ways: list[Way]) -> list[dict]:
    """All ways on one clip: dB whole and human, and the relative L2 of the final latent."""
    on = stage(number, settings(shift, seed=number))
    plain = on.sample()
    frames, found = on.decode(plain.latents), []
    for way in ways:
        latents, seconds = latents_of(way, on)
        distance = ((latents - plain.latents).norm() / (plain.latents - on.noise()).norm()).item()
        found.append({**decibels(on.decode(latents), frames), "error": distance,
                      "speedup": plain.seconds / seconds if seconds else None})
    return found


def mean_rows(ways: list[Way], films: list[list[dict]]) -> list[dict]:
    """Means over clips, a row per way."""
    rows = []
    for i, way in enumerate(ways):
        row = {"way": way.name, "computed_steps": way.computed}
        for region in ("whole", "human"):
            row[f"psnr_{region}_db"] = round(float(np.mean([film[i][region] for film in films])), 2)
        row["error_measured"] = round(float(np.mean([film[i]["error"] for film in films])), 5)
        if way.predicted:
            row["error_predicted"] = round(way.predicted.error, 5)
            row["speedup_predicted"] = round(way.predicted.speedup, 2)
            row["speedup_measured"] = round(float(np.mean([film[i]["speedup"] for film in films])), 2)
        rows.append(row)
    return rows


def measure(shift: float, clips: tuple[int, ...], counts: tuple[int, ...]) -> tuple[Planner, list[dict]]:
    """Calibrate, plan, and film everything at one shift."""
    planner = Planner(merge(on_all_cores(partial(record, shift=shift), CALIBRATION, f"calibrate {shift:g}")))
    ways = [way for count in counts for way in (best_plan(planner, count), *rivals(planner, count))]
    ways += [way for count in {10, 8} & set(counts) for way in variants(planner, count)]
    films = on_all_cores(partial(film, shift=shift, ways=ways), clips, f"shift {shift:g}")
    return planner, mean_rows(ways, films)


def shortfalls(shift: float, rows: list[dict]) -> list[str]:
    """Acceptance 1 to 3 at one shift."""
    said = []
    best = {}
    for row in rows:
        if row["way"] == "planned":
            best[row["computed_steps"]] = row
    named = {"planned", *(row["way"] for row in rows if "error_predicted" in row)}
    for count, row in best.items():
        rest = [other for other in rows if other["computed_steps"] == count and other["way"] not in named]
        for region in ("psnr_whole_db", "psnr_human_db"):
            ahead = row[region] - max(other[region] for other in rest)
            if ahead < AHEAD_DB.get(count, 0.0):
                said.append(f"shift {shift:g}, {count} steps: {region} is {ahead:.1f} ahead, required "
                            f"{AHEAD_DB.get(count, 0.0):g}")
    curve = [best[count]["psnr_whole_db"] for count in sorted(best)]
    if sorted(curve) != curve:
        said.append(f"shift {shift:g}: the curve is not monotone: {curve}")
    planned_rows = [row for row in rows if "error_predicted" in row]
    rank = spearmanr([r["error_predicted"] for r in planned_rows], [r["error_measured"] for r in planned_rows]).statistic
    say(f"shift {shift:g}: rank correlation of predicted and measured error {rank:.3f} over {len(planned_rows)} plans")
    if rank < 0.9:
        said.append(f"shift {shift:g}: rank correlation is {rank:.3f}, required >= 0.9")
    return said


def main(argv: list[str] | None = None) -> int:
    options = parser("bench.schedules", __doc__, "2 clips, shift 8, 10 and 8 computed steps").parse_args(argv)
    clips, counts, shifts = (CLIPS[:2], (10, 8), (8.0,)) if options.quick else (CLIPS, COUNTS, (8.0, 3.0))
    tables, missed = {}, []
    for shift in shifts:
        _, rows = measure(shift, clips, counts)
        tables[f"shift {shift:g}, {len(clips)} clips, {STEPS} steps"] = rows
        missed += shortfalls(shift, rows)
    return finish(tables, missed, options)


if __name__ == "__main__":
    sys.exit(main())
