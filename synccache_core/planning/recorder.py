"""Calibration: a run in which everything is computed, and what planning needs of it is measured.

Per evaluation: the velocity after guidance, the residuals of all segments but the probe summed (without audio, video tokens,
every branch), the audio deltas A_l = z_l - u_l of the refreshes, seconds. Memory, all of it in the host and in float32: the
outputs and the residuals of all steps at most LIMIT each, the audio deltas of two steps at most LIMIT together, for up to
two branches and in proportion for more (BRANCHES at most); beyond that, a random subset of positions stands for all.
"""

import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F

from ..config import AUTO, HUMAN_WEIGHT, Config
from ..decide.paper import stored
from ..errors import StateError
from ..model.grid import Grid
from ..run.call import Call
from ..run.evaluation import Evaluation, wait_for
from ..run.session import Session
from ..run.state import RunState
from ..sentences import say
from .gamma import Gamma, boundaries
from .plan import RunFacts
from .recording import REGIONS, Recording
from .replays import Yardstick, landing
from .subset import Subset, Track
from .trajectory import displacement

LIMIT = 256 << 20  # bytes
TOKENS = 512
BRANCHES = 4
STRIDE = 4  # every so many steps the audio deltas are taken as computed, those between as reused: a plan of speed 3 to 4


class CalibrationSession(Session):
    """Like `Session`, but nothing is reused and the output is what it would have been; `recording()` at its end.

    adapter: name of the family. cfg, shift: of the run, for the record. Takes the arguments of `Session` but the config.
    """

    activity = say("calibration")

    def __init__(self, *args, adapter: str, cfg: float = 1.0, shift: float | None = None, **kwargs):
        super().__init__(Config(target_speedup=1.0, level=AUTO), *args, **kwargs)
        self.report.calibration = True
        self.recorder = self.run.listener = Recorder(self.run, self.sampler.name, adapter, float(cfg), shift)

    def recording(self) -> Recording | None:
        """What was measured, once the sampler is through, and None before. Where a run is no calibration, None and, at the
        latest when it is closed, a note that says why.
        """
        return self.guard.run(self.recorder.recording) if self.recorder.complete else None

    def yardstick(self, recording: Recording) -> Yardstick | None:
        """To measure other results of this run by; None where the sampler's x was never given."""
        return None if self.recorder.end is None else self.guard.run(self.recorder.yardstick, recording)

    def close(self, finished: bool = False) -> None:
        super().close(finished)
        if not self.recorder.complete and not self.guard.broken:
            reason = f"the run ended after {len(self.report.steps)} of {self.clock.steps} steps"
            self.report.note(say("{activity} stopped: {reason}", activity=self.activity, reason=reason))
        self.recorder.clear()


@dataclass
class Passing:
    """A pass in progress. sum: of the segments' residuals, [B, n, C]. deltas: refresh -> A_l, [B, n, C]. starts, ends:
    input and output of every segment, [B, n, C]. began: when the segment that is open did.
    """

    subset: Subset
    sum: torch.Tensor | None = None
    deltas: dict[int, torch.Tensor] = field(default_factory=dict)
    starts: list[torch.Tensor] = field(default_factory=list)
    ends: list[torch.Tensor] = field(default_factory=list)
    began: float = 0.0


class Recorder:
    """Listens to a run that is computed throughout, see `state.Listener`. end: x after the last step, once it is over."""

    def __init__(self, run: RunState, sampler: str, adapter: str, cfg: float, shift: float | None):
        self.end: torch.Tensor | None = None
        self._run, self._adapter = run, adapter
        self._facts = {"sampler": sampler, "cfg": cfg, "shift": shift}
        self._passing: Passing | None = None
        self._tokens: Subset | None = None
        self._grid: Grid | None = None
        self._outputs: Track | None = None
        self._tracks: dict[Hashable, Track] = {}
        self._audio = AudioDrift(run.clock.sigmas, len(run.layout.refresh))
        self._gamma = Gamma(run.layout.segments)
        self._sizes: dict[Hashable, int] = {}  # bytes of a residual of each branch, and of an output
        self._output = 0
        self._seconds: list[tuple[float, float]] = []  # of the segments, and of the whole evaluation
        self._skippable = self._own = 0.0  # of the evaluation in progress: seconds of the segments, and of the recorder

    def opened(self, call: Call, segment: int, video: torch.Tensor) -> None:
        with self._apart(video.device):
            if segment == 0:
                self._passing = Passing(self._subset_of(call, video))
            passing = self._passing
            passing.starts.append(passing.subset.rows(video))
            if segment > 0:
                passing.deltas[segment - 1] = passing.starts[-1] - passing.ends[-1]
        passing.began = time.perf_counter()

    def closed(self, call: Call, segment: int, video: torch.Tensor) -> None:
        wait_for(video.device)
        passing = self._passing
        if segment > 0:
            self._skippable += time.perf_counter() - passing.began
        with self._apart(video.device):
            passing.ends.append(passing.subset.rows(video))
            if segment > 0:
                added = passing.ends[-1] - passing.starts[-1]
                passing.sum = added if passing.sum is None else passing.sum.add_(added)
            if segment == call.layout.segments - 1 and segment > 0:
                self._passed(call, passing)

    def evaluated(self, evaluation: Evaluation, out: torch.Tensor, x: torch.Tensor | None) -> None:
        evaluation.device = out.device
        wait_for(out.device)
        self._seconds.append((self._skippable, time.perf_counter() - evaluation.started - self._own))
        self._skippable = self._own = 0.0
        tick, run = evaluation.tick, self._run
        velocity = out.float() if x is None else (x.float() - out) / tick.seen
        if run.layout.unknown:
            self._grid = Grid.of_any(velocity.shape)
        rows, weights = positions(velocity, self._grid, run.history.weights(self._grid) if self._grid else None)
        if self._outputs is None:
            self._output = 4 * velocity.numel()
            most = LIMIT * rows.shape[1] // (self._output * run.clock.steps)
            self._outputs = Track(run.clock.steps, Subset.draw(rows.shape[1], max(1, most), weights))
        self._outputs.put(tick.index, self._outputs.subset.rows(rows))
        if x is not None and tick.last:
            self.end = landing(x, out, *run.clock.sigmas[-2:])

    @property
    def complete(self) -> bool:
        """Whether every step of the run was seen."""
        return self._outputs is not None and self._outputs.complete and self._run.steps.cost is not None

    def recording(self) -> Recording:
        """Of a run that is complete; it can be asked for again."""
        clock = self._run.clock
        sigmas, tracks = np.array(clock.sigmas), [t for t in self._tracks.values() if t.complete]
        grams, region = {}, "human" if self._tokens is not None and self._tokens.human is not None else "whole"
        for name in dict.fromkeys(("whole", region)):
            grams["output", name] = self._outputs.gram(name)
            if tracks:
                grams["residual", name] = sum(track.gram(name) for track in tracks)
        moved = displacement(grams["residual", region], sigmas) if tracks else 0.0
        facts = RunFacts(clock.steps, tuple(clock.sigmas), tokens=self._grid.tokens, **self._facts)
        gamma = self._gamma.matrix()
        return Recording(
            self._adapter, facts, self._run.steps.cost, grams, self._audio.gram(moved), sum(self._sizes.values()),
            self._output, self._shares(), boundaries=() if gamma is None else boundaries(gamma, stored(self._run.layout)),
        )

    def yardstick(self, recording: Recording) -> Yardstick:
        grid, weights = self._grid, self._run.history.weights(self._grid)
        human = positions(self.end, grid, weights)[1]
        moved = {region: recording.displacement(region) for region in REGIONS if ("output", region) in recording.grams}
        share = HUMAN_WEIGHT if human is not None and moved.get("human") else 0.0
        regions = {"whole": (1 - share, None, moved["whole"])}
        if share:
            regions["human"] = (share, human.double(), moved["human"])
        return Yardstick(self.end, lambda values: positions(values, grid, None)[0], regions)

    def clear(self) -> None:
        self.end = self._outputs = self._tokens = self._passing = None
        self._tracks.clear()
        self._audio.clear()
        self._gamma.clear()

    @contextmanager
    def _apart(self, device: torch.device) -> Iterator[None]:
        """Time that recording takes is no part of what the model takes."""
        wait_for(device)
        started = time.perf_counter()
        yield
        self._own += time.perf_counter() - started

    def _subset_of(self, call: Call, video: torch.Tensor) -> Subset:
        """The tokens that are recorded, drawn at the first pass. video: of the input of block 0, [B, tokens, C]."""
        run = self._run
        if call.evaluation.tick.index >= run.clock.steps:
            raise StateError(f"{self._facts['sampler']} takes several evaluations per step: calibrate with euler")
        if run.steps.cost is None:
            run.price(call.grid, call.length, run.clock.steps)
        size, tokens = video.shape[0] // len(call.keys) * video.shape[2], call.grid.tokens
        self._sizes.update(dict.fromkeys(call.keys, size * tokens * video.element_size()))
        if self._tokens is None:
            steps = max(run.clock.steps, 2 * len(run.layout.refresh))
            most = max(1, min(TOKENS, LIMIT // (2 * 4 * size * steps)))
            self._grid = call.grid
            self._tokens = Subset.draw(tokens, most, run.history.weights(call.grid))
        if call.grid.window and call.grid.tokens != self._grid.tokens:
            raise StateError("context windows of several sizes cannot be recorded: calibrate on a video that fits into one")
        if replace(call.grid, window=self._grid.window) != self._grid:
            raise StateError(f"the video's size changed in the run, from {self._grid} to {call.grid}")
        return self._tokens

    def _passed(self, call: Call, passing: Passing) -> None:
        """A forward pass is through."""
        step, count = call.evaluation.tick.index, len(call.keys)
        for i, key in enumerate(call.keys):
            if key not in self._tracks and len(self._tracks) == BRANCHES:
                continue
            track = self._tracks.setdefault(key, Track(self._run.clock.steps, self._tokens))
            track.put(step, passing.sum.chunk(count)[i])
            deltas = {block: delta.chunk(count)[i] for block, delta in passing.deltas.items()}
            self._audio.add(step, key, deltas, self._tokens.weights("human"))
            self._gamma.add(key, *([rows.chunk(count)[i] for rows in each] for each in (passing.starts, passing.ends)))

    def _shares(self) -> dict[str, float]:
        """Measured cost of a reused evaluation, segments not run, over a computed one; the first one is warming up."""
        skippable, whole = map(sum, zip(*self._seconds[1:] or self._seconds))
        known = whole > 0 and not self._run.layout.unknown
        return {"residual": min(1.0, max(0.0, 1.0 - skippable / whole))} if known else {}


class AudioDrift:
    """How the audio deltas move within the gaps of a typical plan: sum over reused t of |move_t| <dA_l, dA_m>."""

    def __init__(self, sigmas: Sequence[float], refreshes: int):
        self._moves = np.abs(np.diff(sigmas))
        self._total = np.zeros((refreshes, refreshes))
        self._anchors: dict[Hashable, torch.Tensor] = {}
        self._reused: set[int] = set()

    def add(self, step: int, key: Hashable, deltas: dict[int, torch.Tensor], weights: torch.Tensor) -> None:
        """One branch at one step. deltas: refresh -> [B, n, C]; one that nobody saw counts as still. weights: [n]."""
        scale = weights.sqrt().float()[:, None]
        now = torch.zeros(len(self._total), next(iter(deltas.values())).numel())
        for refresh, delta in deltas.items():
            now[refresh] = (delta * scale).flatten()
        if step % STRIDE == 0:
            self._anchors[key] = now
        elif key in self._anchors:
            drift = now.sub_(self._anchors[key])
            self._total += self._moves[step] * (drift @ drift.T).double().numpy()
            self._reused.add(step)

    def gram(self, displacement: float) -> np.ndarray | None:
        """Mean of <dA_l, dA_m> [M, M] of M refreshes, in units of the residuals' displacement per sigma; None where there is
        none of either.

        So ||sum dA_l|| times the share of the path that is reused is an error relative to the displacement.
        """
        path = sum(self._moves[step] for step in self._reused)
        if not path or not displacement > 0:
            return None
        return self._total / path / (displacement / self._moves.sum()) ** 2

    def clear(self) -> None:
        self._anchors.clear()


def positions(values: torch.Tensor, grid: Grid | None, human: torch.Tensor | None):
    """([B, P, C], human weights [P] or None) of an output: a latent [B, C, T, H, W], [B, C, H, W] or, several in one,
    [B, 1, N]; or tokens [B, L, C]."""
    if values.ndim < 4 and values.shape[1] > 1:
        rows = values.reshape(values.shape[0], values.shape[1], -1)
        return rows, human if human is not None and len(human) == rows.shape[1] else None
    rows = values.flatten(2).transpose(1, 2)
    if human is None or values.ndim != 5 or grid.frames != values.shape[2]:
        return rows, None
    blocks = human.reshape(1, grid.frames, grid.height, grid.width)
    patch = -(-values.shape[3] // grid.height)  # the host pads height and width up to a multiple of the patch
    grown = F.interpolate(blocks, scale_factor=patch, mode="nearest")[..., : values.shape[3], : values.shape[4]]
    return rows, grown.reshape(-1)
