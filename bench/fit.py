"""What a setting of `bench.quality` needs before its clips, kept in a file: calibrations, and the rivals' settings."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch

from demo.sampling import integrate
from demo.standalone import LATENT
from demo.table import WAN_14B
from synccache_core import Grid, __version__
from synccache_core.attach import calibrate
from synccache_core.decide.paper import SPEEDUP
from synccache_core.planning.plan import Budget
from synccache_core.planning.planner import Planner
from synccache_core.planning.recording import Recording, merge
from synccache_core.planning.replays import replayed

from .fitting import dicache_forms, edges, forms, lexicographic_path, thresholded, trace, tried
from .harness import on_all_cores, packed, unpacked
from .presets import PAPER_SPEED, paper, without_calibration
from .rivals import Make
from .rows import Ours, Row, Run, most_computed, planned_sigmas
from .settings import TESTED, Setting

CALIBRATION = tuple(range(100, 106))  # bench.schedules plans from the same
TRIED = 2  # of them, on which forms are compared and LeMiCa's edges measured
REPLAYS = 5
UNIPC_GRIDS = ((0, False), (1, False), (1, True))  # order, correction of the plan whose steps UniPC takes for its sigmas
LEAST = 3  # two steps to start with, and the last


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


def record(job: tuple[Setting, int]) -> tuple[Recording, Recording]:
    """Calibrations of one clip without mask, replayed at two speeds and at one number of steps, and with one."""
    setting, number = job
    speeds = [Budget(speedup=setting.steps / setting.count(count), cache_ratio=1.0) for count in TESTED]
    budgets = (*speeds, Budget(computed=setting.count(TESTED[0]), cache_ratio=1.0))
    mask = Run(setting, setting.stage(number), number).mask
    return replays(setting, number, budgets, REPLAYS), recorded(setting, number, mask)[1]


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


def rows_of(setting: Setting, made: Fit, counts: Sequence[int]) -> list[Row]:
    """All ways at one setting but ComfyUI's own. counts: of 40 steps."""
    planner = Planner(made.recording)
    rows = Ours(setting, planner, Planner(made.masked)).rows(counts)
    for asked in counts:
        count = setting.count(asked)
        for sampler in ("euler", "uni_pc"):
            stock = tuple(replace(setting, steps=count).sigmas)
            best = planned_sigmas(planner, count, *((0, False) if sampler == "euler" else made.unipc[asked]))
            for name, sigmas in (("stock", stock), ("planned", best)):
                label = f"no cache, fewer steps, {sampler}, {name} sigmas"
                rows.append(Row(label, "plain", count, sigmas=sigmas, sampler=sampler))
        rows += without_calibration(setting, asked, planner.recording.cost)
    if TESTED[0] in counts:
        cost = planner.recording.cost
        rows.append(paper(setting, SPEEDUP, setting.count(TESTED[0]), cost, PAPER_SPEED))
    rows += [Row(name, "rival", setting.count(asked), cache=make) for name, asked, make in made.rivals if asked in counts]
    return rows
