"""The presets' way of reusing with one thing changed, for `bench.parts`; the paper's with one thing changed, too."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from demo.table import WAN_14B
from synccache_core import Config
from synccache_core.config import AUTO_ORDER, PROBE
from synccache_core.decide.paper import OMEGA, SPEEDUP, stored
from synccache_core.decide.schedules import blended
from synccache_core.model.layout import even_groups
from synccache_core.planning.planner import Planner
from synccache_core.planning.recording import Recording
from synccache_core.planning.schedule import Variant

from .kept import plan
from .presets import PAPER_SPEED, PRESET, own_sigmas, paper
from .rows import Row
from .settings import Setting

RESIDUALS, OUTPUTS = "residuals", "outputs"
MASKS = {"masked": "human", "masked as in the portrait": "portrait", "masked wrongly": "wrong"}  # of `regions`
FEWER = "no cache, fewer steps"
LEVELS = {RESIDUALS: "residual", OUTPUTS: "output"}


@dataclass(frozen=True)
class Known:
    """What calibration clips say of a setting: merged recordings without a mask, and with one of each kind."""

    recording: Recording
    masked: dict[str, Recording]

    def planned(self, level: str, count: int, mask: str = "") -> tuple[int, ...]:
        """Steps to compute, by the dynamic programme."""
        solution = Planner(self.masked[mask] if mask else self.recording).solve(Variant(LEVELS[level], AUTO_ORDER, True))
        return solution.schedules[count]


def way(setting: Setting, name: str, count: int, steps: Sequence[int] | None = None, masked: bool = False, **changed) -> Row:
    """The presets' way at the level that the name begins with, but for what is changed. steps: None = the presets', which
    may move behind the first gap; others stay."""
    chosen = set(blended(setting.evaluated, count) if steps is None else steps)
    mask = tuple(step in chosen for step in range(setting.steps))
    level = LEVELS[name.partition(",")[0]]
    preset = {"level": level, "forecast_order": AUTO_ORDER, **PRESET, "adapt": steps is None}
    config = Config(**{"schedule": mask, **preset, **changed})
    return Row(name, "part", count, config=config, masked=masked)


def both(setting: Setting, name: str, count: int, known: Known) -> list[Row]:
    """What can be changed at either level."""
    orders = [(f"order {order}", {"forecast_order": order, "backtest": False}) for order in (0, 1, 2)]
    settings = [*orders, ("not corrected", {"correction": False}), ("unbounded", {"max_gain": 1e9}),
                ("not adapted", {"adapt": False})]  # fmt: skip
    steps = {f"alpha {alpha:g}": blended(setting.evaluated, count, alpha) for alpha in (0.5, 1.0)}
    steps |= {"warm-up 2": blended(setting.evaluated, count, warmup=2), "planned steps": known.planned(name, count)}
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
        fewer = WAN_14B.computed_steps(setting.steps, speed, WAN_14B.share("residual", layout.storable(), "refresh", probe))
        made.append(replace(way(setting, f"{RESIDUALS}, {name}", fewer, probe=probe), count=count))
    steered = {"schedule": None, "choose": PROBE, "target_speedup": known.recording.cost.speedup(setting.steps, count)}
    named = f"{RESIDUALS}, steps by probe"
    made.append(way(setting, named, count, **steered))
    for words, weight in (("omega 2", {"omega": OMEGA}), ("omega 4", {"omega": 2 * OMEGA}), ("weight 0.75", {})):
        made.append(way(setting, f"{named}, {words}", count, masked=True, **steered, **weight))
    for words, mask in MASKS.items():
        made.append(way(setting, f"{RESIDUALS}, planned steps, {words}", count, known.planned(RESIDUALS, count, mask)))
    return made


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
    fewer = replace(alone, name=FEWER, group="plain", sigmas=tuple(replace(setting, steps=count).sigmas))
    first = [*(each[0] for each in levels), plan(known.recording, speed, count), alone, fewer]
    own_speed = [paper(setting, SPEEDUP, count, known.recording.cost, PAPER_SPEED)] * (speed == round(SPEEDUP))
    rest = [*residuals(setting, speed, count, known), *(row for each in levels for row in each[1:])]
    return [*first, *papers(setting, count, known), *own_speed, *rest]


def computed(setting: Setting, speed: int) -> int:
    return max(2, round(setting.steps / speed))
