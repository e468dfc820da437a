"""Ways that need no calibration: our presets, the paper's settings, simple reuse, fewer steps where presets compute."""

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


def scheduled(name: str, group: str, setting: Setting, computed: int, count: int, alpha: float | None, **settings) -> Row:
    """Reuse at a schedule: evenly in index (alpha 0) or in sigma (1), or the presets' (None)."""
    chosen = {} if alpha is None else {"alpha": alpha}
    steps = set(blended(setting.evaluated, computed, **chosen))
    mask = tuple(step in steps for step in range(setting.steps))
    return Row(name, group, count, config=Config(schedule=mask, **{"forecast_order": AUTO_ORDER, **settings}))


def presets(setting: Setting, speed: float, count: int) -> list[Row]:
    """The preset for a speed, which reuses outputs on models this small, and what it does on Wan2.2-S2V-14B."""
    level, fewer = at_14b(setting, speed, count)
    return [scheduled(OURS[0], "ours", setting, count, count, None, level="output", **PRESET),
            scheduled(OURS[1], "ours", setting, fewer, count, None, level=level, **PRESET)]  # fmt: skip


def at_14b(setting: Setting, speed: float, count: int) -> tuple[str, int]:
    """Level and computed steps of the preset at the prices of Wan2.2-S2V-14B."""
    level = level_for(Config(target_speedup=speed, level="auto"), WAN_14B, setting.steps).level
    return level, WAN_14B.computed_steps(setting.steps, speed) if level == "residual" else count


def paper(setting: Setting, speed: float, count: int, cost: CostModel, name: str = PAPER) -> Row:
    """The paper's settings, steered to as many computed steps as its speed leaves there. cost: of the model measured."""
    steered = Config(target_speedup=cost.speedup(setting.steps, at_14b(setting, speed, count)[1]))
    return Row(name, "paper", count, config=paper_config(steered, cost.layout))


def evenly(setting: Setting, count: int) -> list[Row]:
    """Outputs reused between evenly spread steps."""
    return [scheduled(f"{words}, outputs, order {order}", "shown" if alpha else "rival", setting, count, count, alpha,
                      level="output", forecast_order=order)
            for words, alpha in (("even", 0.0), ("even in sigma", 1.0)) for order in (0, 1)]  # fmt: skip


def own_sigmas(setting: Setting, count: int) -> Row:
    """Fewer steps, where the preset would compute, as far as it is known before a run: `schedules.evened` may move them."""
    sigmas = (*(setting.sigmas[step] for step in blended(setting.evaluated, count)), setting.sigmas[-1])
    return Row(OWN, "shown", count, sigmas=sigmas, sampler=setting.sampler)
