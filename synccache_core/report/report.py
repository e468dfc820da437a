"""What happened in a run: one record per evaluation, a report as text and as JSON. Plain Python numbers only."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from ..config import Config
from ..model.cost import CostModel, cache_bytes
from ..sentences import say, told
from ..units import readable
from .advice import advice

REPORT_FORMAT, REPORT_VERSION = "synccache-report", 1
UNKNOWN = say("This model is not known to SyncCache: whole results are reused, audio included.")
NEEDLESS = {"human_mask": say("no probe looks at it"), "cache_ratio": say("no residuals are stored")}


@dataclass(frozen=True)
class StepRecord:
    """One evaluation. change: probe change e, None where it had no meaning. seconds: wall clock of the evaluation."""

    index: int
    sigma: float
    action: str
    reason: str
    change: float | None
    accumulated: float
    threshold: float | None
    seconds: float


@dataclass
class RunReport:
    """A finished (or interrupted) run.

    speedup_ideal: from the cost model. speedup_measured: evaluations times the mean computed one over the sum of all,
    None until both kinds have happened. bytes_held: peak of what was stored. level, order: of what is reused; the order may
    be lowered by a byte budget. corrections: outputs that retro-correction changed. plan: what planned the run, "" = no
    plan; remapped: its schedule was fitted to other sigmas. calibration: everything was computed to be measured.
    asked: steps of the run as it was asked for, where the plan takes fewer, 0 = no plan does. notes: sentences that a person
    should read. live_budget: LIVE evaluations that are planned. reuse_share, live_share: cost of a reused and of a LIVE one
    over a computed one. livable: whether LIVE evaluations can be had of the model. part: another run goes on from this one,
    or this one from another, as far as is known.
    """

    model: str
    blocks: int
    refresh_points: int
    settings: dict
    steps: list[StepRecord] = field(default_factory=list)
    budget: int = 0
    groups: int = 0
    branches: int = 0
    tokens: int = 0
    bytes_held: int = 0
    bytes_predicted: int = 0
    speedup_ideal: float = 1.0
    notes: list[str] = field(default_factory=list)
    finished: bool = False
    level: str = "residual"
    order: int = 0
    corrections: int = 0
    plan: str = ""
    remapped: bool = False
    calibration: bool = False
    asked: int = 0
    storable: int = 0
    usual_ratio: float = 1.0  # what presets take
    residual_bytes: int = 0
    correction_bytes: int = 0  # of outputs that correction holds beside residuals
    reuse_share: float | None = None
    fresh_share: float | None = None  # reuse_share at level "residual", whatever is reused
    least_left: tuple[float, float] = (0.0, 0.0)  # see `decide.policy.least_left`; 0 where no blocks are known
    output_bytes: int = 0  # of one output, and how many of them correction holds; 0 where none is looked at
    outputs_corrected: int = 0
    live_share: float | None = None
    live_budget: int = 0
    livable: bool = False
    part: bool = False
    altered: float = 0.0  # share of the forward passes that another extension altered: computed at every evaluation
    heat: tuple[tuple[float, ...], ...] = ()
    heat_of: str = ""

    @property
    def computed(self) -> int:
        return sum(step.action == "compute" for step in self.steps)

    @property
    def reused(self) -> int:
        """Those at which anything was reused, LIVE ones included."""
        return len(self.steps) - self.computed

    @property
    def lived(self) -> int:
        return sum(step.action == "live" for step in self.steps)

    @property
    def step_share(self) -> float | None:
        """reuse_share of an evaluation with all its passes."""
        return None if self.reuse_share is None else self.with_altered(self.reuse_share)

    def with_altered(self, share: float) -> float:
        """What a reused evaluation costs over a computed one. share: the same of passes that nobody altered."""
        return self.altered + (1 - self.altered) * share if self.level == "residual" else share

    @property
    def limit(self) -> int | None:
        """Bytes that may be held, None = any: the budget, and the outputs beside residuals, of which it is not."""
        budget = self.settings.get("memory_budget")
        return None if budget is None else budget + self.correction_bytes

    @property
    def whole_bytes(self) -> int:
        """Of outputs that are reused or held to correct these, at their most; 0 at level "residual"."""
        reused = self.level == "output"
        return cache_bytes(0, self.output_bytes, self.level, 0, self.order, self.outputs_corrected) if reused else 0

    @property
    def speedup_measured(self) -> float | None:
        slow = [step.seconds for step in self.steps if step.action == "compute"]
        total = sum(step.seconds for step in self.steps)
        if not slow or not self.reused or total <= 0:
            return None
        return len(self.steps) * (sum(slow) / len(slow)) / total

    @property
    def share_measured(self) -> float | None:
        """Seconds of a reused step over those of a computed one. None until there was a reused one, and a computed one after
        the first, which pays for warming up.
        """
        slow = [step.seconds for step in self.steps[1:] if step.action == "compute"]
        return _share_of(slow, [step.seconds for step in self.steps if step.action == "reuse"])

    @property
    def live_measured(self) -> float | None:
        """The same of a LIVE step."""
        slow = [step.seconds for step in self.steps[1:] if step.action == "compute"]
        return _share_of(slow, [step.seconds for step in self.steps if step.action == "live"])

    def speedup_expected(self, expected: int) -> float | None:
        """Of the whole run of `expected` evaluations, from what its first steps took, or by operation count until then; None
        where neither is known. What was measured, once they are over.
        """
        if len(self.steps) >= expected:
            return self.speedup_measured
        share = self.step_share if self.share_measured is None else self.share_measured
        if share is None or not self.reused:
            return None
        computed = min(expected, max(self.budget or expected * self.computed / len(self.steps), self.computed))
        lived = min(expected - computed, max(self.live_budget, self.lived))
        half = self.live_share or 0.0 if self.live_measured is None else self.live_measured
        return expected / (computed + lived * half + (expected - computed - lived) * share)

    def to_dict(self) -> dict:
        counts = {"computed": self.computed, "reused": self.reused, "live": self.lived}
        counts["speedup_measured"] = self.speedup_measured
        return {"format": REPORT_FORMAT, "version": REPORT_VERSION, **counts, **asdict(self), "advice": advice(self)}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def live(self, expected: int) -> dict:
        """The run so far, small, for a picture of it: one letter and one probe change per step, counts, bytes."""
        return {
            "model": self.model, "blocks": self.blocks, "refreshes": self.refresh_points, "expected": expected,
            "cells": "".join(step.action[0] for step in self.steps),
            "changes": [None if step.change is None else float(f"{step.change:.3g}") for step in self.steps],
            "computed": self.computed, "reused": self.reused, "live": self.lived, "speedup": self.speedup_expected(expected),
            "held": self.bytes_held, "limit": self.limit, "calibration": self.calibration,
            "finished": self.finished, "why": [told(line) for line in self.why_slow()], "plan": self.plan,
            "storable": self.storable,
            "share": self.reuse_share, "took": self.share_measured, "residual_bytes": self.residual_bytes,
            "correction_bytes": self.correction_bytes, "level": self.level, "fresh_share": self.fresh_share,
            "least_left": list(self.least_left), "advice": told(advice(self)) if self.finished else "",
            "usual_ratio": self.usual_ratio, "output_bytes": self.output_bytes, "outputs_corrected": self.outputs_corrected,
            "livable": self.livable,
        }  # fmt: skip

    def summary(self) -> str:
        """A few lines for a person; zero reused steps always come with the reasons."""
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Those of the summary, each a sentence."""
        lines = [recognised(self.model, self.blocks, self.refresh_points)]
        if self.calibration:
            lines.append(say("calibration: {steps} steps, all computed", steps=len(self.steps)))
            return lines + self.why_slow()
        if self.plan:
            plan = say("plan: {plan}", plan=self.plan)
            lines.append(say("{plan}, fitted to other sigmas", plan=plan) if self.remapped else plan)
        did = [self.taken(), self._speed_text()] if self.asked else [self._counted(), self._speed_text(), self._stored()]
        return lines + did + self.why_slow()

    def note(self, *sentences: str | None) -> None:
        """Add sentences that a person should read, each once; None = nothing to say."""
        for sentence in sentences:
            if sentence and sentence not in self.notes:
                self.notes.append(sentence)

    def shorten(self, asked: int, taken: int) -> None:
        """The run takes fewer steps than it was asked for."""
        self.asked, self.speedup_ideal = asked, asked / taken

    def taken(self) -> str:
        """Of a run that takes fewer steps."""
        return say("takes fewer steps: {steps} of {asked}, all computed", steps=len(self.steps), asked=self.asked)

    def why_slow(self) -> list[str]:
        """Lines with the reasons where nothing was reused, and the notes."""
        reasons = sorted({step.reason for step in self.steps})
        idle = self.steps and not self.reused and not self.calibration and not self.asked
        nothing = [say("nothing was reused: {reasons}", reasons=reasons)] if idle else []
        return nothing + [say("note: {note}", note=note) for note in self.notes]

    def _counted(self) -> str:
        counts = {"steps": len(self.steps), "computed": self.computed, "reused": self.reused - self.lived}
        did = say("{steps} steps: {computed} computed, {reused} reused", **counts)
        if self.lived:
            did = say(
                "{steps} steps: {computed} computed, {live} live at {share} of one, {reused} reused", **counts,
                live=self.lived, share=f"{self.live_share or 0:.0%}",
            )  # fmt: skip
        return say("{did} (budget {budget})", did=did, budget=self.budget) if self.budget else did

    def _stored(self) -> str:
        held = {"held": readable(self.bytes_held), "order": self.order}
        if self.level == "output":
            stored = say("cache {held} of whole outputs, order {order}", **held)
        else:
            counts = {"groups": self.groups, "branches": self.branches}
            stored = say("cache {held} in {groups} residuals × {branches} branches, order {order}", **held, **counts)
        return say("{stored}, {count} corrected", stored=stored, count=self.corrections) if self.corrections else stored

    def _speed_text(self) -> str:
        ideal, measured = f"{self.speedup_ideal:.2f}", self.speedup_measured
        if not measured:
            return say("speed-up {ideal}× by operation count", ideal=ideal)
        return say("speed-up {measured}× measured, {ideal}× by operation count", measured=f"{measured:.2f}", ideal=ideal)


def _share_of(slow: Sequence[float], fast: Sequence[float]) -> float | None:
    return min(1.0, median(fast) / median(slow)) if slow and fast and median(slow) > 0 else None


def account(report: RunReport, config: Config, residuals, outputs, cost: CostModel | None) -> None:
    """Sizes and speed as they stand after an evaluation. residuals, outputs, cost: of the session."""
    if cost and not report.asked:
        share = report.with_altered(cost.share(config.level, len(residuals.groups), config.merge, config.probe))
        lived = report.lived * (report.live_share or 0.0)
        report.speedup_ideal = len(report.steps) / (report.computed + lived + (report.reused - report.lived) * share)
    report.branches, report.groups = max(report.branches, len(residuals.sizes)), len(residuals.groups)
    report.residual_bytes = sum(residuals.sizes.values())
    if config.level == "residual":
        report.order = residuals.order
    report.bytes_held = residuals.peak + (outputs.peak if outputs else 0)
    size, corrected = (outputs.size, outputs.held_for_correction) if outputs else (0, 0)
    report.output_bytes, report.outputs_corrected = size, corrected
    kept = cache_bytes(0, size, config.level, 0, config.forecast_order, corrected)  # a byte budget lowers no order of these
    report.correction_bytes = kept if config.level == "residual" else 0
    stored = report.groups * report.residual_bytes * (residuals.order + 1)
    report.bytes_predicted = stored + kept + residuals.depths.peak


def without_blocks(config: Config, mask) -> list[str]:
    """Of a run of a model whose blocks are not known. mask: human mask or None."""
    given = {"human_mask": mask is not None, "cache_ratio": config.cache_ratio < 1 and config.schedule is None}
    return [UNKNOWN, *(needless(name) for name in given if given[name])]


def needless(name: str) -> str:
    return say("{name} has no effect on a model that is not known: {why}", name=name, why=NEEDLESS[name])


def recognised(model: str, blocks: int, refresh_points: int) -> str:
    """What the model is. blocks: 0 where none are known. refresh_points: 0 where no audio comes in at blocks."""
    if not blocks:
        return say("{model}: whole results", model=model)
    if not refresh_points:
        return say("{model}: {blocks} blocks", model=model, blocks=blocks)
    return say("{model}: {blocks} blocks, {refreshes} audio refreshes", model=model, blocks=blocks, refreshes=refresh_points)
