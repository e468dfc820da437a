"""What plans promise and keep, for `bench.quality --promises`: how predicted errors rank and how far they and the predicted
speeds are off, and what a plan loses on other clips than it was calibrated on and at other numbers of steps.

Planned from merged calibrations of six clips that are not tested; compared with the uncached video of the same clip.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import spearmanr

from synccache_core.planning.plan import Plan
from synccache_core.planning.planned import describe, moved
from synccache_core.planning.planner import Planner
from synccache_core.planning.recording import merge

from .fit import CALIBRATION, REPLAYS, replays, unmasked
from .harness import interval, on_all_cores
from .online import film
from .rows import Ours, Row, as_quick
from .settings import TESTED, Setting

PREDICTED_AT = (10, 6)  # computed steps of 40 at which every plan is tried
OTHER_STEPS = (0.75, 1.25)  # of the steps that were planned for
MOST_LOSS_DB, RANK, SPEED_SHARE = 2.0, 0.9, 0.10
FIGURES = ("whole_db", "human_db")
Films = list[dict[str, dict[str, float]]]  # [clip]: {key of a way: figures}


def calibrated(setting: Setting) -> Ours:
    jobs = [(setting, number) for number in CALIBRATION]
    planner = Planner(merge(on_all_cores(unmasked, jobs, f"{setting.name}: calibrations")))
    return Ours(setting, planner, planner)


def filmed(setting: Setting, clips: Sequence[int], ways: Sequence[Row]) -> Films:
    return on_all_cores(film, [(setting, clip, ways) for clip in clips], f"{setting.name}: {len(ways)} plans")


def own_plans(job: tuple[Setting, int]) -> list[Plan]:
    """Plans from a calibration of the very clip, at each cost of TESTED."""
    setting, number = job
    found = []
    for count in map(setting.count, TESTED):
        planner = Planner(replays(setting, number, [as_quick(setting, count)], REPLAYS))
        found.append(Ours(setting, planner, planner).at_cost(planner, count))
    return found


def predictions(setting: Setting, ours: Ours, clips: Sequence[int]) -> tuple[list[dict], dict]:
    """(every plan beside what it gave, how well predictions hold)."""
    choices = [choice for count in PREDICTED_AT for choice in ours.planner.candidates(setting.count(count))]
    ways = [Row(describe(plan), "ours", len(plan.schedule), plan=plan) for plan in map(ours.plan, choices)]
    films, rows = filmed(setting, clips, ways), []
    for way in ways:
        error, cost = (float(np.mean([film[way.key][key] for film in films])) for key in ("error", "cost_full_steps"))
        told = way.plan.predicted
        rows.append({"plan": way.name, "alpha": way.plan.alpha, "error_predicted": told.error, "error_measured": error,
                     "speedup_predicted": told.speedup, "speedup_counted": setting.steps / cost})  # fmt: skip
    rank = spearmanr([row["error_predicted"] for row in rows], [row["error_measured"] for row in rows]).statistic
    off = [abs(row["speedup_predicted"] / row["speedup_counted"] - 1) for row in rows]
    factors = [row["error_predicted"] / row["error_measured"] for row in rows]
    return rows, {"plans": len(rows), "rank_correlation": round(float(rank), 4), "speed_off_most": round(max(off), 4),
                  "error_factor_least": round(min(factors), 3), "error_factor_most": round(max(factors), 3)}  # fmt: skip


def losses(pair: str, steps: int, count: int, there: Films, own: Films) -> list[dict]:
    """dB that a plan loses where it was not made, paired over clips. Films: of one way each."""
    table = []
    for figure in FIGURES:
        values = ([next(iter(film.values()))[figure] for film in films] for films in (own, there))
        mean, low, high = (round(value, 2) for value in interval(np.subtract(*values)))
        table.append({"pair": pair, "steps": steps, "computed_steps": count, "figure": figure, "lost_db": mean,
                      "low_db": low, "high_db": high})  # fmt: skip
    return table


def elsewhere(setting: Setting, ours: Ours, clips: Sequence[int]) -> list[dict]:
    """What plans lose on other clips, and at other numbers of steps."""
    table, counts = [], [setting.count(count) for count in TESTED]
    own = on_all_cores(own_plans, [(setting, clip) for clip in clips], f"{setting.name}: the clips' own plans")
    for index, count in enumerate(counts):
        there = filmed(setting, clips, [Row("planned", "ours", count, plan=ours.at_cost(ours.planner, count))])
        jobs = [(setting, clip, [Row("own", "ours", count, plan=plans[index])]) for clip, plans in zip(clips, own)]
        made = on_all_cores(film, jobs, f"{setting.name}: the clips' own plans")
        table += losses("plan of other clips against the clip's own", setting.steps, count, there, made)
    for share in OTHER_STEPS:
        other = replace(setting, steps=round(share * setting.steps))
        made = calibrated(other)
        for count in counts:
            plan = ours.at_cost(ours.planner, count)
            kept = len(moved(plan, other.evaluated)[0])
            here = filmed(other, clips, [Row("made there", "ours", kept, plan=made.at_cost(made.planner, kept))])
            table += losses(f"plan of {setting.steps} steps against one made there", other.steps, kept,
                            filmed(other, clips, [Row("moved", "ours", kept, plan=plan)]), here)  # fmt: skip
    return table


def missed(name: str, held: dict, lost: Sequence[dict]) -> Iterator[str]:
    if held["rank_correlation"] < RANK:
        yield f"{name}: rank correlation of predicted and measured error is {held['rank_correlation']}, required {RANK}"
    if held["speed_off_most"] > SPEED_SHARE:
        yield f"{name}: predicted speed is off by {held['speed_off_most']:.1%}, allowed {SPEED_SHARE:.0%}"
    for row in lost:
        if row["lost_db"] > MOST_LOSS_DB:
            where = f"{name}: {row['pair']}, {row['computed_steps']} of {row['steps']} steps"
            yield f"{where}: {row['lost_db']} dB lost in {row['figure']}, allowed {MOST_LOSS_DB:g}"


def tables(setting: Setting, clips: Sequence[int]) -> tuple[dict[str, list[dict]], list[str]]:
    """The tables of one setting, and what falls short."""
    ours = calibrated(setting)
    rows, held = predictions(setting, ours, clips)
    lost = elsewhere(setting, ours, clips)
    shown = {"predicted and measured": rows, "how well predictions hold": [held], "what plans lose elsewhere": lost}
    return {f"{setting.name}: {title}": found for title, found in shown.items()}, list(missed(setting.name, held, lost))
