"""What each part of SyncCache is worth: the presets' way of reusing with one part changed, at equally many computed steps.

`python -m bench.parts [--quick] [--world tiny|wild] [--setting NAME] [--speeds N ...] [--clips N] [--folder DIR] [--fresh]
[--json FILE]`.

Held-out clips, shift 8, each way against the uncached video of the same clip and noise. A speed of 2, 3 or 4 computes that
share of the steps, whatever reused ones cost; "as on 14B" computes as many as Wan2.2-S2V-14B may at that speed, where
reusing outputs is free and residuals are not. Beside them published caches, re-implemented (`rivals.py`), thresholds and
forms by two clips that are not tested, and ComfyUI's own (`native.py`). A part helps or harms where the interval of the
paired difference over clips (95 %, bootstrap) leaves out 0. Films are kept in --folder and taken up again. Needs
espeak-ng.
Evidence about the mechanism, never about a real model's quality.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from demo.scores import fidelity
from demo.worlds import WORLDS
from synccache_core.compare.lips import correlation

from . import native
from .changed import CALIBRATION, LEVELS, OUTPUTS, RESIDUALS, Known, computed, ours
from .fit import forms, tried
from .harness import MOST_DB, as_done, finish, held_out_scene, interval, on_all_cores, parser
from .hooks import trace
from .online import Kept
from .remember import Memory
from .rows import Row, Run
from .settings import SETTINGS, Setting, add_kept, add_world, setting_in
from .tables import verdict

PIECE = 16  # videos between two that are kept
SPEEDS, CLIPS, FEW = (4, 3, 2), 3, 1
FOLDER = Path.home() / ".cache" / "synccache" / "parts"
COSTS = ("computed_steps", "cost_full_steps_14b")
FIGURES = ("whole_db", "human_db", "mouth_db", "mouth_correlation")
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
        ("order by backtest instead of 1", "", ", order 1"), ("order by backtest instead of 0", "", ", order 0"),
        ("order by backtest instead of 2", "", ", order 2"), ("correction", "", ", not corrected"),
        ("bound on a forecast's reach", "", ", unbounded"), ("first two steps computed", ", warm-up 2", ""),
        ("alpha 0.5 instead of 0.75", ", alpha 0.5", ""), ("alpha 1 instead of 0.75", ", alpha 1", ""),
        ("steps by the dynamic programme", ", planned steps", ""),
    )),
    ("mask in that programme", f"{RESIDUALS}, planned steps, masked", f"{RESIDUALS}, planned steps"),
    ("a cache at all", OUTPUTS, "no cache, the preset's steps alone"),
)  # fmt: skip


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


def filmed_rows(rows: Sequence[Row], kept: Kept, clips: int) -> list[Row]:
    """Those that every clip has: what was broken off can be shown."""
    return [row for row in rows if all(row.key in kept.films.get(clip, {}) for clip in range(clips))]


def every_way(made: dict[int, list[Row]], kept: Kept, clips: int) -> Iterator[dict]:
    for speed, rows in made.items():
        for row in filmed_rows(rows, kept, clips):
            films = [kept.films[clip][row.key] for clip in range(clips)]
            mean = {key: round(float(np.mean([film[key] for film in films])), 3) for key in (*COSTS, *FIGURES)}
            yield {"way": row.name, "speed": speed, **mean}


def parts(made: dict[int, list[Row]], kept: Kept, clips: int) -> Iterator[dict]:
    """What each part gains, paired over clips."""
    for part, one, other in QUESTIONS:
        for speed, rows in made.items():
            keys = {row.name: row.key for row in filmed_rows(rows, kept, clips)}
            if one not in keys or other not in keys:
                continue
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
    add_kept(made, FOLDER)
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
