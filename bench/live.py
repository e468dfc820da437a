"""Live tokens beside the ways that reuse whole steps: `python -m bench.live [--world tiny|wild] [--part 20|few]
[--clips N] [--guidance G] [--plans] [--most] [--folder DIR] [--fresh] [--quick] [--json FILE] [--check]`.

Held-out clips, shift 8, each way against the uncached video of the same clip and noise. Part 20: 20 uni_pc steps with
guidance 6, at 3 and 4 times the speed; few: 8 Euler steps without guidance, at 1.4 times. Costs are in full steps of
Wan2.2-S2V-14B at 832x480 and 77 frames, the reference's rows, which are always live, included. A LIVE way computes the
tokens nearest to the mouth, as large a share of the video as its name says; or people, by the true mask, by that of the
portrait, widened as the node does, or by the true one moved by half a picture. Compared with the preset of that speed, and
with --plans, which calibrates first, with its plan. --most asks what live rows can give at all: 5 and 7 steps computed and
every other one LIVE, whatever that costs, beside the same computed steps alone. About five minutes a clip and part on one
core; needs espeak-ng.
Evidence about the mechanism, never about a real model's quality.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from demo.console import say
from synccache_core import Config
from synccache_core.config import AUTO_ORDER
from synccache_core.planning.recording import Recording

from .harness import finish, parser
from .kept import Kept, film, plan
from .presets import OURS, PRESET, presets
from .rows import Row
from .settings import Setting, filmed

PARTS = {"20": (Setting(20, 6.0, "uni_pc"), (3.0, 4.0), (0.1, 0.2, 0.3)), "few": (Setting(8, 1.0), (1.4,), (0.15,))}
MOST = (5, 7), (0.1, 0.3, 0.6)  # computed steps, shares that are live
KINDS = ("human", "portrait", "wrong")
WITHOUT = (OURS[0], "plan")
SHOWN = ("whole_db", "human_db", "mouth_db", "background_db", "mouth_correlation")
REQUIRED_DB, BACKGROUND_DB, CORRELATION, SLACK = 3.0, 1.0, 0.02, 0.25
CLIPS, FEW = 4, 1
FOLDER = Path.home() / ".cache" / "synccache" / "live"


def living(speed: float, kind: str) -> Row:
    """As the node runs it: which steps are live is chosen once the run has shown how much changes."""
    config = Config(target_speedup=speed, level="output", forecast_order=AUTO_ORDER, live=True, live_reach=0, **PRESET)
    return Row(f"live, {kind}", "live", round(100 * speed), config=config, live=kind)


def ways(setting: Setting, speed: float, shares: Sequence[float], recording: Recording | None) -> list[Row]:
    count = max(2, round(setting.steps / speed))
    made = presets(setting, speed, count)[:1]
    if recording is not None and speed == int(speed):
        made.append(plan(recording, int(speed), count))
    made = [replace(row, count=round(100 * speed)) for row in made]
    return [*made, *(living(speed, kind) for kind in (*(f"{share:g}" for share in shares), *KINDS))]


def most(setting: Setting) -> dict[float, list[Row]]:
    """speed -> what LIVE evaluations can give at most: all that are not computed are."""
    made = {}
    for count in MOST[0]:
        alone = presets(setting, setting.steps / count, count)[0]
        config = replace(alone.config, live=tuple(not computed for computed in alone.config.schedule), live_reach=0)
        shares = [f"{share:g}" for share in MOST[1]]
        lived = (Row(f"live, {share}, at all others", "live", count, config=config, live=share) for share in shares)
        made[setting.steps / count] = [alone, *lived]
    return made


def measured(setting: Setting, speeds: Sequence[float], shares: Sequence[float], options: argparse.Namespace):
    """(speed -> ways, what the clips gave)."""
    kept = Kept(options.folder / f"{setting.file}.jsonl", options.fresh)
    recording = kept.calibrated(setting) if options.plans else None
    made = most(setting) if options.most else {speed: ways(setting, speed, shares, recording) for speed in speeds}
    kept.film(setting, [row for each in made.values() for row in each], options.clips, film)
    return made, kept


def table(setting: Setting, made: dict[float, list[Row]], kept: Kept, clips: int) -> list[dict]:
    """Every way, and how far it is ahead of the best without LIVE steps, paired over clips."""
    rows, uncached = [], kept.mean("uncached", clips)["mouth_correlation"]
    for speed, each in made.items():
        means = {row.key: kept.mean(row.key, clips) for row in each}
        without = [row.key for row in each if row.name in WITHOUT]
        for row in each:
            mean = means[row.key]
            line = {"way": row.name, "speed": speed, "asked": setting.steps / speed, "cost": mean["cost_full_steps_14b"],
                    "computed": mean["computed_steps"], **{key: mean[key] for key in SHOWN}}  # fmt: skip
            for key in SHOWN[1:4] if row.live else ():
                best = max(without, key=lambda other: means[other][key])
                line[f"{key.removesuffix('_db')}_ahead_db"] = kept.gain(row.key, best, key, clips)
            rows.append(line | {"correlation_lost": uncached - mean["mouth_correlation"]})
    return rows


def missed(name: str, rows: Sequence[dict]) -> Iterator[str]:
    ours = [row for row in rows if row["way"].startswith("live")]
    for row in ours:
        where = f"{name}, {row['speed']:g}x, {row['way']}"
        if row["cost"] > row["asked"] + SLACK:
            yield f"{where}: it costs {row['cost']:.2f} full steps, allowed {row['asked']:.2f}"
        wrong = row["way"].endswith("wrong")
        for region in ("human", "mouth"):
            ahead, required = row[f"{region}_ahead_db"], 0.0 if wrong else REQUIRED_DB
            if ahead[0] < required:
                yield f"{where}: {region} is {ahead[0]:.1f} dB ahead of the best without, required {required:g}"
        if row["background_ahead_db"][0] < -BACKGROUND_DB:
            yield f"{where}: background is {-row['background_ahead_db'][0]:.1f} dB behind, allowed {BACKGROUND_DB:g}"
        if row["correlation_lost"] > CORRELATION:
            yield f"{where}: mouth correlation is {row['correlation_lost']:.3f} lower, allowed {CORRELATION:g}"


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("bench.live", __doc__, f"{FEW} clip")
    made.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS), help="default: both")
    made.add_argument("--guidance", type=float, help="instead of a part's own")
    made.add_argument("--plans", action="store_true", help="compare with calibrated plans as well")
    made.add_argument("--most", action="store_true", help="every step that is not computed is LIVE, at any cost")
    options = filmed(made, arguments, FOLDER, CLIPS, FEW)
    if options.most and (options.plans or options.check):
        made.error("--most goes with neither --plans nor --check: it asks for what there is to gain at any cost")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options, tables, short = options_of(arguments), {}, []
    for part in options.part:
        setting, speeds, shares = PARTS[part]
        guidance = setting.guidance if options.guidance is None else options.guidance
        setting = replace(setting, world=options.world, guidance=guidance)
        made, kept = measured(setting, speeds, shares, options)
        tables[setting.name] = table(setting, made, kept, options.clips)
        short += missed(setting.name, tables[setting.name])
    say(f"{options.clips} clips of the world {options.world}")
    return finish(tables, short, options)


if __name__ == "__main__":
    sys.exit(main())
