"""What each part of SyncCache is worth: the presets' way of reusing with one part changed, at equally many computed steps.

`python -m bench.parts [--quick] [--world tiny|wild] [--setting NAME] [--speeds N ...] [--rivals] [--clips N] [--folder DIR]
[--fresh] [--json FILE] [--check]`.

Held-out clips, shift 8, each way against the uncached video of the same clip and noise. A speed of 2, 3 or 4 computes that
share of the steps, whatever reused ones cost; "as on 14B" computes as many as Wan2.2-S2V-14B may at that speed, where
reusing outputs is free and residuals are not. Beside them published caches, re-implemented (`rivals.py`), thresholds and
forms by two clips that are not tested, and ComfyUI's own (`native.py`); --rivals films these alone. A part helps or harms
where the interval of the paired difference over clips (95 %, bootstrap) leaves out 0. --check: what plan and preset should
gain on the wild world, and how rough that should be. Films are kept in --folder and taken up again. Needs espeak-ng.
Evidence about the mechanism, never about a real model's quality.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from demo.find_host import find_host

from . import native
from .changed import FEWER, LEVELS, MASKS, OUTPUTS, RESIDUALS, Known, computed, ours
from .fit import fitted
from .harness import finish, on_all_cores, parser
from .kept import SPEEDS, Kept, film
from .presets import PAPER_SPEED
from .rows import Row
from .settings import SETTINGS, Setting, filmed, setting_in

CLIPS, FEW = 3, 1
FOLDER = Path.home() / ".cache" / "synccache" / "parts"
COSTS = ("computed_steps", "cost_full_steps_14b")
FIGURES = ("whole_db", "human_db", "mouth_db", "mouth_correlation")
MORE = ("whole_ssim", "human_ssim", "vmaf")
# Of the wild world, at 4 times the speed: dB of people and mouths ahead of all that is not ours.
AHEAD_DB = {"plan": 2.0, OUTPUTS: 1.0}
NOT_OURS = ("plain", "rival", "native")
# What the paper measured of caches at 3 times the speed, whole frames in dB, and how little mouths may change.
PAPERS, BAND, LEAST_ROUGH_DB, MOUTH_LOSS = "wild-40-cfg4.5-uni_pc", (17.0, 25.0), 26.0, 0.05
CACHES = ("TeaCache-like", "MagCache", "DiCache")
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
        ("steps by the dynamic programme", ", planned steps", ""), ("first gap adapts the rest", "", ", not adapted"),
    )),
    *((f"{what} in that programme", f"{RESIDUALS}, planned steps, {one}", f"{RESIDUALS}, planned steps") for what, one in (
        ("mask", "masked"), ("the portrait's mask", "masked as in the portrait"), ("a wrong mask", "masked wrongly"),
    )),
    ("a cache at all", OUTPUTS, "no cache, the preset's steps alone"),
)  # fmt: skip


def others(setting: Setting, speed: int, kept: Kept) -> list[Row]:
    """Published caches, re-implemented."""
    count = computed(setting, speed)
    found = kept.once(f"published, {speed}x", lambda: fitted(setting, count))
    return [Row(name, "rival", count, cache=tuple(made)) for name, made in found.items()]


def hosted(setting: Setting, speed: int, kept: Kept) -> list[Row]:
    """ComfyUI's own; none where there is no ComfyUI."""
    count = computed(setting, speed)

    def thresholds() -> dict[str, float]:
        jobs = [(setting, name, count) for name in native.CACHES]
        rows = on_all_cores(native.fitted, jobs, f"{setting.name}: thresholds in ComfyUI")
        return {row.name: row.threshold for row in rows}

    found = kept.once(f"ComfyUI, {speed}x", thresholds) if find_host() else {}
    return [Row(name, "native", count, threshold=value) for name, value in found.items()]


def measured(setting: Setting, options: argparse.Namespace) -> tuple[dict[int, list[Row]], Kept]:
    """(speed -> ways, what the clips gave)."""
    kept = Kept(options.folder / f"{setting.file}.jsonl", options.fresh)
    made: dict[int, list[Row]] = {speed: [] for speed in options.speeds}
    if not options.rivals:
        known = Known(kept.calibrated(setting), {mask: kept.calibrated(setting, mask) for mask in MASKS.values()})
        made = {speed: ours(setting, speed, known) for speed in options.speeds}
    for rows in made.values():
        kept.film(setting, rows, options.clips, film)
    for speed in options.speeds:
        for rows, work in ((others(setting, speed, kept), film), (hosted(setting, speed, kept), native.film)):
            kept.film(setting, rows, options.clips, work)
            made[speed] += rows
    return made, kept


def keys(rows: Sequence[Row], kept: Kept, clips: int) -> dict[str, str]:
    """Name -> key of the ways that every clip has: what was broken off can be shown."""
    return {row.name: row.key for row in rows if all(row.key in kept.films.get(clip, {}) for clip in range(clips))}


def every_way(made: dict[int, list[Row]], kept: Kept, clips: int) -> Iterator[dict]:
    for speed, rows in made.items():
        for name, key in keys(rows, kept, clips).items():
            mean = kept.mean(key, clips)
            yield {"way": name, "speed": speed, **{figure: round(mean[figure], 3) for figure in (*COSTS, *FIGURES, *MORE)}}


def verdict(low: float, high: float) -> str:
    return "helps" if low > 0 else "harms" if high < 0 else "no clear difference"


def parts(made: dict[int, list[Row]], kept: Kept, clips: int) -> Iterator[dict]:
    """What each part gains, paired over clips."""
    for part, one, other in QUESTIONS:
        for speed, rows in made.items():
            filmed_keys = keys(rows, kept, clips)
            if one not in filmed_keys or other not in filmed_keys:
                continue
            gains = {figure: kept.gain(filmed_keys[one], filmed_keys[other], figure, clips) for figure in FIGURES}
            means = {figure: round(mean, 3) for figure, (mean, _, _) in gains.items()}
            low, high = gains["whole_db"][1:]
            bounds = {"low": round(low, 2), "high": round(high, 2), "verdict": verdict(low, high)}
            yield {"part": part, "speed": speed, "way": one, "against": other, **means, **bounds}


def missed(setting: Setting, made: dict[int, list[Row]], kept: Kept, clips: int) -> Iterator[str]:
    """What the wild world is asked for, of the speeds that were filmed."""
    if setting.world != "wild":
        return
    means = {(row.name, speed): kept.mean(row.key, clips) for speed, rows in made.items() for row in rows}
    rivals = [row.name for row in made.get(4, ()) if row.group in NOT_OURS]
    for way, required in AHEAD_DB.items() if rivals else ():
        for figure in ("human_db", "mouth_db"):
            best = max(rivals, key=lambda name: means[name, 4][figure])
            ahead = means[way, 4][figure] - means[best, 4][figure]
            if ahead < required:
                yield f"{setting.name} at 4x: {way} is {ahead:.2f} dB ahead of {best} in {figure}, required {required:g}"
    if {3, 4} <= set(made):
        ahead = means[PAPER_SPEED, 4]["whole_db"] - means["DiCache", 3]["whole_db"]
        if ahead < 0:
            yield f"{setting.name}: the {PAPER_SPEED} is {-ahead:.2f} dB behind DiCache at 3x, whole frames"
    if setting.name == PAPERS:
        yield from smooth(setting, means, kept.mean("uncached", clips)["mouth_correlation"])


def smooth(setting: Setting, means: dict[tuple[str, int], dict], uncached: float) -> Iterator[str]:
    """Where the wild world is not as rough as the paper's, whose caches lose as much as BAND says at 3x."""
    half = means.get((FEWER, 2))
    if half and half["whole_db"] > LEAST_ROUGH_DB:
        yield f"{setting.name}: half of the steps give {half['whole_db']:.1f} dB, at most {LEAST_ROUGH_DB:g}"
    for name in CACHES:
        if mean := means.get((name, 3)):
            if not BAND[0] <= mean["whole_db"] <= BAND[1]:
                yield f"{setting.name}: {name} at 3x gives {mean['whole_db']:.1f} dB, required {BAND[0]:g} to {BAND[1]:g}"
            if abs(change := mean["mouth_correlation"] - uncached) > MOUTH_LOSS:
                yield f"{setting.name}: {name} changes the mouth correlation by {change:.3f}, allowed {MOUTH_LOSS}"


def main(arguments: Sequence[str] | None = None) -> int:
    made = parser("bench.parts", __doc__, f"{FEW} clip")
    made.add_argument("--setting", choices=list(SETTINGS), default="20-cfg6-uni_pc", help="default: ComfyUI's template")
    made.add_argument("--speeds", nargs="+", type=int, choices=SPEEDS, default=SPEEDS[::-1], help="default: all of them")
    made.add_argument("--rivals", action="store_true", help="only the caches that are not ours, without --check")
    options = filmed(made, arguments, FOLDER, CLIPS, FEW)
    setting = setting_in(options.world, options.setting)
    found, kept = measured(setting, options)
    tables = {f"{setting.name}: every way": list(every_way(found, kept, options.clips))}
    if options.rivals:
        return finish(tables, (), options)
    tables = {f"{setting.name}: parts": list(parts(found, kept, options.clips)), **tables}
    return finish(tables, missed(setting, found, kept, options.clips), options)


if __name__ == "__main__":
    sys.exit(main())
