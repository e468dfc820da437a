"""What a human mask buys: `python -m bench.mask_effect [--world tiny|wild] [--mode MODE] [--quick] [--json FILE] [--check]`.

Held-out people of the Tiny Talker in rooms where things pass by, each sampled without a mask, with the renderer's true mask
of the clip, with the one that the Human Mask node finds in the portrait, and with a wrong one: the true mask moved by half
a picture. Online: a run steered to 3 times the speed. Planned: a plan of 8 computed steps from the clip's own calibration
with that mask. 40 Euler steps, shift 8, guidance 2; compared with the uncached video. Differences are paired by clip, only
between runs with equally many computed steps. Needs ComfyUI, ultralytics and espeak-ng.

In the wild world, guidance 4.5, the true mask is where people are in the uncached video, as its measuring net sees them;
no detector knows them, so that one of the portrait stands for what it would find: where they are in it, as much widened.
That needs espeak-ng only.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from demo.backdrops import draw_backdrop
from demo.portraits import HELD_OUT_SEED, render_clip, render_portrait
from demo.scene import Settings
from demo.stage import stage
from demo.standalone import Standalone, Take
from demo.talker import SIZE
from demo.worlds import WORLDS
from synccache_core import Config, __version__
from synccache_core.config import HUMAN_WEIGHT
from synccache_core.human.mask import grow, motion_pixels
from synccache_core.planning.plan import Budget
from synccache_core.planning.planner import Planner
from synccache_core.planning.recording import Recording

from .harness import closeness, finish, held_out_scene, interval, on_all_cores, parser
from .mask import DETECTOR, open_node, require, trained
from .settings import GUIDANCE, add_world

STEPS, SHIFT, SPEEDUP, COMPUTED = 40, 8.0, 3.0, 8
FIRST, CLIPS, FEW = 200, 8, 2
MOTION = 2.0  # percent of the shorter side, the Human Mask node's own
FOUND = {"tiny": "detected", "wild": "portrait"}  # what an artist has
FIGURES = ("human_db", "mouth_db", "background_db", "whole_db", "mouth_curve_percent")
LOWER_IS_BETTER = {"mouth_curve_percent"}
Job = tuple[int, torch.Tensor, Sequence[str], str]  # number of a clip, mask [1, H, W] found in its portrait, modes, world
Film = dict[tuple[str, str], dict]  # (mode, mask) -> what one run of a clip gave


def pairs(world: str) -> tuple[tuple[str, str], ...]:
    return ("true", "none"), (FOUND[world], "none"), ("wrong", "none"), ("true", "wrong")


def numbers(count: int, world: str = "tiny") -> list[int]:
    """Held-out people whose own room is one where things pass by, so that portrait, room and mask belong together; in the
    wild world any: what moves is chance.
    """
    if world == "wild":
        return list(range(FIRST, FIRST + count))
    every = (n for n in itertools.count(FIRST) if draw_backdrop(HELD_OUT_SEED + n).kind == "moving")
    return list(itertools.islice(every, count))


def found_masks(job: tuple[Path, Sequence[int]]) -> list[torch.Tensor]:
    """The node's mask [1, H, W] of each portrait, widened for motion as it does by default."""
    mask_of, motion, _ = open_node(job[0])
    pictures = (torch.from_numpy(render_portrait(HELD_OUT_SEED + n, SIZE))[None].float() for n in job[1])
    return [mask_of(picture, motion=motion) for picture in pictures]


def portrait_masks(clips: Sequence[int]) -> list[torch.Tensor]:
    """Where people of the wild world are in their portraits [1, H, W], widened as the node does by default."""
    wild, pixels = WORLDS["wild"], motion_pixels(MOTION, SIZE, SIZE)
    return [grow(wild.human(number, wild.scene(number).portrait.numpy), pixels) for number in clips]


def masks(number: int, found: torch.Tensor, plain: np.ndarray, world: str = "tiny") -> dict[str, torch.Tensor | None]:
    """A mask of each kind; true and wrong are [F, H, W], of the renderer's performance of the same sound, or of the plain
    video.
    """
    if world == "wild":
        true = WORLDS[world].human(number, lambda: plain)
    else:
        clip = render_clip(HELD_OUT_SEED + number, held_out_scene(number).opening, SIZE, backdrop="moving")
        true = torch.from_numpy(clip.human_mask)
    return {"none": None, "true": true, FOUND[world]: found, "wrong": true.roll(SIZE // 2, dims=-1)}


def online(on: Standalone, mask: torch.Tensor | None, unmasked: Recording) -> Take:
    return on.sample(Config(target_speedup=SPEEDUP, human_weight=HUMAN_WEIGHT, choose="probe"), mask)


def planned(on: Standalone, mask: torch.Tensor | None, unmasked: Recording) -> Take:
    recording = unmasked if mask is None else on.calibrate(mask)[1]
    planner, budget = Planner(recording, human_weight=HUMAN_WEIGHT), Budget(computed=COMPUTED, cache_ratio=1.0)
    return on.sample(plan=planner.plan(planner.choose(budget), budget, __version__), mask=mask)


MODES: dict[str, Callable[[Standalone, torch.Tensor | None, Recording], Take]] = {"online": online, "planned": planned}


def film(job: Job) -> tuple[Film, dict]:
    """Every run of one clip, and how much its backdrop moves."""
    number, found, modes, world = job
    on = stage(number, Settings(steps=STEPS, guidance=GUIDANCE[world], shift=SHIFT, seed=number), world)
    whole, unmasked = on.calibrate()  # computes everything: this is the uncached video
    plain, runs, seen = on.decode(whole.latents), {}, []
    for mode, (kind, mask) in itertools.product(modes, masks(number, found, plain, world).items()):
        take = MODES[mode](on, mask, unmasked)
        near = next((figures for latents, figures in seen if torch.equal(latents, take.latents)), None)
        near = near or closeness(on.decode(take.latents), plain, world)
        seen.append((take.latents, near))
        schedule = [step.index for step in take.report.steps if step.action == "compute"]
        runs[mode, kind] = {"computed_steps": take.report.computed, "schedule": schedule, **near}
    return runs, {"clip": number, "background_change_percent": backdrop_change(plain, world)}


def backdrop_change(frames: np.ndarray, world: str = "tiny") -> float:
    """Mean change behind the person from each frame [F, H, W, 3] to the next, in percent of white."""
    behind = np.broadcast_to(WORLDS[world].regions(frames)["background"], frames.shape[:3])
    return 100 * float(np.abs(np.diff(frames, axis=0))[behind[1:] & behind[:-1]].mean())


def levels(films: Sequence[Film]) -> list[dict]:
    """Means over clips of each way, and in how many clips the mask changed which steps are computed."""
    table = []
    for mode, kind in films[0]:
        runs = [each[mode, kind] for each in films]
        counts = sorted({run["computed_steps"] for run in runs})
        row = {"mode": mode, "mask": kind, "clips": len(runs), "computed_steps": " or ".join(map(str, counts))}
        row["clips_with_other_steps"] = sum(each[mode, kind]["schedule"] != each[mode, "none"]["schedule"] for each in films)
        table.append(row | {key: round(float(np.mean([run[key] for run in runs])), 3) for key in FIGURES})
    return table


def gains(films: Sequence[Film], world: str = "tiny") -> list[dict]:
    """What a mask changes, paired by clip, with 95 % intervals; only clips with equally many computed steps count."""
    table = []
    for mode, (kind, against), figure in itertools.product(modes(films), pairs(world), FIGURES):
        both = [(each[mode, kind], each[mode, against]) for each in films]
        apart = [a[figure] - b[figure] for a, b in both if a["computed_steps"] == b["computed_steps"]]
        row = {"mode": mode, "mask": kind, "against": against, "figure": figure, "clips_paired": len(apart)}
        if apart:
            mean, low, high = interval(apart)
            row |= {"mean": round(mean, 3), "low": round(low, 3), "high": round(high, 3)}
            row["verdict"] = verdict(low, high, figure in LOWER_IS_BETTER)
        table.append(row)
    return table


def modes(films: Sequence[Film]) -> list[str]:
    return list(dict.fromkeys(mode for mode, _ in films[0]))


def verdict(low: float, high: float, lower_is_better: bool) -> str:
    """better or worse where the interval leaves no doubt about the sign."""
    if low <= 0 <= high:
        return "no clear difference"
    return "better" if (low > 0) != lower_is_better else "worse"


def missed(films: Sequence[Film], table: Sequence[dict], world: str = "tiny") -> list[str]:
    """Acceptance: 8 clips at least, all of them compared at equally many computed steps."""
    said = [] if len(films) >= CLIPS else [f"{len(films)} clips, required {CLIPS}"]
    for mode, (kind, against) in itertools.product(modes(films), pairs(world)):
        paired = next(r["clips_paired"] for r in table if (r["mode"], r["mask"], r["against"]) == (mode, kind, against))
        if paired < len(films):
            said.append(f"{mode}, {kind} against {against}: computed steps differ in {len(films) - paired} clips")
    return said


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("bench.mask_effect", __doc__, f"{FEW} clips instead of {CLIPS}")
    made.add_argument("--detector", type=Path, default=DETECTOR, help=f"a .safetensors detector (default: {DETECTOR})")
    made.add_argument("--mode", choices=[*MODES], help="one of the two instead of both")
    add_world(made)
    found = made.parse_args(arguments)
    if found.world == "tiny":
        require(made)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    chosen = options(argv)
    clips = numbers(FEW if chosen.quick else CLIPS, chosen.world)
    if chosen.world == "wild":
        found = portrait_masks(clips)
    else:
        (found,) = on_all_cores(found_masks, [(trained(chosen.detector), clips)], "portraits")
    ways = [chosen.mode] if chosen.mode else [*MODES]
    done = on_all_cores(film, [(number, mask, ways, chosen.world) for number, mask in zip(clips, found)], "clips")
    films, backdrops = [runs for runs, _ in done], [row for _, row in done]
    table = gains(films, chosen.world)
    tables = {"closeness to the uncached video": levels(films), "what a mask changes, 95 % intervals over clips": table,
              "how much the uncached videos move behind the person": backdrops}  # fmt: skip
    return finish(tables, missed(films, table, chosen.world), chosen)


if __name__ == "__main__":
    sys.exit(main())
