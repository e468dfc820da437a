"""What a calibration run measured, as far as planning needs it: sigmas, Gram matrices, costs and sizes. No torch.

A *track* is one recorded quantity per evaluation, by level ("output" = the velocity after CFG, "residual" = the summed
residuals of the segments) and region ("whole", "human").
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import ClassVar

import numpy as np

from ..config import LEVELS
from ..errors import BadConfig, BadInput
from ..files.checked import build, check_choice, check_number, check_numbers, check_text, parse, shown
from ..model.cost import CostModel, cache_bytes
from ..model.layout import AUDIO, Layout
from ..model.samplers import Sampler
from .plan import Plan, RunFacts, check, check_boundaries, fingerprint
from .trajectory import Trajectory, displacement, square_root, trajectory

FORMAT, VERSION = "synccache-calibration", 1
MAX_STEPS, MAX_BLOCKS, MAX_REPLAYS = 200, 1000, 64
REGIONS = ("whole", "human")


@dataclass(frozen=True)
class Recording:
    """One calibration, or several merged ones.

    grams: (level, region) -> [T, T], <y_s, y_t> over the region's tokens. audio: Gram [M, M] of the drift dA_l of the audio
    deltas over the gaps of a typical plan, over the mask, in units of the summed residuals; None = not recorded.
    residual_bytes: one stored residual, all branches. output_bytes: one stored output. shares: measured cost of a reused
    step over a computed one, by level: for what is shown, never for what is chosen. replays: plans that were sampled right
    afterwards, with what they were predicted to give and what they gave, see replay.py. boundaries: groups of segments for
    the paper's preset, see gamma.py, () = not known.
    """

    adapter: str
    run: RunFacts
    cost: CostModel
    grams: dict[tuple[str, str], np.ndarray]
    audio: np.ndarray | None
    residual_bytes: int
    output_bytes: int
    shares: dict[str, float] = field(default_factory=dict)
    replays: tuple[Plan, ...] = ()
    count: int = 1
    boundaries: tuple[tuple[int, ...], ...] = ()

    MAX_BYTES: ClassVar[int] = 1 << 25

    def __post_init__(self):
        check_text("adapter", self.adapter, 80)
        steps = len(self.run.sigmas) - 1
        if self.run.evaluations != 1 or steps > MAX_STEPS or any(a <= b for a, b in pairwise(self.run.sigmas)):
            raise BadInput(
                f"a calibration needs at most {MAX_STEPS} strictly falling sigmas, one evaluation per step as euler has; "
                f"got {shown(self.run.sampler)} with {steps}"
            )
        if not any(level == "output" for level, _ in self.grams):
            raise BadInput("grams must hold the level output")
        for (level, region), gram in self.grams.items():
            check_choice("grams: level", level, LEVELS)
            check_choice("grams: region", region, REGIONS)
            _check_gram(f"grams of {level}/{region}", gram, steps)
            if (level, "whole") not in self.grams:
                raise BadInput(f"grams must hold {level}/whole beside {level}/{region}")
        if self.audio is not None:
            _check_gram("audio", self.audio, len(self.layout.refresh))
        for name in ("residual_bytes", "output_bytes"):
            check_number(name, getattr(self, name), 0, 1 << 50, whole=True)
        for name in ("block", "refresh", "other", "keys"):
            check_number(f"cost.{name}", getattr(self.cost, name), 0.0, 1e30)
        check_number("cost.probe", self.cost.probe, 0.0, 1e30, optional=True)
        if not self.cost.full > 0:
            raise BadInput("cost must not be 0 altogether")
        _check_shares(self.shares)
        _check_replays(self)
        check_number("count", self.count, 1, 1_000_000, whole=True)
        check_boundaries(self.boundaries, self.layout.storable())

    @property
    def layout(self) -> Layout:
        return self.cost.layout

    @property
    def steps(self) -> int:
        return self.run.steps

    @property
    def levels(self) -> tuple[str, ...]:
        return tuple(level for level in LEVELS if (level, "whole") in self.grams)

    def trajectory(self, level: str, human_weight: float = 0.0) -> Trajectory:
        """Errors along it weigh the human region's relative error by human_weight, where it was recorded."""
        sigmas = np.array(self.run.sigmas)
        whole, human = self.grams[level, "whole"], self.grams.get((level, "human"))
        if human is None or not displacement(human, sigmas) > 0:
            return trajectory(whole, sigmas)
        return trajectory(human_weight * _unit(human, sigmas) + (1 - human_weight) * _unit(whole, sigmas), sigmas)

    def displacement(self, region: str) -> float:
        """How far the region's output went from noise to the result, in units of the sampler's x."""
        return displacement(self.grams["output", region], np.array(self.run.sigmas))

    def reuse_share(self, level: str, groups: int) -> float:
        """Cost of a reused step over a computed one, by operation count: what is planned depends on no clock."""
        return self.cost.share(level, groups, "freeze", True)

    def bytes(self, level: str, groups: int, order: int, correction: bool) -> int:
        """Held by the cache, see `cost.cache_bytes`."""
        held = Sampler(self.run.sampler).held_for_correction if correction else 0
        return cache_bytes(self.residual_bytes, self.output_bytes, level, groups, order, held)

    def to_json(self) -> str:
        cost = {name: value for name, value in vars(self.cost).items() if name != "layout" and value is not None}
        data = {
            "format": FORMAT, "version": VERSION, "adapter": self.adapter, "run": asdict(self.run), "cost": cost,
            "layout": asdict(self.layout), "audio": None if self.audio is None else self.audio.tolist(),
            "grams": {"/".join(track): gram.tolist() for track, gram in self.grams.items()},
            "residual_bytes": self.residual_bytes, "output_bytes": self.output_bytes,
            "shares": self.shares, "count": self.count, "boundaries": self.boundaries,
            "replays": [json.loads(plan.to_json()) for plan in self.replays],
        }
        return json.dumps(data, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Recording":
        """Raises BadInput for anything that is not a sound calibration of this version."""
        data = parse(text, cls.MAX_BYTES)
        if data.pop("format", None) != FORMAT or data.pop("version", None) != VERSION:
            raise BadInput(f"not a SyncCache calibration of version {VERSION}")
        data["run"] = build(RunFacts, data.get("run"), "run")
        data["cost"] = _cost(data.pop("layout", None), data.get("cost"))
        grams = data.get("grams")
        if not isinstance(grams, dict):
            raise BadInput(f"grams must be an object, got {shown(grams)}")
        data["grams"] = {
            (track.partition("/")[0], track.partition("/")[2]): _matrix(f"grams of {shown(track)}", rows)
            for track, rows in grams.items()
        }
        data["audio"] = None if data.get("audio") is None else _matrix("audio", data["audio"])
        replays = data.get("replays", [])
        if not isinstance(replays, list) or not all(isinstance(plan, dict) for plan in replays):
            raise BadInput(f"replays must be a list of plans, got {shown(replays)}")
        data["replays"] = [Plan.from_dict(plan) for plan in replays]
        return build(cls, data, "the calibration")


def merge(recordings: Sequence[Recording]) -> Recording:
    """One recording that stands for several of the same model, sigmas and levels; each weighs by its count.

    Grams are averaged in units of their displacement, so that no clip counts for more because it moves further.
    Raises BadInput where the recordings differ in kind.
    """
    if not recordings:
        raise BadInput("there is no calibration to merge")
    if len(recordings) == 1:
        return recordings[0]
    first, weights = recordings[0], np.array([r.count for r in recordings], dtype=np.float64)
    for other in recordings[1:]:
        _check_alike(first, other)
    sigmas, weights = np.array(first.run.sigmas), weights / weights.sum()

    def mean(values):
        return sum(w * v for w, v in zip(weights, values))

    def common(name):
        tables = [getattr(r, name) for r in recordings]
        return {level: float(mean([t[level] for t in tables])) for level in tables[0] if all(level in t for t in tables)}

    grams = {track: mean([_unit(r.grams[track], sigmas) for r in recordings]) for track in first.grams}
    audio = None if any(r.audio is None for r in recordings) else mean([r.audio for r in recordings])
    return replace(
        first, grams=grams, audio=audio, shares=common("shares"), count=sum(r.count for r in recordings),
        replays=tuple(plan for r in recordings for plan in r.replays)[-MAX_REPLAYS:],
    )


def _unit(gram: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """In units of the displacement; a region that does not move stays as it is."""
    return gram / (displacement(gram, sigmas) ** 2 or 1.0)


def _check_alike(first: Recording, other: Recording) -> None:
    pairs = {
        "adapter": (first.adapter, other.adapter),
        "layout": (fingerprint(first.layout), fingerprint(other.layout)),
        "tracks": (sorted(first.grams), sorted(other.grams)),
        "steps": (first.steps, other.steps),
    }
    for name, (one, two) in pairs.items():
        if one != two:
            raise BadInput(f"calibrations of different {name} do not merge: {shown(one)} and {shown(two)}")
    if not np.allclose(first.run.sigmas, other.run.sigmas, rtol=1e-6):
        raise BadInput("calibrations at different sigmas do not merge: calibrate with the same steps and shift")


def _check_gram(where: str, gram: np.ndarray, size: int) -> None:
    if np.shape(gram) != (size, size):
        raise BadInput(f"{where} must be {size} by {size}, got {list(np.shape(gram))}")
    try:
        square_root(gram)
    except BadConfig as error:
        raise BadInput(f"{where}: {error}") from None


def _check_shares(shares: dict[str, float]) -> None:
    if not isinstance(shares, dict):
        raise BadInput(f"shares must be an object, got {shown(shares)}")
    for level, value in shares.items():
        check_choice("shares: level", level, LEVELS)
        check_number(f"shares.{level}", value, 0.0, 1.0)


def _check_replays(recording: Recording) -> None:
    if len(recording.replays) > MAX_REPLAYS:
        raise BadInput(f"{len(recording.replays)} replays are too many, at most {MAX_REPLAYS} are read")
    for plan in recording.replays:
        check(plan, recording.adapter, recording.layout)
        if plan.measured is None or not plan.measured.speedup > 0:
            raise BadInput("a replay must hold what was measured")


def _cost(layout: object, cost: object) -> CostModel:
    """From the layout's and the cost's JSON objects, with their sizes bounded before anything is built from them."""
    wanted = {"layout": ({"blocks", "refresh", "audio"}, set()), "cost": ({"block", "refresh", "other"}, {"probe", "keys"})}
    for (name, (keys, more)), value in zip(wanted.items(), (layout, cost)):
        if not isinstance(value, dict) or set(value) - more != keys:
            raise BadInput(f"{name} must be an object with {', '.join(sorted(keys))}, got {shown(value)}")
    check_number("layout.blocks", layout["blocks"], 0, MAX_BLOCKS, whole=True)
    check_choice("layout.audio", layout["audio"], AUDIO)
    refresh = tuple(layout["refresh"]) if isinstance(layout["refresh"], list) else layout["refresh"]
    if layout["blocks"] or refresh != ():
        check_numbers("layout.refresh", refresh, 0, MAX_BLOCKS, MAX_BLOCKS, whole=True)
    try:
        return CostModel(**cost, layout=Layout(layout["blocks"], refresh, layout["audio"]))
    except BadConfig as error:
        raise BadInput(f"layout: {error}") from None


def _matrix(where: str, rows: object) -> np.ndarray:
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == len(rows) for row in rows):
        raise BadInput(f"{where} must be a square list of lists")
    for position, row in enumerate(rows):
        check_numbers(f"{where}[{position}]", tuple(row), -1e300, 1e300, MAX_BLOCKS)
    return np.array(rows, dtype=np.float64)
