"""A plan: when to compute, what to reuse and how, as versioned JSON that anybody may have written."""

import json
import zlib
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from typing import ClassVar

from ..config import LEVELS, MAX_ORDER, MERGES
from ..errors import BadInput
from ..files.checked import build, check_bool, check_choice, check_number, check_numbers, check_text, parse, shown
from ..model.layout import Layout
from .trajectory import SKETCH

FORMAT, VERSION = "synccache-plan", 3
MAX_EVALUATIONS = 10_000
CACHE, PLAIN = KINDS = ("cache", "plain")


@dataclass(frozen=True)
class RunFacts:
    """The run that a plan was made for. sigmas: one per evaluation and the end, [E + 1], never rising.

    steps: of the sampler. evaluations: the most model evaluations that a step takes. tokens: of the video, 0 = unknown.
    """

    steps: int
    sigmas: tuple[float, ...]
    sampler: str
    cfg: float
    tokens: int = 0
    evaluations: int = 1
    shift: float | None = None

    def __post_init__(self):
        check_number("run.steps", self.steps, 1, MAX_EVALUATIONS, whole=True)
        check_number("run.evaluations", self.evaluations, 1, 100, whole=True)
        check_numbers("run.sigmas", self.sigmas, 0.0, 1e6, MAX_EVALUATIONS + 1)
        if any(a < b for a, b in pairwise(self.sigmas)) or not self.sigmas[0] > self.sigmas[-1]:
            raise BadInput(f"run.sigmas must fall, got {shown(self.sigmas)}")
        most = self.steps * self.evaluations
        if not self.steps <= len(self.sigmas) - 1 <= most:
            raise BadInput(f"run.sigmas must hold {self.steps + 1} to {most + 1} numbers, got {len(self.sigmas)}")
        check_text("run.sampler", self.sampler, 80)
        check_number("run.cfg", self.cfg, -1000.0, 1000.0)
        check_number("run.tokens", self.tokens, 0, 1 << 40, whole=True)
        check_number("run.shift", self.shift, 0.0, 1000.0, optional=True)


@dataclass(frozen=True)
class Budget:
    """What was asked for: a speed-up or a number of computed evaluations; a cache ratio, bytes or neither."""

    speedup: float | None = None
    computed: int | None = None
    cache_ratio: float | None = None
    bytes: int | None = None

    def __post_init__(self):
        check_number("budget.speedup", self.speedup, 1.0, 100.0, optional=True)
        check_number("budget.computed", self.computed, 1, MAX_EVALUATIONS, whole=True, optional=True)
        check_number("budget.cache_ratio", self.cache_ratio, 0.0, 1.0, optional=True)
        check_number("budget.bytes", self.bytes, 0, 1 << 50, whole=True, optional=True)
        if (self.speedup is None) == (self.computed is None):
            raise BadInput("budget must give either speedup or computed")
        if self.cache_ratio is not None and self.bytes is not None:
            raise BadInput("budget must give cache_ratio or bytes, not both")


@dataclass(frozen=True)
class Scores:
    """error: relative L2 of the final latent. speedup: of the sampling loop. bytes: held by the cache."""

    error: float
    speedup: float
    bytes: int

    def __post_init__(self):
        check_number("error", self.error, 0.0, 1e9)
        check_number("speedup", self.speedup, 0.0, 1e6)
        check_number("bytes", self.bytes, 0, 1 << 50, whole=True)


@dataclass(frozen=True)
class Provenance:
    """Where a plan comes from. version: of the pack. created: ISO 8601. recordings: calibration runs behind it."""

    version: str
    created: str
    recordings: int = 1
    note: str = ""

    def __post_init__(self):
        check_text("provenance.version", self.version, 40)
        check_text("provenance.created", self.created, 40)
        try:
            datetime.fromisoformat(self.created)
        except ValueError:
            raise BadInput(f"provenance.created must be an ISO date, got {shown(self.created)}") from None
        check_number("provenance.recordings", self.recordings, 0, 1_000_000, whole=True)
        check_text("provenance.note", self.note, 2000, least=0)


@dataclass(frozen=True)
class Plan:
    """adapter: name of the family. layout: `fingerprint` of the model's. schedule: computed evaluations, rising from 0.

    level, order, correction: see `schedule.Variant`. groups: see `layout.even_groups`; none at output level. merge: audio
    refreshes inside a group still run ("refresh") or are frozen into its residual ("freeze"). probe: whether segment 0 is
    computed on reused steps. measured: None until somebody has. sketch: what was planned from, see `gram.sketch`, to plan
    anew at other sigmas; () = not known.

    kind: "cache", or "plain": nothing is reused, the sampler takes the computed steps only, from one of their sigmas to the
    next; level "output", order 0, no correction. alpha: of `schedules.blended` where that made the schedule, None = planned.
    backtest: the order is the highest that a run tries, see `policy.Config`. boundaries: of the calibration, for the paper's
    preset alone.
    """

    adapter: str
    layout: str
    run: RunFacts
    budget: Budget
    schedule: tuple[int, ...]
    level: str
    order: int
    correction: bool
    groups: tuple[tuple[int, ...], ...]
    merge: str
    probe: bool
    predicted: Scores
    provenance: Provenance
    measured: Scores | None = None
    sketch: tuple[tuple[float, ...], ...] = ()
    kind: str = CACHE
    alpha: float | None = None
    backtest: bool = False
    boundaries: tuple[tuple[int, ...], ...] = ()

    MAX_BYTES: ClassVar[int] = 1 << 20

    def __post_init__(self):
        check_text("adapter", self.adapter, 80)
        check_text("layout", self.layout, 80)
        check_numbers("schedule", self.schedule, 0, self.evaluations - 1, self.evaluations, whole=True)
        if self.schedule[0] != 0 or any(a >= b for a, b in pairwise(self.schedule)):
            raise BadInput(f"schedule must rise from step 0, got {shown(self.schedule)}")
        check_choice("level", self.level, LEVELS)
        check_number("order", self.order, 0, MAX_ORDER, whole=True)
        check_bool("correction", self.correction)
        if self.correction and self.run.evaluations > 1:
            raise BadInput(f"correction must be false where a step takes {self.run.evaluations} evaluations, got True")
        if (self.level == "output") != (self.groups == ()):
            raise BadInput(f"groups must be empty at level output and only there, got {shown(self.groups)} at {self.level}")
        _check_groups("groups", self.groups)
        check_boundaries(self.boundaries, sum(map(len, self.groups)) or None)
        check_choice("merge", self.merge, MERGES)
        check_bool("probe", self.probe)
        _check_sketch(self.sketch, self.evaluations)
        check_choice("kind", self.kind, KINDS)
        check_number("alpha", self.alpha, 0.0, 1.0, optional=True)
        check_bool("backtest", self.backtest)
        if self.plain and (self.level, self.order, self.correction, self.run.evaluations) != ("output", 0, False, 1):
            raise BadInput("a plain plan reuses nothing: level must be output, order 0, correction false, evaluations 1")

    @property
    def plain(self) -> bool:
        return self.kind == PLAIN

    @property
    def own_sigmas(self) -> tuple[float, ...]:
        """Sigmas of the computed evaluations and the end, [n + 1]: what a plain run goes over."""
        return (*(self.run.sigmas[step] for step in self.schedule), self.run.sigmas[-1])

    @property
    def evaluations(self) -> int:
        return len(self.run.sigmas) - 1

    @property
    def mask(self) -> tuple[bool, ...]:
        """Per evaluation True = compute, as `policy.Config.schedule` takes it."""
        computed = set(self.schedule)
        return tuple(t in computed for t in range(self.evaluations))

    def to_json(self) -> str:
        """One line per field."""
        data = {"format": FORMAT, "version": VERSION, **asdict(self)}
        for name in ("sketch", "boundaries"):
            if not data[name]:
                del data[name]
        lines = (f" {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in data.items())
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Raises BadInput for anything that is not a sound plan of this version or an older one."""
        return cls.from_dict(parse(text, cls.MAX_BYTES))

    @classmethod
    def from_dict(cls, data: dict) -> "Plan":
        """From its JSON object, which is used up. Raises BadInput."""
        data = _current(data)
        parts = {"run": RunFacts, "budget": Budget, "predicted": Scores, "measured": Scores, "provenance": Provenance}
        for name, kind in parts.items():
            if data.get(name) is not None:
                data[name] = build(kind, data[name], name)
            elif name in data and name != "measured":
                raise BadInput(f"{name} must be an object, got None")
        return build(cls, data, "the plan")


def _check_sketch(sketch: object, steps: int) -> None:
    """Nothing, or a row of equally many numbers per evaluation."""
    if sketch == ():
        return
    if not isinstance(sketch, tuple) or len(sketch) != steps:
        raise BadInput(f"sketch must hold {steps} rows or none, got {shown(sketch)}")
    for position, row in enumerate(sketch):
        check_numbers(f"sketch[{position}]", row, -1e6, 1e6, SKETCH)
        if len(row) != len(sketch[0]):
            raise BadInput(f"sketch[{position}] must hold {len(sketch[0])} numbers as the first row does, got {len(row)}")


def check_boundaries(groups: object, segments: int | None) -> None:
    """None, or those of all `segments`, where their number is known. Raises BadInput."""
    _check_groups("boundaries", groups)
    if groups and segments and sum(map(len, groups)) != segments:
        raise BadInput(f"boundaries must hold {segments} segments, got {shown(groups)}")


def _check_groups(name: str, groups: object) -> None:
    """Contiguous runs of segments from 1 on."""
    if not isinstance(groups, tuple):
        raise BadInput(f"{name} must be a list of lists, got {shown(groups)}")
    for position, group in enumerate(groups):
        check_numbers(f"{name}[{position}]", group, 1, MAX_EVALUATIONS, MAX_EVALUATIONS, whole=True)
    members = [segment for group in groups for segment in group]
    if members != list(range(1, len(members) + 1)):
        raise BadInput(f"{name} must hold the segments 1, 2, ... in order, got {shown(groups)}")


def _current(data: dict) -> dict:
    """Check the format and bring an older version up to this one."""
    if data.pop("format", None) != FORMAT:
        raise BadInput(f"not a SyncCache plan: format must be {FORMAT!r}")
    version = data.pop("version", None)
    check_number("version", version, 1, 1_000_000, whole=True)
    if version > VERSION:
        raise BadInput(f"the plan has version {version}, this SyncCache reads up to {VERSION}: please update SyncCache")
    for step in MIGRATIONS[version - 1 :]:
        data = step(data)
    return data


def _from_1(data: dict) -> dict:
    """Version 1 knew no correction, no merge variants, and gave the budget as two numbers."""
    for name in ("computed_steps", "speedup", "cache_ratio"):
        if name not in data:
            raise BadInput(f"the plan of version 1 lacks the field {name!r}")
    schedule, speedup, ratio = data.pop("computed_steps"), data.pop("speedup"), data.pop("cache_ratio")
    budget = {"speedup": speedup, "cache_ratio": ratio}
    return {**data, "schedule": schedule, "budget": budget, "correction": False, "merge": "refresh", "probe": True}


MIGRATIONS = (_from_1, lambda data: data)  # version 2 knew no plain plans; nothing in it has changed


def fingerprint(layout: Layout) -> str:
    """Blocks, number of refreshes and a checksum of where they are: "after-40x12-1c291ca3"."""
    places = f"{layout.audio} {layout.blocks} {list(layout.refresh)}"
    return f"{layout.audio}-{layout.blocks}x{len(layout.refresh)}-{zlib.crc32(places.encode()):08x}"


def check(plan: Plan, adapter: str, layout: Layout) -> None:
    """Raises BadInput, with both names, where a plan was made for another model family or layout."""
    if plan.adapter != adapter:
        raise BadInput(f"the plan was made for {shown(plan.adapter)}, this model is {shown(adapter)}")
    if plan.layout != fingerprint(layout):
        raise BadInput(f"the plan was made for the layout {shown(plan.layout)}, this model has {fingerprint(layout)!r}")
    for name in ("groups", "boundaries"):
        stored = sum(map(len, getattr(plan, name)))
        if stored not in (0, layout.storable()):
            raise BadInput(f"{name} hold {stored} segments, this model has {layout.storable()}")
