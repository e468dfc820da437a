"""Calibration in the host: a vanilla run that is recorded, then a few plans sampled and measured against it."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from comfy.model_patcher import ModelPatcher
from comfy.samplers import CFGGuider

from ..synccache_core import Bound, CalibrationSession, Config, Plan, Recording, Sampler, __version__, describe
from ..synccache_core.errors import SyncCacheError
from ..synccache_core.planning.plan import Budget
from ..synccache_core.planning.planner import Planner
from ..synccache_core.planning.replays import ReplaySession, Yardstick, replayed
from ..synccache_core.sentences import say, told
from .guider import guidance, served, text_tokens
from .host import CacheRun, HostRun, install, recognise
from .run import RunHandle


def calibrate(
    model: ModelPatcher, mask: torch.Tensor | None, handle: RunHandle, budget: Budget, replays: int = 0,
    keep: Callable[[Recording], None] | None = None,
) -> ModelPatcher:
    """A clone of the ModelPatcher whose sampling runs are vanilla, bit for bit, and recorded.

    replays: how many plans for the budget are sampled afterwards, to choose by what they do. keep: called with the finished
    recording. Raises as `host.attach` does.
    """
    bound = served(model)
    patched = install(model, CalibrationRun(mask, handle, budget, replays, keep))
    recognise(bound, handle)
    return patched


@dataclass
class ReplayRun(CacheRun):
    """One plan, sampled to be measured. watcher: of the calibration, told of this run as well. place: "2 of 4"."""

    watcher: RunHandle | None = None
    place: str = ""

    title = "SyncCache Calibrate"
    made = ReplaySession

    @contextmanager
    def running(self, guider: CFGGuider, args: Sequence, kwargs: dict):
        """Told of as ended where it does not go through, its first step included, of which nothing was told."""
        session, through = None, False
        try:
            with super().running(guider, args, kwargs) as (session, given):
                yield session, given
            through = True
        finally:
            if session is not None and not through:
                evaluations = len(session.sampler.evaluated(session.clock.sigmas)) - 1
                self.progress(session.report, evaluations, ended=True)

    def progress(self, report, expected: int, **more) -> None:
        self.watcher.show(report, expected, replay=told(self.place), **more)

    def ended(self, report) -> None:
        """The calibration says what came of it, and `running` that nothing did."""


@dataclass
class CalibrationRun(HostRun):
    """See `calibrate`."""

    budget: Budget
    replays: int = 0
    keep: Callable[[Recording], None] | None = None

    title = "SyncCache Calibrate"

    def session(
        self, guider: CFGGuider, bound: Bound, shapes: Sequence, sigmas: list[float], sampler: Sampler
    ) -> CalibrationSession:
        shift = getattr(guider.model_patcher.get_model_object("model_sampling"), "shift", None)
        shift = float(shift) if isinstance(shift, (int, float)) else None
        return CalibrationSession(
            bound.layout, sigmas, partial(bound.cost, text=text_tokens(guider)), self.mask,
            model=bound.adapter.title, on_step=self.progress, sampler=sampler, parts=shapes[1:], adapter=bound.adapter.name,
            cfg=guidance(guider), shift=shift,
        )

    def outer_sample(self, executor, *args, **kwargs):
        guider = executor.class_obj
        before = _copied(getattr(guider, "conds", {}))  # the host adds to them what the model makes of them
        with self.running(guider, args, kwargs) as (session, given):
            result = executor(*given, **kwargs)
            recording = session.recording()
            yardstick = session.yardstick(recording) if recording is not None else None
        if recording is not None:
            notes = session.report.notes
            if self.replays and yardstick is not None:
                recording = self._replay(recording, yardstick, notes, before, executor, args, kwargs)
            self.handle.keep(recording)
            if self.keep:
                self._or_note(notes, say("the calibration was not saved"), self.keep, recording)
            self.ended(session.report)
        return result

    def _replay(
        self, recording: Recording, yardstick: Yardstick, notes: list[str], conditions: dict, executor, args, kwargs
    ) -> Recording:
        """The recording with what plans for the budget gave. Interrupts and the model's errors end the run."""
        guider, planner, done = executor.class_obj, Planner(recording), []
        trials = self._or_note(notes, say("no plan was tried"), planner.trials, self.budget, self.replays) or []
        for number, choice in enumerate(trials, 1):
            plan = planner.plan(choice, self.budget, __version__, "replay")
            place = say("{number} of {count}", number=number, count=len(trials))
            run = ReplayRun(self.mask, RunHandle(), Config(), plan=plan, watcher=self.handle, place=place)
            guider.conds = _copied(conditions)
            with run.running(guider, args, kwargs) as (session, given):
                executor(*given, **kwargs)
            if session.end is None or session.report.computed != len(plan.schedule):
                notes.append(say("the replay of {plan} went otherwise and does not count", plan=describe(plan)))
                continue
            done.append(replayed(plan, session.report, yardstick.error(session.end)))
            notes.append(outcome(done[-1]))
        if trials:
            spent = sum(1 / choice.speedup for choice in trials)
            notes.append(say(
                "{count} replays cost as much as {spent} uncached runs, by operation count",
                count=len(trials), spent=f"{spent:.1f}",
            ))  # fmt: skip
        return replace(recording, replays=tuple(done))

    def _or_note(self, notes: list[str], what: str, step: Callable, *args):
        """step(*args); where it cannot be done, a note says why: the video that was sampled is not lost for it."""
        try:
            return step(*args)
        except SyncCacheError as error:
            notes.append(say("{what}: {error}", what=what, error=str(error)))
            return None


def outcome(plan: Plan) -> str:
    """What a replay gave, for a person."""
    was, got = plan.predicted, plan.measured
    way = [describe(plan)]
    if plan.alpha is not None:
        way.append(say("spread with alpha {alpha}", alpha=f"{plan.alpha:g}"))
    return say(
        "replayed {plan}: error {got} % (predicted {was} %), {speed}× ({counted}× by operation count)",
        plan=way, got=f"{100 * got.error:.2g}", was=f"{100 * was.error:.2g}", speed=f"{got.speedup:.2f}",
        counted=f"{was.speedup:.2f}",
    )  # fmt: skip


def _copied(conditions: dict) -> dict:
    return {name: [entry.copy() for entry in entries] for name, entries in conditions.items()}
