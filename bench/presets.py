"""Ways that need no calibration: our presets, the paper's settings, simple reuse, fewer steps where presets compute."""

from collections.abc import Iterable

import numpy as np

from demo.table import WAN_14B
from synccache_core import Config, CostModel
from synccache_core.config import AUTO_ORDER
from synccache_core.decide.paper import SPEEDUP, paper_config
from synccache_core.decide.policy import level_for
from synccache_core.decide.schedules import blended

from .rows import Row
from .settings import Setting

OURS = ("preset", "preset at 14B's prices")
PAPER, PAPER_SPEED = "paper preset", f"paper preset at {SPEEDUP:g}x"
OWN = "plain, same sampler at the preset's sigmas"
PRESET = {"backtest": True, "adapt": True, "correction": True}  # what the node sets beside level and steps


def scheduled(name: str, group: str, setting: Setting, steps: Iterable[int], count: int, **settings) -> Row:
    """Reuse between these computed steps."""
    chosen = set(steps)
    mask = tuple(step in chosen for step in range(setting.steps))
    return Row(name, group, count, config=Config(schedule=mask, **{"forecast_order": AUTO_ORDER, **settings}))


def presets(setting: Setting, speed: float, count: int) -> list[Row]:
    """The preset for a speed, which reuses outputs on models this small, and what it does on Wan2.2-S2V-14B."""
    level, fewer = at_14b(setting, speed, count)
    here, there = (blended(setting.evaluated, computed) for computed in (count, fewer))
    return [scheduled(OURS[0], "ours", setting, here, count, level="output", **PRESET),
            scheduled(OURS[1], "ours", setting, there, count, level=level, **PRESET)]  # fmt: skip


def at_14b(setting: Setting, speed: float, count: int) -> tuple[str, int]:
    """Level and computed steps of the preset at the prices of Wan2.2-S2V-14B."""
    level = level_for(Config(target_speedup=speed, level="auto"), WAN_14B, setting.steps).level
    return level, WAN_14B.computed_steps(setting.steps, speed) if level == "residual" else count


def paper(setting: Setting, speed: float, count: int, cost: CostModel, name: str = PAPER) -> Row:
    """The paper's settings, steered to as many computed steps as its speed leaves there. cost: of the model measured."""
    steered = Config(target_speedup=cost.speedup(setting.steps, at_14b(setting, speed, count)[1]))
    return Row(name, "paper", count, config=paper_config(steered, cost.layout))


def evenly(setting: Setting, count: int) -> list[Row]:
    """Outputs reused between evenly spread steps, of two those that we would take."""
    index, sigma = (blended(setting.evaluated, count, alpha) for alpha in (0.0, 1.0))
    index = index if count == 2 else np.linspace(0, setting.steps - 1, count).round().astype(int).tolist()
    kinds = (("even", "rival", index), ("even in sigma", "shown", sigma))
    return [scheduled(f"{words}, outputs, order {order}", group, setting, steps, count, level="output", forecast_order=order)
            for words, group, steps in kinds for order in (0, 1)]  # fmt: skip


def own_sigmas(setting: Setting, count: int) -> Row:
    """Fewer steps, where the preset would compute, as far as it is known before a run: `schedules.evened` may move them."""
    sigmas = (*(setting.sigmas[step] for step in blended(setting.evaluated, count)), setting.sigmas[-1])
    return Row(OWN, "shown", count, sigmas=sigmas, sampler=setting.sampler)
