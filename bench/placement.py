"""Where the computed steps should lie at other shifts: shares alpha of `schedules.blended` beside simple rivals, many clips
at once.

`python -m bench.placement [--clips N] [--device cuda] [--json FILE]`. ComfyUI takes the clips as one batch, so that a
GPU films twelve in the time of one: 23 settings took 6 minutes on one H200; `--quick` takes one on two CPU cores. What a run
decides by what it sees, it decides here for all clips together: `bench.online` is the one that counts. Outputs are reused;
dB of whole frames to the uncached video, means over clips.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch

from demo.sampling import simple_sigmas
from demo.scores import psnr
from demo.standalone import Standalone
from demo.talker import CONFIG
from demo.training.modelling import build_dit, load_weights, open_host
from demo.wild.talker import CONFIG as WILD
from demo.worlds import WORLDS
from synccache_core import Config
from synccache_core.config import AUTO_ORDER
from synccache_core.decide.schedules import alpha_for, blended

from .harness import CAVEAT, MOST_DB, parser, publish
from .presets import PRESET, evenly
from .rows import Run
from .settings import Setting

ALPHAS = (0.0, 0.25, 0.4, 0.5, 0.6, 0.667, 0.75, 0.9)
KINDS = {(8, 1.0, "euler"): (4, 3, 2), (20, 6.0, "uni_pc"): (10, 7, 5), (20, 3.5, "euler"): (10, 7, 5),
         (30, 5.0, "uni_pc"): (15, 10, 8), (10, 6.0, "uni_pc"): (5, 3, 2)}  # fmt: skip
SHIFTS = (5.0, 3.0, 8.0, 1.0)


class Batch(Standalone):
    """Clips of one world, [clips, ...] on a device."""

    def __init__(self, setting: Setting, clips: Sequence[int], dit: torch.nn.Module, device: str):
        stages = [setting.stage(clip) for clip in clips]
        first = stages[0].talker
        mean, std = first.mean.to(device), first.std.to(device)
        self.talker = replace(first, dit=dit, vae=first.vae.to(device), mean=mean, std=std)
        self.settings = stages[0].settings

        def join(branch: str) -> dict[str, torch.Tensor]:
            given = [getattr(each, branch) for each in stages]
            return {name: torch.cat([each[name] for each in given]).to(device) for name in given[0]}

        self.given = {"uncond": join("unconditional"), "cond": join("conditional")}
        self.start = torch.cat([each.noise() for each in stages]).to(device)

    def noise(self) -> torch.Tensor:
        return self.start

    def velocities(self, x: torch.Tensor, sigma: float, session) -> list[torch.Tensor]:
        time, still = torch.full((len(x),), 1000.0 * float(sigma), device=x.device), torch.zeros_like(x)
        found = []
        for name, given in self.given.items():
            with session.branch(name) if session else nullcontext():
                found.append(self.talker.dit(x, time, **given, control_video=still, transformer_options={}))
        return found

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return (self.talker.decode(latents) + 1) / 2


def near(frames: torch.Tensor, plain: torch.Tensor) -> float:
    """PSNR of whole frames, mean over clips."""
    pairs = zip(frames.cpu().numpy(), plain.cpu().numpy())
    return float(np.mean([min(MOST_DB, psnr(one, other, True)) for one, other in pairs]))


def rows(setting: Setting, counts: Sequence[int], on: Batch) -> Iterator[dict]:
    run, own = Run(setting, on, 0), alpha_for(setting.evaluated)
    plain, known = on.decode(run.uncached()), {}

    def preset(alpha: float) -> float:
        steps = blended(setting.evaluated, count, alpha)
        if steps not in known:
            schedule = tuple(step in steps for step in range(setting.steps))
            config = Config(schedule=schedule, forecast_order=AUTO_ORDER, level="output", **PRESET)
            known[steps] = near(on.decode(run.attached(config)[0]), plain)
        return known[steps]

    for count in counts:
        rivals = {row.name: run.attached(row.config)[0] for row in evenly(setting, count) if row.group == "rival"}
        few, samplers = simple_sigmas(count, setting.shift), dict.fromkeys((setting.sampler, "euler"))
        rivals |= {f"fewer steps, {sampler}": run.plain(sampler, few) for sampler in samplers}
        best = {name: near(on.decode(latents), plain) for name, latents in rivals.items()}
        name = max(best, key=best.get)
        yield {"setting": setting.name, "computed": count, "best rival": name, "its dB": best[name], "presets' alpha": own,
               "presets": preset(own), **{f"alpha {alpha:g}": preset(alpha) for alpha in ALPHAS}}  # fmt: skip


@torch.inference_mode()
def main(argv: Sequence[str] | None = None) -> int:
    made = parser("bench.placement", __doc__, "two clips, four steps")
    made.add_argument("--clips", type=int, default=12, help="held-out clips (12)")
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = made.parse_args(argv)
    open_host(cpu=options.device == "cpu")
    clips = range(2 if options.quick else options.clips)
    kinds = {(4, 1.0, "euler"): (2,)} if options.quick else KINDS
    dits = {world: load_weights(build_dit(dict(config)), WORLDS[world].dit).requires_grad_(False).to(options.device)
            for world, config in (("wild", WILD), ("tiny", CONFIG))}  # fmt: skip
    found = []
    for shift in SHIFTS[: 1 if options.quick else None]:
        for (steps, guidance, sampler), counts in kinds.items():
            for world, dit in dits.items():
                setting = Setting(steps, guidance, sampler, world, shift)
                found += rows(setting, counts, Batch(setting, clips, dit, options.device))
    publish({"placement": found}, CAVEAT, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
