"""Ways filmed on held-out clips, each beside the uncached video of the same clip and noise, and kept in a file: what the
benches of the talkers share. Plans come from calibrations of two clips that are not tested.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from demo.sampling import integrate
from demo.standalone import LATENT
from synccache_core import Grid, __version__
from synccache_core.attach import calibrate
from synccache_core.planning.plan import Budget
from synccache_core.planning.planner import Planner
from synccache_core.planning.recording import Recording, merge
from synccache_core.planning.replays import replayed

from .harness import as_done, held_out_scene, interval, on_all_cores
from .metrics import figures, mouth
from .remember import Memory
from .rows import CREATED, Row, Run
from .settings import CALIBRATION, Setting

SPEEDS, REPLAYS = (2, 3, 4), 5  # at which plans are tried while calibrating, and how many for each, as by the node
PIECE = 16  # videos between two that are kept: little is lost where a bench is broken off
Job = tuple[Setting, int, Sequence[Row]]  # setting, number of a clip, ways


class Kept:
    """What was measured at one setting, in a file of JSON lines. films: [clip][row.key] -> figures."""

    def __init__(self, file: Path, fresh: bool):
        self.file, self.films, self.speed, self.known = file, {}, {}, {}
        if fresh:
            file.unlink(missing_ok=True)
        for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
            self._take(json.loads(line))

    def add(self, **entry) -> None:
        self._take(json.loads(json.dumps(entry)))
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _take(self, entry: dict) -> None:
        if "clip" in entry:
            self.films.setdefault(entry["clip"], {}).update(entry["found"])
        self.speed |= entry.get("speed", {})
        self.known |= entry.get("known", {})

    def once(self, name: str, found: Callable[[], object]) -> object:
        """What found() gives, which is asked for the first time only. As JSON gives it back."""
        if name not in self.known:
            self.add(known={name: found()})
        return self.known[name]

    def calibrated(self, setting: Setting, mask: str = "") -> Recording:
        """The merged calibrations; without a mask with replays at SPEEDS. mask: one of `regions.KINDS`."""
        name = f"calibrations, mask {mask}" if mask else "calibrations"
        jobs = [(setting, number, mask) for number in CALIBRATION]
        made = self.once(name, lambda: on_all_cores(calibration, jobs, f"{setting.name}: {name}"))
        return merge([Recording.from_json(text) for text in made])

    def film(self, setting: Setting, rows: Sequence[Row], clips: int, work: Callable) -> None:
        """Have `work` film what is missing."""
        missing = {clip: [row for row in rows if row.key not in self.films.get(clip, {})] for clip in range(clips)}
        jobs = [(setting, clip, each[first : first + PIECE]) for first in range(0, len(rows), PIECE)
                for clip, each in missing.items() if each[first:]]  # fmt: skip
        for job, found in as_done(work, jobs, setting.name):
            self.add(clip=job[1], found=found)

    def values(self, key: str, figure: str, clips: int) -> list[float]:
        return [self.films[clip][key][figure] for clip in range(clips)]

    def mean(self, key: str, clips: int) -> dict[str, float]:
        """Of every figure that each clip has."""
        films = [self.films[clip][key] for clip in range(clips)]
        shared = [name for name in films[0] if all(name in film for film in films)]
        return {name: float(np.mean([film[name] for film in films])) for name in shared}

    def gain(self, key: str, other: str, figure: str, clips: int) -> tuple[float, float, float]:
        """Of one way over another, paired over clips: mean and interval."""
        return interval(np.subtract(self.values(key, figure, clips), self.values(other, figure, clips)))


@torch.inference_mode()
def film(job: Job) -> dict[str, dict[str, float]]:
    """{row.key: figures} of one clip, and what its uncached video is like by itself."""
    setting, number, rows = job
    on, opening = setting.stage(number), held_out_scene(number, setting.world).opening
    run, memory, seen = Run(setting, on, number), Memory(on.talker.dit.blocks), []
    with memory:
        plain = run.uncached()
    frames, moved = on.decode(plain), (plain - on.noise()).norm()
    found = {"uncached": mouth(frames, opening, setting.world)}
    for row in rows:
        with nullcontext() if row.live else memory:  # what the rows of a LIVE step hear is no input of a block
            latents, cost = run.sample(row)
        near = next((known for of, known in seen if torch.equal(of, latents)), None)
        near = near or figures(on.decode(latents), frames, opening, setting.world)
        seen.append((latents, near))
        found[row.key] = {**cost, "error": ((latents - plain).norm() / moved).item(), **near}
    memory.known.clear()  # now, not when cycles are looked for
    return found


# -- calibrations and their plans ---------------------------------------------------------------------------------------


def asked(speed: int) -> Budget:
    return Budget(speedup=float(speed), cache_ratio=1.0)


def plan(recording: Recording, speed: int, count: int, name: str = "plan") -> Row:
    """The plan for a speed. count: computed steps that it is compared with."""
    planner = Planner(recording)
    made = planner.plan(planner.choose(asked(speed)), asked(speed), __version__, created=CREATED)
    return Row(name, "plan", count, plan=made)


@torch.inference_mode()
def recorded(setting: Setting, number: int, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, Recording]:
    """The latent of an uncached run and what it measured."""
    on, grid = setting.stage(number), Grid.from_latent(LATENT)
    with calibrate(on.talker.dit, setting.evaluated, grid, mask, cfg=setting.guidance) as session:
        x = integrate(setting.sampler, on.noise(), setting.sigmas, lambda x, sigma: on.guided(x, sigma, session))
        recording = session.recording()
    return x, replace(recording, run=replace(recording.run, sampler=setting.sampler))


def calibration(job: tuple[Setting, int, str]) -> str:
    """JSON. job: setting, number of a clip, mask; without one, plans for SPEEDS are tried."""
    setting, number, mask = job
    run = Run(setting, setting.stage(number), number)
    if mask:
        return recorded(setting, number, run.places(mask))[1].to_json()
    plain, recording = recorded(setting, number)
    planner, done, found = Planner(recording), {}, []
    for budget in map(asked, SPEEDS):
        for choice in planner.trials(budget, REPLAYS):
            made = planner.plan(choice, budget, __version__)
            if choice not in done:  # another speed may come to the same steps
                latents, report = run.attached(plan=made)
                done[choice] = report, (latents - plain).norm().item() / recording.displacement("whole")
            found.append(replayed(made, *done[choice]))
    return replace(recording, replays=tuple(found)).to_json()
