"""What each part of SyncCache is worth: the presets' way of reusing with one part changed, at equally many computed steps.

`python -m bench.parts [--quick] [--world tiny|wild] [--setting NAME] [--speeds N ...] [--clips N] [--folder DIR] [--fresh]
[--json FILE]`.

Held-out clips, shift 8, each way against the uncached video of the same clip and noise. A speed of 2, 3 or 4 computes that
share of the steps, whatever reused ones cost; "as on 14B" computes as many as Wan2.2-S2V-14B may at that speed, where
reusing outputs is free and residuals are not. Beside them published caches, re-implemented (`rivals.py`), thresholds and
forms by two clips that are not tested, and ComfyUI's own (`native.py`). A part helps or harms where the interval of the
paired difference over clips (95 %, bootstrap) leaves out 0. Films are kept in --folder and taken up again: about six minutes
for a clip and a speed on one core. Needs espeak-ng.
Evidence about the mechanism, never about a real model's quality.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from demo.scores import fidelity
from demo.table import WAN_14B
from demo.worlds import WORLDS
from synccache_core import Config
from synccache_core.compare.lips import correlation
from synccache_core.config import ALPHA, AUTO_ORDER, PROBE
from synccache_core.decide.paper import OMEGA, stored
from synccache_core.decide.schedules import blended
from synccache_core.model.layout import even_groups
from synccache_core.planning.planner import Planner
from synccache_core.planning.recording import Recording
from synccache_core.planning.recording import merge as merged
from synccache_core.planning.schedule import Variant

from . import native
from .fit import forms, recorded, tried
from .harness import MOST_DB, as_done, finish, held_out_scene, interval, on_all_cores, parser
from .hooks import trace
from .online import Kept
from .presets import PRESET, own_sigmas, paper
from .remember import Memory
from .rows import Row, Run
from .settings import SETTINGS, Setting, add_world, setting_in
from .tables import verdict

PIECE = 16  # videos between two that are kept
SPEEDS, CLIPS, FEW, CALIBRATION = (4, 3, 2), 3, 1, (100, 101)
FOLDER = Path.home() / ".cache" / "synccache" / "parts"
FIGURES = ("whole_db", "human_db", "mouth_db", "mouth_correlation")
RESIDUALS, OUTPUTS = "residuals", "outputs"
LEVELS = {RESIDUALS: "residual", OUTPUTS: "output"}
# part, with it, without it; of every speed at which both were filmed
QUESTIONS = (
    ("audio refreshed, one residual a segment", RESIDUALS, f"{RESIDUALS}, one, audio frozen"),
    ("audio refreshed, one residual in all", f"{RESIDUALS}, one, audio refreshed", f"{RESIDUALS}, one, audio frozen"),
    ("residuals instead of outputs", RESIDUALS, OUTPUTS),
    ("residuals instead of outputs, as on 14B", f"{RESIDUALS}, as on 14B", OUTPUTS),
    ("the same without probe", f"{RESIDUALS}, no probe, as on 14B", OUTPUTS),
    ("probe segment computed at reused steps", RESIDUALS, f"{RESIDUALS}, no probe"),
    ("cache ratio 1 instead of 0.4", RESIDUALS, f"{RESIDUALS}, 0.4, even cuts"),
    ("audio refreshed at cache ratio 0.4", f"{RESIDUALS}, 0.4, audio refreshed", f"{RESIDUALS}, 0.4, even cuts"),
    ("cuts by gamma instead of even", f"{RESIDUALS}, 0.4, cuts by gamma", f"{RESIDUALS}, 0.4, even cuts"),
    ("cuts by staleness instead of even", f"{RESIDUALS}, 0.4, cuts by staleness", f"{RESIDUALS}, 0.4, even cuts"),
    ("steps by the probe instead of a schedule", f"{RESIDUALS}, steps by probe", RESIDUALS),
    ("mask, omega 2, in that probe", f"{RESIDUALS}, steps by probe, omega 2", f"{RESIDUALS}, steps by probe"),
    ("mask, omega 4, in that probe", f"{RESIDUALS}, steps by probe, omega 4", f"{RESIDUALS}, steps by probe"),
    ("mask, human weight, in that probe", f"{RESIDUALS}, steps by probe, weight 0.75", f"{RESIDUALS}, steps by probe"),
    ("mask in the preset Paper", "Paper, masked", "Paper"),
    ("cuts by gamma in the preset Paper", "Paper, cuts by gamma", "Paper"),
    ("a forecast in the preset Paper", "Paper, forecast", "Paper"),
    *((f"{what}, {name}", f"{name}{one}", f"{name}{other}") for name in LEVELS for what, one, other in (
        ("order 1 instead of 0", ", order 1", ", order 0"), ("order 2 instead of 1", ", order 2", ", order 1"),
        ("order by backtest instead of 1", "", ", order 1"), ("correction", "", ", not corrected"),
        ("bound on a forecast's reach", "", ", unbounded"), ("first two steps computed", ", warm-up 2", ""),
        ("alpha 0.5 instead of 0.75", ", alpha 0.5", ""), ("alpha 1 instead of 0.75", ", alpha 1", ""),
        ("steps by the dynamic programme", ", planned steps", ""),
    )),
    ("mask in that programme", f"{RESIDUALS}, planned steps, masked", f"{RESIDUALS}, planned steps"),
    ("a cache at all", OUTPUTS, "no cache, the preset's steps alone"),
)  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What calibration clips say of a setting: merged recordings without and with a mask."""

    recording: Recording
    masked: Recording

    @classmethod
    def of(cls, setting: Setting, kept: Kept) -> "Known":
        if not kept.recordings:
            jobs = [(setting, number, masked) for masked in (False, True) for number in CALIBRATION]
            found = on_all_cores(calibration, jobs, f"{setting.name}: calibrations")
            kept.add(recordings=[each.to_json() for each in found])
        found = [Recording.from_json(text) for text in kept.recordings]
        return cls(*map(merged, (found[: len(CALIBRATION)], found[len(CALIBRATION) :])))

    def planned(self, level: str, count: int, masked: bool = False) -> tuple[int, ...]:
        """Steps to compute, by the dynamic programme."""
        solution = Planner(self.masked if masked else self.recording).solve(Variant(LEVELS[level], AUTO_ORDER, True))
        return solution.schedules[count]


def calibration(job: tuple[Setting, int, bool]) -> Recording:
    setting, number, masked = job
    return recorded(setting, number, Run(setting, setting.stage(number), number).mask if masked else None)[1]


def way(setting: Setting, name: str, count: int, steps: Sequence[int] | None = None, masked: bool = False, **changed) -> Row:
    """The presets' way at the level that the name begins with, but for what is changed. steps: None = the presets'."""
    chosen = set(blended(setting.evaluated, count) if steps is None else steps)
    mask = tuple(step in chosen for step in range(setting.steps))
    level = LEVELS[name.partition(",")[0]]
    config = Config(**{"schedule": mask, "level": level, "forecast_order": AUTO_ORDER, **PRESET, **changed})
    return Row(name, "part", count, config=config, masked=masked)


def both(setting: Setting, name: str, count: int, known: Known) -> list[Row]:
    """What can be changed at either level."""
    orders = [(f"order {order}", {"forecast_order": order, "backtest": False}) for order in (0, 1, 2)]
    settings = [*orders, ("not corrected", {"correction": False}), ("unbounded", {"max_gain": 1e9})]
    steps = {f"alpha {alpha:g}": blended(setting.evaluated, count, alpha) for alpha in (0.5, 1.0)}
    steps |= {"warm-up 2": blended(setting.evaluated, count, ALPHA, 2), "planned steps": known.planned(name, count)}
    return [way(setting, name, count), *(way(setting, f"{name}, {what}", count, **changed) for what, changed in settings),
            *(way(setting, f"{name}, {what}", count, chosen) for what, chosen in steps.items())]  # fmt: skip


def residuals(setting: Setting, speed: int, count: int, known: Known) -> list[Row]:
    """What only residuals have."""
    layout, planner = known.recording.layout, Planner(known.recording)
    one, few = even_groups(layout, 1), stored(layout)
    even = even_groups(layout, few)
    cut = {
        "one, audio frozen": (one, "freeze"), "one, audio refreshed": (one, "refresh"),
        "0.4, even cuts": (even, "freeze"), "0.4, audio refreshed": (even, "refresh"),
        "0.4, cuts by gamma": (known.recording.boundaries, "freeze"),
        "0.4, cuts by staleness": (planner.segmentation.groups[few], "freeze"),
    }  # fmt: skip
    made = [way(setting, f"{RESIDUALS}, {what}", count, groups=groups, merge=merge) for what, (groups, merge) in cut.items()]
    made.append(way(setting, f"{RESIDUALS}, no probe", count, probe=False))
    for name, probe in (("as on 14B", True), ("no probe, as on 14B", False)):
        fewer = WAN_14B.budget(setting.steps, speed, WAN_14B.share("residual", layout.storable(), "refresh", probe))
        made.append(replace(way(setting, f"{RESIDUALS}, {name}", fewer, probe=probe), count=count))
    steered = {"schedule": None, "choose": PROBE, "target_speedup": known.recording.cost.speedup(setting.steps, count)}
    named = f"{RESIDUALS}, steps by probe"
    made.append(way(setting, named, count, **steered))
    for words, weight in (("omega 2", {"omega": OMEGA}), ("omega 4", {"omega": 2 * OMEGA}), ("weight 0.75", {})):
        made.append(way(setting, f"{named}, {words}", count, masked=True, **steered, **weight))
    programmed = known.planned(RESIDUALS, count, masked=True)
    return [*made, way(setting, f"{RESIDUALS}, planned steps, masked", count, programmed)]


def papers(setting: Setting, count: int, known: Known) -> list[Row]:
    """The paper's settings at so many computed steps, and with one thing changed."""
    plain = replace(paper(setting, setting.steps / count, count, known.recording.cost), name="Paper", group="paper")
    target = known.recording.cost.speedup(setting.steps, count)
    plain = replace(plain, config=replace(plain.config, target_speedup=target))
    cuts = replace(plain.config, groups=known.recording.boundaries)
    line = replace(plain.config, forecast_order=AUTO_ORDER, backtest=True)
    changed = (("masked", {"masked": True}), ("cuts by gamma", {"config": cuts}), ("forecast", {"config": line}))
    return [plain, *(replace(plain, name=f"Paper, {what}", **one) for what, one in changed)]


def ours(setting: Setting, speed: int, known: Known) -> list[Row]:
    count = computed(setting, speed)
    levels = [both(setting, name, count, known) for name in LEVELS]
    alone = replace(own_sigmas(setting, count), name="no cache, the preset's steps alone")
    fewer = replace(alone, name="no cache, fewer steps", sigmas=tuple(replace(setting, steps=count).sigmas))
    first = [*(each[0] for each in levels), alone, fewer, *papers(setting, count, known)]
    return [*first, *residuals(setting, speed, count, known), *(row for each in levels for row in each[1:])]


def computed(setting: Setting, speed: int) -> int:
    return max(2, round(setting.steps / speed))


# -- what is not ours ---------------------------------------------------------------------------------------------------


def others(setting: Setting, speed: int, file: Path) -> list[Row]:
    """Published caches with thresholds and forms that are kept in a file."""
    if not file.is_file():
        count = computed(setting, speed)
        runs = on_all_cores(trace, [(setting, number) for number in CALIBRATION], f"{setting.name}: traces")
        made = forms(runs, count, setting.steps)
        specs = [spec for each in made.values() for spec in each]
        jobs = [(setting, number, specs, []) for number in CALIBRATION]
        errors = iter(np.log([each for each, _ in on_all_cores(tried, jobs, f"{setting.name}: forms")]).mean(0))
        best = {name: min(zip((next(errors) for _ in each), range(len(each))))[1] for name, each in made.items()}
        file.write_text(json.dumps([[name, made[name][form]] for name, form in best.items()]), encoding="utf-8")
    found = json.loads(file.read_text(encoding="utf-8"))
    return [Row(name, "rival", computed(setting, speed), cache=(kind, settings)) for name, (kind, settings) in found]


def hosted(setting: Setting, speed: int, file: Path) -> list[Row]:
    """ComfyUI's own, likewise; none where there is no ComfyUI."""
    if native.find_host() is None:
        return []
    if not file.is_file():
        jobs = [(setting, name, computed(setting, speed)) for name in native.CACHES]
        rows = on_all_cores(native.fitted, jobs, f"{setting.name}: thresholds in ComfyUI")
        file.write_text(json.dumps([[row.name, row.threshold] for row in rows]), encoding="utf-8")
    found = json.loads(file.read_text(encoding="utf-8"))
    return [Row(name, "native", computed(setting, speed), threshold=value) for name, value in found]


# -- filmed and shown ---------------------------------------------------------------------------------------------------


@torch.inference_mode()
def film(job: tuple[Setting, int, Sequence[Row]]) -> dict[str, dict[str, float]]:
    """{row.key: figures} of one clip; job: setting, number of the clip, rows."""
    setting, number, rows = job
    on, world = setting.stage(number), WORLDS[setting.world]
    run, opening, found, seen = Run(setting, on, number), held_out_scene(number, setting.world).opening, {}, []
    with Memory(on.talker.dit.blocks) as memory:
        plain = run.uncached()
        frames = on.decode(plain)
        regions = world.regions(frames)
        found["uncached"] = {"mouth_correlation": correlation(world.mouth(frames), opening)}
        for row in rows:
            latents, cost = run.sample(row)
            near = next((figures for known, figures in seen if torch.equal(known, latents)), None)
            if near is None:
                video = on.decode(latents)
                near = {f"{name}_db": min(MOST_DB, value) for name, value in fidelity(video, frames, regions).items()}
                near["mouth_correlation"] = correlation(world.mouth(video), opening)
                seen.append((latents, near))
            found[row.key] = {**cost, **near}
        memory.known.clear()
    return found


def native_film(job: tuple[Setting, int, Sequence[Row]]) -> dict[str, dict[str, float]]:
    setting, number, rows = job
    return native.film((setting, number, number, rows))


def measured(setting: Setting, options: argparse.Namespace) -> tuple[dict[int, list[Row]], Kept]:
    """(speed -> ways, what the clips gave)."""
    kept, made = Kept(options.folder / f"{setting.file}.jsonl", options.fresh), {}
    known = Known.of(setting, kept)
    for speed in options.speeds:
        made[speed] = ours(setting, speed, known)
        filmed(film, setting, made[speed], options.clips, kept)
    for speed in options.speeds:
        files = [options.folder / f"{setting.file}-{speed}x-{kind}.json" for kind in ("published", "comfyui")]
        for rows, work in ((others(setting, speed, files[0]), film), (hosted(setting, speed, files[1]), native_film)):
            filmed(work, setting, rows, options.clips, kept)
            made[speed] += rows
    return made, kept


def filmed(work, setting: Setting, rows: Sequence[Row], clips: int, kept: Kept) -> None:
    """PIECE by PIECE, so that little is lost where it is broken off."""
    missing = {clip: [row for row in rows if row.key not in kept.films.get(clip, {})] for clip in range(clips)}
    jobs = [(setting, clip, each[first : first + PIECE]) for first in range(0, len(rows), PIECE)
            for clip, each in missing.items() if each[first:]]  # fmt: skip
    for job, found in as_done(work, jobs, setting.name):
        kept.add(clip=job[1], found=found)


def every_way(made: dict[int, list[Row]], kept: Kept, clips: int) -> Iterator[dict]:
    for speed, rows in made.items():
        for row in rows:
            films = [kept.films[clip][row.key] for clip in range(clips)]
            mean = {key: round(float(np.mean([film[key] for film in films])), 3) for key in (*COSTS, *FIGURES)}
            yield {"way": row.name, "speed": speed, **mean}


COSTS = ("computed_steps", "cost_full_steps_14b")


def parts(made: dict[int, list[Row]], kept: Kept, clips: int) -> Iterator[dict]:
    """What each part gains, paired over clips."""
    for part, one, other in QUESTIONS:
        for speed, rows in made.items():
            keys = {row.name: row.key for row in rows}
            gains = {figure: interval([kept.films[clip][keys[one]][figure] - kept.films[clip][keys[other]][figure]
                                       for clip in range(clips)]) for figure in FIGURES}  # fmt: skip
            row = {"part": part, "speed": speed, "way": one, "against": other}
            for figure in FIGURES:
                row[figure] = round(gains[figure][0], 3)
            low, high = gains["whole_db"][1:]
            yield row | {"low": round(low, 2), "high": round(high, 2), "verdict": verdict(low, high)}


def main(arguments: Sequence[str] | None = None) -> int:
    made = parser("bench.parts", __doc__, f"{FEW} clip")
    made.add_argument("--setting", choices=list(SETTINGS), default="20-cfg6-uni_pc", help="default: ComfyUI's template")
    made.add_argument("--speeds", nargs="+", type=int, default=list(SPEEDS), help="default: all of them")
    made.add_argument("--clips", type=int, help=f"held-out clips (default: {CLIPS})")
    made.add_argument("--folder", type=Path, default=FOLDER, help=f"where what was measured is kept (default: {FOLDER})")
    made.add_argument("--fresh", action="store_true", help="forget what was measured")
    add_world(made)
    options = made.parse_args(arguments)
    options.clips = options.clips or (FEW if options.quick else CLIPS)
    setting = setting_in(options.world, options.setting)
    found, kept = measured(setting, options)
    tables = {f"{setting.name}: parts": list(parts(found, kept, options.clips)),
              f"{setting.name}: every way": list(every_way(found, kept, options.clips))}  # fmt: skip
    return finish(tables, [], options)


if __name__ == "__main__":
    sys.exit(main())
