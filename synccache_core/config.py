"""Settings of a run, and what each may be."""

from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from .errors import BadConfig

AUTO, RESIDUAL, OUTPUT = "auto", "residual", "output"
LEVELS = (OUTPUT, RESIDUAL)
MERGES = ("refresh", "freeze")
SCHEDULE, PROBE = "schedule", "probe"
MAX_ORDER = 2
AUTO_ORDER = 1  # the highest that a backtest tries where nobody asks for more
# Evenness in sigma against evenness in index, see `decide.schedules.blended`.
HUMAN_WEIGHT = 0.75  # lambda, of the human region's relative error against the background's
# Extrapolating far from anchors that lie close together multiplies whatever is rough in them. sum |w| is that factor; a
# line may reach 4 times the distance of its anchors, a parabola of equal steps once. Beyond it the order falls.
MAX_GAIN = 9.0


@dataclass(frozen=True)
class Config:
    """Settings of one run; every field is checked, and an error names the field, its value and its range.

    target_speedup: wanted speed of the sampling loop, 1 = off. cache_ratio: share rho of the M residuals that get memory
    of their own, None = what is usual for the layout. forecast_order: 0 reuse, 1 line, 2 parabola, in steps; with backtest
    the highest that is tried, and each gap takes the order that forecast the last computed evaluation best. max_gain: bound
    on how far a forecast reaches.
    memory_budget: bytes that stored residuals may take, with what is kept of the states inside their segments and, at level
    "output", with the outputs; None = no limit. Outputs that correction holds beside residuals are no part of it, they are
    small. cache_device: "same" as the model's, or "cpu" (pinned where there is a GPU). max_reuse_run: longest run of reused
    evaluations. force_last: compute the last step whatever the schedule says.

    choose: what decides which evaluations are computed. "schedule": a fixed one for the target speed, `schedules.blended`
    with alpha (None = by the shift), or the one given as `schedule`, per evaluation True = compute. With `adapt` it is laid
    out anew behind a first gap that shows little change, `schedules.evened`. "probe": the change that the first segment
    shows, accumulated until it passes a threshold, the given one or one that is steered to the target speed.
    warmup: evaluations always computed at the start, None = 1 on a schedule, else max(2, 15 %), at most a quarter of the
    budget. omega: weight of the human tokens in the probe, the background's being 1 (the paper's; it uses 2). Without it,
    human_weight: lambda of a probe that weighs the change of either region by itself.

    live: evaluations at which only the human's tokens go through the blocks: True = as many as the speed allows beside the
    computed ones, or, with a schedule, all that it does not compute; or per evaluation. At level "output" residuals are
    stored for them as well. It needs a human mask. live_reach: tokens by which that is widened in each frame.

    level: what is reused, the segments' residuals with fresh audio, or the model's output after guidance, the model not
    called; "auto": see `level_for`. correction: retro-correction, see corrector.py. groups: segments 1, 2, ... that share a
    stored residual, None = even ones by cache_ratio. merge: the audio refreshes inside a group still run, or are frozen into
    its residual. probe: whether segment 0 is computed at a reused evaluation; without, it has a residual of its own.
    """

    target_speedup: float = 3.0
    cache_ratio: float | None = 1.0
    forecast_order: int = 1
    max_gain: float = MAX_GAIN
    warmup: int | None = None
    human_weight: float = HUMAN_WEIGHT
    memory_budget: int | None = None
    cache_device: Literal["same", "cpu"] = "same"
    threshold: float | None = None
    max_reuse_run: int = 32
    schedule: tuple[bool, ...] | None = None
    adapt: bool = False
    # Not in the repr, by which `bench` finds figures again that were measured when there was no LIVE.
    live: bool | tuple[bool, ...] = field(default=False, repr=False)
    live_reach: int = field(default=1, repr=False)
    force_last: bool = True
    choose: Literal["schedule", "probe"] = SCHEDULE
    alpha: float | None = None
    omega: float | None = None
    backtest: bool = False
    level: Literal["auto", "residual", "output"] = RESIDUAL
    correction: bool = False
    groups: tuple[tuple[int, ...], ...] | None = None
    merge: Literal["refresh", "freeze"] = "freeze"
    probe: bool = True

    def __post_init__(self):
        _check("target_speedup", self.target_speedup, 1.0, 100.0)
        _check("cache_ratio", self.cache_ratio, 0.0, 1.0, optional=True)
        _check("forecast_order", self.forecast_order, 0, MAX_ORDER, whole=True)
        _check("max_gain", self.max_gain, 1.0, 1e9)
        _check("warmup", self.warmup, 0, 10_000, whole=True, optional=True)
        _check("human_weight", self.human_weight, 0.0, 1.0)
        _check("memory_budget", self.memory_budget, 0, 1 << 50, whole=True, optional=True)
        _check("threshold", self.threshold, 0.0, 1e9, optional=True)
        _check("max_reuse_run", self.max_reuse_run, 1, 10_000, whole=True)
        _check("alpha", self.alpha, 0.0, 1.0, optional=True)
        _check("live_reach", self.live_reach, 0, 100, whole=True)
        _check("omega", self.omega, 1.0, 1000.0, optional=True)
        for name, allowed in (("cache_device", ("same", "cpu")), ("level", (AUTO, *LEVELS)), ("merge", MERGES),
                              ("choose", (SCHEDULE, PROBE))):  # fmt: skip
            _check_choice(name, getattr(self, name), allowed)
        for name in ("force_last", "correction", "probe", "backtest", "adapt"):
            _check_choice(name, getattr(self, name), (True, False))
        _check_schedule("schedule", self.schedule)
        if not isinstance(self.live, bool):
            _check_schedule("live", self.live)
        _check_groups(self.groups)
        if self.probe_decides and (self.level == OUTPUT or not self.probe):
            raise BadConfig(
                f"choose 'probe' needs the probe of level 'residual', got level {self.level!r} with probe {self.probe}"
            )
        if self.threshold is not None and self.choose != PROBE:
            raise BadConfig(f"threshold is for choose 'probe', got threshold {self.threshold!r} with choose {self.choose!r}")
        if self.level == OUTPUT and self.groups and not self.live:
            raise BadConfig(f"groups must be None at level 'output', where no residual is stored; got {self.groups!r}")

    @property
    def off(self) -> bool:
        return self.target_speedup <= 1.0 and self.threshold is None and self.schedule is None

    @property
    def probe_decides(self) -> bool:
        """Whether the probe decides."""
        return self.choose == PROBE and self.schedule is None

    def settled(self, layout) -> "Config":
        """With what was left to the model, whose `Layout` this is."""
        level = (OUTPUT if layout.unknown else RESIDUAL) if self.level == AUTO else self.level
        ratio = layout.usual_ratio if self.cache_ratio is None else self.cache_ratio
        return replace(self, level=level, cache_ratio=ratio)

    @property
    def runs_probe(self) -> bool:
        """Whether segment 0 is computed at a reused evaluation."""
        return self.level == RESIDUAL and self.probe

    @property
    def stores(self) -> bool:
        """Whether residuals are stored."""
        return self.level == RESIDUAL or bool(self.live)

    def to_dict(self) -> dict:
        return {each.name: getattr(self, each.name) for each in fields(self)}


def _check(name: str, value, low, high, whole: bool = False, optional: bool = False) -> None:
    if value is None and optional:
        return
    # A whole float would index nothing and count nothing later, in the midst of a run.
    number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high:  # which NaN and infinity are not either
        kind = "a whole number" if whole else "a number"
        raise BadConfig(f"{name} must be {kind} in {low}..{high}, got {value!r}")


def _check_choice(name: str, value, allowed: Collection) -> None:
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in allowed):
        raise BadConfig(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def _check_schedule(name: str, schedule) -> None:
    if schedule is not None and not (isinstance(schedule, tuple) and all(isinstance(s, bool) for s in schedule)):
        otherwise = "None" if name == "schedule" else "one of them"
        raise BadConfig(f"{name} must be a tuple of True and False, or {otherwise}, got {schedule!r}")


def _check_groups(groups) -> None:
    """Segments 1, 2, ... in order, in tuples that are not empty; whether they fit the layout is seen when it is known."""
    if groups is None:
        return
    sound = isinstance(groups, tuple) and groups and all(isinstance(group, tuple) and group for group in groups)
    members = [segment for group in groups for segment in group] if sound else []
    if not sound or members != list(range(1, len(members) + 1)) or any(type(segment) is not int for segment in members):
        raise BadConfig(f"groups must be a tuple of tuples of the segments 1, 2, ... in order, or None, got {groups!r}")
