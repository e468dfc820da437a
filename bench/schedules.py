"""Planned schedules against evenly spread reuse and plain sampling with fewer steps, and what a plan's promises are worth.

`python -m bench.schedules [--world tiny|wild] [--parts PART ...] [--quick] [--json FILE] [--check]`. 40 Euler steps,
guidance 2, in the wild world 4.5. A plan is asked for by speed, that of n bare steps, and comes from merged calibrations
of six other clips, with up to five replays each at the speed of 10 and of 8 steps and at 10 computed steps: a plan's error
differs several times from clip to clip, so that one or two calibrations rank plans badly. PSNR in dB to the uncached video,
means over held-out clips, each sampled on one thread. About 45 minutes on two cores, in the wild world several times that.
Needs espeak-ng, no ComfyUI. Evidence about the mechanism, never about a real model's quality.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import spearmanr

from demo.console import say
from demo.sampling import simple_sigmas
from synccache_core import __version__
from synccache_core.model.layout import even_groups, groups_for_ratio
from synccache_core.planning.plan import Budget
from synccache_core.planning.planned import moved
from synccache_core.planning.planner import Planner
from synccache_core.planning.recipes import Recipe
from synccache_core.planning.recording import merge
from synccache_core.planning.schedule import Variant

from .harness import finish, interval, on_all_cores, parser
from .settings import add_world
from .ways import REPLAYS, Way, at_cost, by_choice, even, measure, plain, planned, record

STEPS, SHIFT, OTHER_SHIFT = 40, 8.0, 3.0
CLIPS, CALIBRATION = tuple(range(8)), tuple(range(100, 106))
COUNTS, TESTED = (16, 12, 10, 8, 6), (10, 8)
PREDICTED_AT = (10, 6)
OTHER_STEPS = (30, 50)
RATIOS = (1.0, 0.5, 0.25, 0.0)  # the last: 1 / M
AHEAD_DB = {"tiny": {10: 10.0, 8: 7.0}, "wild": {}}  # elsewhere, ahead is enough
MOST_LOSS_DB, RANK, SPEED_SHARE, BYTES_SHARE = 2.0, 0.9, 0.10, 0.02
TIE_DB = 0.1  # less is nobody's merit
REGIONS = ("whole_db", "human_db")


@dataclass
class Section:
    """One question: its ways at one shift and number of steps, and what the clips gave, [clip][way]."""

    ways: list[Way]
    films: list[list[dict]] | None = None

    def values(self, index: int, key: str) -> list[float]:
        return [film[index][key] for film in self.films]

    def rows(self, *keys: str) -> list[dict]:
        table = []
        for i, way in enumerate(self.ways):
            row = {"way": way.name, "computed_steps": way.computed}
            if way.choice:
                row |= {"speedup_predicted": way.choice.speedup, "error_predicted": way.choice.error}
            seen = {"speedup": "speedup_measured", "error": "error_measured"}
            keep = [key for key in (*seen, *keys) if key in self.films[0][i]]
            table.append(row | {seen.get(key, key): round(float(np.mean(self.values(i, key))), 5) for key in keep})
        return table


def calibrated(world: str, shift: float, steps: int = STEPS) -> Planner:
    budgets = (*(at_cost(count) for count in TESTED), Budget(computed=TESTED[0], cache_ratio=1.0))
    jobs = [(number, shift, steps, budgets, REPLAYS, world) for number in CALIBRATION]
    return Planner(merge(on_all_cores(record, jobs, f"{steps} steps, shift {shift:g}")))


def against(planner: Planner, counts: Sequence[int], both: Sequence[int] = ()) -> list[Way]:
    """both: numbers of computed steps at which evenly spread reuse is tried at either level."""
    ways = []
    for count in counts:
        levels = ("output", "residual") if count in both else ("output",)
        spread = [even(count, STEPS, level, order) for level in levels for order in (0, 1)]
        ways += [planned(planner, count), *spread, *plain(planner, count)]
    return ways


def predictions(planner: Planner, counts: Sequence[int]) -> list[Way]:
    return [by_choice(planner, choice, film=False) for count in counts for choice in planner.candidates(count)]


def transfers(planner: Planner) -> list[Way]:
    """A plan from other clips beside the clip's own."""
    return [way for n in TESTED for way in (planned(planner, n), Way("the clip's own plan", n, own=True))]


def refitted(planner: Planner, own: Planner, steps: int) -> list[Way]:
    """Plans of 40 steps on `steps`, beside those that were calibrated there."""
    ways = []
    for count in TESTED:
        plan = planned(planner, count).plan
        kept = len(moved(plan, simple_sigmas(steps, SHIFT))[0])
        ways += [Way(f"plan of {STEPS} steps", kept, plan=plan), replace(planned(own, kept), name="plan made there")]
    return ways


def memories(planner: Planner) -> list[Way]:
    """Residual level, line forecast, 10 computed: cache ratios, which refresh points keep their own, and both merges."""
    layout, ways = planner.recording.layout, []
    corrected = Recipe(Variant("residual", 1, True))
    for ratio in RATIOS:
        count = planner.segmentation.best(groups_for_ratio(layout, ratio))
        name = f"{count} of {layout.storable()} residuals"
        best = by_choice(planner, planner.make(corrected, 10, count))
        ways.append(replace(best, name=f"{name}, planned cuts"))
        if best.plan.groups != even_groups(layout, count):
            spread = replace(best.plan, groups=even_groups(layout, count))
            ways.append(replace(best, name=f"{name}, even cuts", plan=spread, choice=None))
        if count < layout.storable():
            fresh = replace(best.plan, merge="refresh")
            ways.append(replace(best, plan=fresh, choice=None, name=f"{name}, planned cuts, audio refreshed inside"))
    whole = by_choice(planner, planner.make(corrected, 10))
    probeless = replace(whole, plan=replace(whole.plan, probe=False), choice=None, name="all residuals, without probe")
    return [*ways, probeless]


def audio(planner: Planner) -> list[Way]:
    """The same steps and forecast, with the audio refreshed at every step, frozen in the residual, or in the output."""
    ways, layout = [], planner.recording.layout
    for count in (10, 6):
        every = planner.make(Recipe(Variant("residual", 1)), count)
        plan = planner.plan(every, Budget(computed=count), __version__)
        frozen = replace(plan, groups=even_groups(layout, 1), merge="freeze")
        whole = replace(plan, level="output", groups=())
        names = ("audio refreshed", "audio frozen in the residual", "audio frozen in the output")
        ways += [Way(name, count, plan=p) for name, p in zip(names, (plan, frozen, whole))]
    return ways


def run(world: str, sections: Sequence[Section], clips: Sequence[int], shift: float, steps: int = STEPS) -> None:
    """Film the ways of all sections in one go per clip."""
    ways = [way for section in sections for way in section.ways]
    if not ways:
        return
    say(f"{len(ways)} ways on {len(clips)} clips, {steps} steps, shift {shift:g}")
    jobs = [(number, shift, steps, ways, world) for number in clips]
    films = on_all_cores(measure, jobs, f"{steps} steps, shift {shift:g}")
    first = 0
    for section in sections:
        last = first + len(section.ways)
        section.films = [film[first:last] for film in films]
        first = last


def ahead(section: Section, counts: Sequence[int]) -> list[dict]:
    """How far the plan is ahead of the best of the others at each cost, which the others have in bare steps."""
    rows = section.rows(*REGIONS)
    first = [i for i, way in enumerate(section.ways) if way.name == "planned"]
    table = []
    for count, start, end in zip(counts, first, [*first[1:], len(rows)], strict=True):
        mine, others = rows[start], rows[start + 1 : end]
        row = {"computed_steps": count, "computed_by_plan": mine["computed_steps"]}
        for region in REGIONS:
            best = max(others, key=lambda other: other[region])
            row |= {region: mine[region], f"best_other_{region}": best[region], f"{region}_other": best["way"]}
            row[f"ahead_{region}"] = round(mine[region] - best[region], 2)
        table.append(row)
    return table


def losses(section: Section) -> list[dict]:
    """dB that the first way of each pair loses against the second, with its interval over clips."""
    table = []
    for i in range(0, len(section.ways), 2):
        for region in REGIONS:
            lost = [b - a for a, b in zip(section.values(i, region), section.values(i + 1, region))]
            mean, low, high = interval(lost)
            names = f"{section.ways[i].name} against {section.ways[i + 1].name}"
            table.append({"pair": names, "computed_steps": section.ways[i].computed, "region": region,
                          "lost_db": round(mean, 2), "low_db": round(low, 2), "high_db": round(high, 2)})  # fmt: skip
    return table


def ablation(section: Section) -> list[dict]:
    """What refreshing the audio gains over freezing it, paired over clips."""
    table = []
    for i in range(0, len(section.ways), 3):
        for other in (i + 1, i + 2):
            for key in ("whole_db", "human_db", "mouth_db", "mouth_curve_percent"):
                gains = [a - b for a, b in zip(section.values(i, key), section.values(other, key))]
                mean, low, high = interval(gains)
                table.append({
                    "refreshed minus": section.ways[other].name, "computed_steps": section.ways[i].computed, "figure": key,
                    "mean": round(mean, 3), "low": round(low, 3), "high": round(high, 3),
                })  # fmt: skip
    return table


def missed_ahead(world: str, title: str, table: list[dict]) -> list[str]:
    said = []
    for row in table:
        if row["computed_by_plan"] > row["computed_steps"]:
            said.append(f"{title}: the plan computes {row['computed_by_plan']} steps, the others {row['computed_steps']}")
        for region in REGIONS:
            wanted = AHEAD_DB[world].get(row["computed_steps"], 0.0)
            if row[f"ahead_{region}"] < wanted:
                said.append(f"{title}: {row['computed_steps']} steps are {row[f'ahead_{region}']} dB ahead in {region}, "
                            f"required {wanted:g}")  # fmt: skip
    for region in REGIONS:
        curve = [row[region] for row in sorted(table, key=lambda row: row["computed_steps"])]
        if curve != sorted(curve):
            said.append(f"{title}: {region} does not rise with the computed steps: {curve}")
    return said


def trust(section: Section) -> dict:
    """How well predictions rank and how far predicted speed is off at most."""
    rows = section.rows()
    rank = spearmanr([r["error_predicted"] for r in rows], [r["error_measured"] for r in rows]).statistic
    off = [r["speedup_predicted"] / r["speedup_measured"] - 1 for r in rows]
    factors = [r["error_predicted"] / r["error_measured"] for r in rows]
    return {"plans": len(rows), "rank_correlation": round(float(rank), 4), "speed_off_most": round(max(map(abs, off)), 4),
            "error_factor_least": round(min(factors), 3), "error_factor_most": round(max(factors), 3)}  # fmt: skip


def missed_trust(row: dict) -> list[str]:
    said = []
    if row["rank_correlation"] < RANK:
        said.append(f"rank correlation of predicted and measured error is {row['rank_correlation']}, required {RANK}")
    if row["speed_off_most"] > SPEED_SHARE:
        said.append(f"predicted speed is off by {row['speed_off_most']:.1%}, allowed {SPEED_SHARE:.0%}")
    return said


def missed_memory(section: Section) -> list[str]:
    rows, said = section.rows("human_db", "bytes_held", "bytes_predicted"), []
    for row, way in zip(rows, section.ways):
        if abs(row["bytes_held"] / row["bytes_predicted"] - 1) > BYTES_SHARE:
            said.append(f"{row['way']}: {row['bytes_held']:.0f} bytes, predicted {row['bytes_predicted']:.0f}")
        rival = next((r for r in rows if r["way"] == way.name.replace("planned", "even") != way.name), None)
        if rival and row["human_db"] < rival["human_db"] - TIE_DB:
            said.append(f"{row['way']}: {row['human_db']:.2f} dB human, evenly cut {rival['human_db']:.2f}")
    return said


PARTS = ("curve", "predictions", "clips", "memory", "audio", "shift", "steps")


def main(argv: list[str] | None = None) -> int:
    options = parser("bench.schedules", __doc__, "2 clips, curves at 10 and 8 computed steps only")
    options.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="only these tables")
    add_world(options)
    options = options.parse_args(argv)
    clips, counts = (CLIPS[:2], TESTED) if options.quick else (CLIPS, COUNTS)
    made = filmed(options.world, options.parts, clips, counts)
    tables: dict[str, list[dict]] = {}
    missed: list[str] = []
    for part in options.parts:
        found, lines = REPORTS[part](options.world, made, counts)
        tables |= found
        missed += lines
    return finish(tables, missed, options)


def filmed(world: str, parts: Sequence[str], clips: Sequence[int], counts: Sequence[int]) -> dict[str, list[Section]]:
    """The sections of every part that is wanted, all ways of a setting filmed in one go per clip."""
    planner = calibrated(world, SHIFT)
    makers = {
        "curve": lambda: against(planner, counts, TESTED), "predictions": lambda: predictions(planner, PREDICTED_AT),
        "clips": lambda: transfers(planner), "memory": lambda: memories(planner), "audio": lambda: audio(planner),
    }  # fmt: skip
    made = {part: [Section(makers[part]())] for part in parts if part in makers}
    run(world, [section for sections in made.values() for section in sections], clips, SHIFT)
    if "shift" in parts:
        made["shift"] = [Section(against(calibrated(world, OTHER_SHIFT), TESTED))]
        run(world, made["shift"], clips, OTHER_SHIFT)
    if "steps" in parts:
        made["steps"] = [Section(refitted(planner, calibrated(world, SHIFT, steps), steps)) for steps in OTHER_STEPS]
        for section, steps in zip(made["steps"], OTHER_STEPS):
            run(world, [section], clips, SHIFT, steps)
    return made


def compared(world: str, shift: float, section: Section, counts: Sequence[int]) -> tuple[dict, list[str]]:
    table, title = ahead(section, counts), f"shift {shift:g}"
    tables = {f"{title}: every way": section.rows(*REGIONS), f"{title}: planned against the best other": table}
    return tables, missed_ahead(world, title, table)


def predicted(section: Section) -> tuple[dict, list[str]]:
    row = trust(section)
    return {"predicted and measured": section.rows(), "how well predictions hold": [row]}, missed_trust(row)


def lost(title: str, sections: Sequence[Section], steps: Sequence[int]) -> tuple[dict, list[str]]:
    """What plans lose elsewhere. steps: of each section's runs."""
    table = [{"steps": n} | row for n, section in zip(steps, sections) for row in losses(section)]
    missed = [
        f"{row['pair']}, {row['computed_steps']} of {row['steps']} steps: {row['lost_db']} dB lost in {row['region']}, "
        f"allowed {MOST_LOSS_DB:g}" for row in table if row["lost_db"] > MOST_LOSS_DB
    ]  # fmt: skip
    rows = [row for section in sections for row in section.rows(*REGIONS)]
    return {f"plans {title}": rows, f"what plans lose {title}": table}, missed


def stored(section: Section) -> tuple[dict, list[str]]:
    return {"memory": section.rows(*REGIONS, "bytes_held", "bytes_predicted")}, missed_memory(section)


def heard(section: Section) -> tuple[dict, list[str]]:
    """Whichever way it falls, nothing is required."""
    rows = section.rows(*REGIONS, "mouth_db", "mouth_curve_percent")
    return {"audio": rows, "audio refreshed against frozen": ablation(section)}, []


REPORTS = {
    "curve": lambda world, made, counts: compared(world, SHIFT, *made["curve"], counts),
    "shift": lambda world, made, counts: compared(world, OTHER_SHIFT, *made["shift"], TESTED),
    "predictions": lambda world, made, counts: predicted(*made["predictions"]),
    "clips": lambda world, made, counts: lost("on other clips", made["clips"], (STEPS,)),
    "steps": lambda world, made, counts: lost("on other steps", made["steps"], OTHER_STEPS),
    "memory": lambda world, made, counts: stored(*made["memory"]),
    "audio": lambda world, made, counts: heard(*made["audio"]),
}


if __name__ == "__main__":
    sys.exit(main())
