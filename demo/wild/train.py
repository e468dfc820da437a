"""Train the Wild Talker: `python -m demo.wild.train all --seconds 540 --work DIR --out DIR`.

One run within a time budget: render clips, fine-tune the VAE, train the measuring net, encode, train the diffusion
transformer, perform.  Whatever was trained so far is always in the output folder.

To go on from the shipped weights without a change of the latents: `--start demo/assets --first 40000 --phases world=10
tracker=60 latents=45 dit sheet=30`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from ..talker import VAE_FILE
from ..training.modelling import build_dit, load_weights, open_host
from ..training.performance import Sampling
from .loop import Clock, say
from .sound import Bank, make_bank
from .source import Pool, Source
from .talker import CONFIG, DIT, TRACKER, VAE
from .train_dit import Kitchen, join, train_dit
from .train_vae import ready_vae, train_vae

# Each phase's share of the budget, where no seconds are given.
SHARES = {"world": 0.09, "vae": 0.145, "tracker": 0.065, "latents": 0.075, "dit": 0.565, "sheet": 0.06}
SENTENCES, HELD_OUT_SENTENCES = 720, 40
STARTED = time.monotonic()


def phase(text: str) -> tuple[str, float | None]:
    """"name" or "name=seconds"."""
    name, _, seconds = text.partition("=")
    if name not in SHARES:
        raise argparse.ArgumentTypeError(f"no phase {name!r}: {', '.join(SHARES)}")
    return name, float(seconds) if seconds else None


def ends(phases: dict[str, float | None], seconds: float) -> dict[str, float]:
    """When each phase ends, in seconds: phases without a time of their own share what the others leave."""
    left = max(0.0, seconds - sum(given or 0.0 for given in phases.values()))
    whole = sum(SHARES[name] for name, given in phases.items() if given is None)
    found, now = {}, 0.0
    for name in (name for name in SHARES if name in phases):
        now += left * SHARES[name] / whole if phases[name] is None else phases[name]
        found[name] = now
    return found


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.wild.train", description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("sounds", "all", "join"))
    parser.add_argument("--seconds", type=float, default=540, help="time budget of everything")
    parser.add_argument("--minutes", type=float, help="the same in minutes")
    parser.add_argument("--work", type=Path, required=True, help="folder of what training needs")
    parser.add_argument("--out", type=Path, help="folder of what it makes; default: the work folder")
    parser.add_argument("--sounds", type=Path, help="the bank of sentences; default: sounds.npz in the work folder")
    parser.add_argument("--start", type=Path, help="folder with weights of an earlier training to go on from")
    parser.add_argument("--phases", type=phase, nargs="+", default=[(name, None) for name in SHARES],
                        metavar="NAME[=SECONDS]", help=f"what to do, of {' '.join(SHARES)}; default: all")
    parser.add_argument("--first", type=int, default=0, help="seed of the first clip; others than an earlier training's")
    gpu = torch.cuda.is_available()
    parser.add_argument("--batch", type=int, default=256 if gpu else 8, help="chunks in a step of the transformer")
    parser.add_argument("--stage", type=int, default=3000 if gpu else 24, help="clips kept as pictures")
    parser.add_argument("--room", type=int, default=14000 if gpu else 400, help="clips kept as latents")
    parser.add_argument("--render", type=int, default=32 if gpu else 2, help="clips rendered at once")
    parser.add_argument("--steps", type=int, default=40, help="of the performance at the end")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--clips", type=int, default=16 if gpu else 2, help="held-out clips performed at the end")
    parser.add_argument("--plain", action="store_true", help="compile nothing")
    parser.add_argument("--half", action=argparse.BooleanOptionalAction, default=gpu, help="compute in bfloat16")
    options = parser.parse_args(argv)
    options.seconds = options.minutes * 60 if options.minutes else options.seconds
    options.phases = dict(options.phases)
    options.out, options.sounds = options.out or options.work, options.sounds or options.work / "sounds.npz"
    return options


class Training:
    """The phases, in order; each leaves its results in the folders."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.clock = options, Clock(options.seconds, STARTED)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.bank = Bank(options.sounds)
        self.source = Source(self.bank, self.device, options.render, options.first)
        self.ends = ends(options.phases, options.seconds)
        self.stage = Pool(options.stage)
        self.vae_batch, self.tracker_batch = (48, 640) if self.device.type == "cuda" else (1, 10)

    def until(self, phase: str) -> float:
        return self.clock.started + self.ends[phase]

    def newest(self, name: str, other: Path | None = None) -> Path | None:
        """The newest file of a name: of this training, of that which it goes on from, or another one."""
        start = self.options.start
        mine = [self.options.out / name, *([start / name] if start else [])]
        return next((path for path in mine if path.exists()), other)

    @property
    def vae_file(self) -> Path:
        return self.newest(VAE, VAE_FILE)

    def world(self) -> None:
        while self.stage.count < self.options.stage and time.monotonic() < self.until("world"):
            self.stage.add(self.source.batch())
        say(f"world: {self.stage.count} clips", self.clock)

    def vae(self) -> None:
        train_vae(self.stage, self.vae_file, self.options.out / VAE, self.until("vae"), self.clock, self.vae_batch,
                  self.options.half)

    def tracker(self) -> None:
        from .train_tracker import train_tracker

        train_tracker(self.stage, ready_vae(self.vae_file, self.device), self.newest(TRACKER), self.options.out / TRACKER,
                      self.until("tracker"), self.clock, self.tracker_batch, self.options.half)

    def latents(self) -> None:
        self.kitchen = Kitchen(self.source, ready_vae(self.vae_file, self.device), self.options.room, self.options.half)
        for start in range(0, self.stage.count, self.options.render):
            some = slice(start, min(start + self.options.render, self.stage.count))
            self.kitchen.take({name: value[some] for name, value in self.stage.data.items()})
        say(f"latents: {self.kitchen.pool.count} clips encoded", self.clock)
        self.stage.data.clear()
        while time.monotonic() < self.until("latents"):
            self.kitchen.fresh()
        video = self.kitchen.pool.data["video"][: self.kitchen.pool.count].float()
        say(f"latents: {self.kitchen.pool.count} clips, mean {video.mean():.3f}, deviation {video.std():.3f}", self.clock)

    def dit(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        train_dit(self.kitchen, self.options.start, self.options.work, self.options.out, self.until("dit"), self.clock,
                  self.options.batch, self.options.half, not self.options.plain)

    def sheet(self) -> None:
        from .sheet import perform_and_judge
        from .tracker import load_tracker

        dit = load_weights(build_dit(dict(CONFIG)), self.options.work / DIT).to(self.device)
        path = self.newest(TRACKER)
        tracker = load_tracker(path, self.device) if path else None
        perform_and_judge(dit, ready_vae(self.vae_file, self.device), tracker, self.bank, self.options.clips,
                          Sampling(self.options.steps, self.options.guidance), self.options.half,
                          self.options.out / "sheet.png", self.clock)

    def run(self, phase: Callable[[], None], name: str) -> bool:
        """One phase; an error ends only that phase."""
        say(f"{name} begins", self.clock)
        try:
            phase()
            return True
        except Exception:
            traceback.print_exc()
            say(f"{name} FAILED", self.clock)
            return False

    def all(self) -> int:
        done = [self.run(getattr(self, name), name) for name in self.ends]
        if self.device.type == "cuda":
            say(f"most memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", self.clock)
        return int(not all(done))


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    options.work.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.part == "sounds":
        make_bank(options.sounds, SENTENCES, HELD_OUT_SENTENCES)
        return 0
    if options.part == "join":
        join(options.out, options.out / DIT)
        return 0
    torch.set_float32_matmul_precision("high")
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = True
    else:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
    open_host()
    torch.manual_seed(0)
    return Training(options).all()


if __name__ == "__main__":
    sys.exit(main())
