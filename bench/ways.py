"""Ways to make one video with a given number of computed steps, and what each is like beside the uncached video."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from demo import sampling
from demo.scene import Settings
from demo.stage import stage
from demo.standalone import Standalone
from synccache_core import Config, __version__
from synccache_core.planning.plan import Budget, Plan
from synccache_core.planning.planner import Choice, Planner
from synccache_core.planning.recipes import STILL
from synccache_core.planning.recording import Recording
from synccache_core.planning.replays import replayed

from .harness import closeness

REPLAYS = 5
GUIDANCE = {"tiny": 2.0, "wild": 4.5}


@dataclass(frozen=True)
class Way:
    """A plan, a config, or plain sampling at other sigmas. own: planned from a calibration of the very clip.

    film: whether the video is compared, or its latent alone. choice: what the plan was predicted to do.
    """

    name: str
    computed: int
    plan: Plan | None = None
    config: Config | None = None
    sigmas: tuple[float, ...] | None = None
    unipc: bool = False
    own: bool = False
    film: bool = True
    choice: Choice | None = None


def settings(shift: float, steps: int = 40, number: int = 0, world: str = "tiny") -> Settings:
    """The noise is the clip's own."""
    return Settings(steps=steps, guidance=GUIDANCE[world], shift=shift, seed=number)


def record(job: tuple[int, float, int, Sequence[Budget], int, str]) -> Recording:
    """A calibration of one clip with replays. job: clip, shift, steps, budgets, the most replays for each of them, world."""
    number, shift, steps, budgets, replays, world = job
    on = stage(number, settings(shift, steps, number, world), world)
    plain, recording = on.calibrate()
    planner, done = Planner(recording), {}
    for budget in budgets:
        for choice in planner.trials(budget, replays):
            if choice not in done:
                plan = planner.plan(choice, budget, __version__)
                take = on.sample(plan=plan)
                error = (take.latents - plain.latents).norm().item() / recording.displacement("whole")
                done[choice] = replayed(plan, take.report, error)
    return replace(recording, replays=tuple(done.values()))


def at_cost(count: int, steps: int = 40) -> Budget:
    """As quick as `count` bare steps of `steps`, with all memory: what an artist asks for is a speed."""
    return Budget(speedup=steps / count, cache_ratio=1.0)


def planned(planner: Planner, count: int) -> Way:
    """The best plan that is as quick as `count` bare steps."""
    budget = at_cost(count, planner.recording.steps)
    choice = planner.choose(budget)
    return Way("planned", choice.computed, plan=planner.plan(choice, budget, __version__), choice=choice)


def by_choice(planner: Planner, choice: Choice, film: bool = True) -> Way:
    variant = choice.variant
    spread = f", alpha {choice.recipe.alpha:g}" if choice.recipe.alpha is not None else ""
    name = f"{variant.level}, order {variant.order}{', corrected' * variant.correction}{spread}"
    if choice.plain:
        name = f"fewer steps{spread}"
    plan = planner.plan(choice, Budget(computed=choice.computed), __version__)
    return Way(name, choice.computed, plan=plan, choice=choice, film=film)


def evenly(count: int, steps: int) -> tuple[bool, ...]:
    """Computed steps spread evenly over the indices, the first and the last among them."""
    chosen = set(np.linspace(0, steps - 1, count).round().astype(int).tolist())
    return tuple(step in chosen for step in range(steps))


def even(count: int, steps: int, level: str, order: int) -> Way:
    config = Config(schedule=evenly(count, steps), force_last=False, forecast_order=order, level=level)
    return Way(f"evenly spread, {level}, order {order}", count, config=config)


def plain(planner: Planner, count: int) -> list[Way]:
    """Fewer steps without any cache: at the stock sigmas, and at those where the programme would compute."""
    sigmas = planner.recording.run.sigmas
    own = (*(sigmas[step] for step in planner.solve(STILL).schedules[count]), sigmas[-1])
    stock = [Way("euler, stock sigmas", count), Way("uni_pc, stock sigmas", count, unipc=True)]
    return [*stock, Way("euler, planned sigmas", count, sigmas=own)]


def unipc(on: Standalone, steps: int) -> torch.Tensor:
    """diffusers' UniPC for flow models, at the sigmas that the stock scheduler has."""
    from diffusers import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=on.settings.shift
    )
    scheduler.set_timesteps(steps)
    x = on.noise()
    for sigma, timestep in zip(scheduler.sigmas.tolist(), scheduler.timesteps):
        x = scheduler.step(on.guided(x, sigma, None), timestep, x).prev_sample
    return x


@torch.inference_mode()
def latents_of(way: Way, on: Standalone) -> tuple[torch.Tensor, object]:
    """(latents, the session's report or None) of one way."""
    if way.plan is not None or way.config is not None:
        take = on.sample(way.config, plan=way.plan, label=way.name)
        return take.latents, take.report
    if way.unipc:
        return unipc(on, way.computed), None
    sigmas = way.sigmas or sampling.simple_sigmas(way.computed, on.settings.shift)
    return sampling.euler(on.noise(), list(sigmas), lambda x, sigma: on.guided(x, sigma, None)), None


def measure(job: tuple[int, float, int, Sequence[Way], str]) -> list[dict]:
    """All ways on one clip. job: clip, shift, steps, ways, world. Seconds are CPU seconds: other work does not count."""
    number, shift, steps, ways, world = job
    on = stage(number, settings(shift, steps, number, world), world)
    reference, first = timed(on.sample)
    frames, found = on.decode(reference.latents), []
    moved = (reference.latents - on.noise()).norm()
    for way in ways:
        if way.own:
            recording = record((number, shift, steps, (at_cost(way.computed, steps),), REPLAYS, world))
            way = replace(planned(Planner(recording), way.computed), name=way.name)
        (latents, report), seconds = timed(latents_of, way, on)
        row = {"error": ((latents - reference.latents).norm() / moved).item(), "seconds": seconds}
        if report is not None:
            row |= {"bytes_held": report.bytes_held, "bytes_predicted": report.bytes_predicted}
        found.append({**row, **(closeness(on.decode(latents), frames, world) if way.film else {})})
    _, last = timed(on.sample)
    return [{**row, "speedup": (first + last) / 2 / row["seconds"]} for row in found]


def timed(work, *arguments) -> tuple[object, float]:
    started = time.process_time()
    return work(*arguments), time.process_time() - started
