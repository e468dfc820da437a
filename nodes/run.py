"""SYNCCACHE_RUN: what runs hand to report and optimiser, filled while the sampler runs. Numbers only, no tensors."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import isclose

import torch
from comfy_api.latest import io
from comfy_execution.utils import get_executing_context

from ..synccache_core import Recording, RunReport, StateError
from ..synccache_core.planning.recording import merge
from ..synccache_core.report.advice import advice
from ..synccache_core.sentences import say, told

RunType = io.Custom("SYNCCACHE_RUN")
KEPT = 32  # prompts whose runs are remembered: as many latents as a host with --cache-lru may still hold
PLACES = 64
UNSAMPLED = say(
    "no run: this model was not sampled. Is SyncCache on the model that the sampler uses, and is `samples` that sampler's "
    "latent? Nodes that merge two models keep the SyncCache of the first one only"
)
IN_PARTS = (
    "these calibrations are parts of one run, one goes on where the other ends: calibrate with one KSampler over all steps; "
    "its plan then serves the parts as well"
)


@dataclass
class Ran:
    """One sampling run. latent: see `fingerprint`, once the sampler is through. recording: where it was a calibration."""

    report: RunReport
    latent: tuple[float, ...] = ()
    recording: Recording | None = None


@dataclass(frozen=True)
class Runs:
    """What a node is told: the runs of one prompt, in the order in which its samplers ran, up to the latent it was given.

    remark: something to know where there are none.
    """

    ran: tuple[Ran, ...]
    remark: str = ""
    note: str = ""

    @property
    def reports(self) -> list[RunReport]:
        return [each.report for each in self.ran]

    def recording(self) -> Recording:
        """All calibrations as one. Raises StateError where there is none or they are parts of one run, BadInput where they
        are of different kinds.
        """
        found = [each.recording for each in self.ran if each.recording is not None]
        if not found:
            said = [note for report in self.reports for note in report.notes]
            why = f" ({'; '.join(said)})" if said else ""
            raise StateError(
                "there is no calibration: connect the run of SyncCache Calibrate, and to samples the latent of a sampler "
                f"that used its model and was not interrupted{why}"
            )
        if any(isclose(a.run.sigmas[-1], b.run.sigmas[0], rel_tol=1e-4) for a, b in pairwise(found)):
            raise StateError(IN_PARTS)
        return merge(found)

    def to_dict(self) -> dict:
        return {"remark": self.remark, "runs": [report.to_dict() for report in self.reports]}

    def summary(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Those of the summary, each a sentence; empty ones between its parts."""
        if not self.ran:
            return [self.remark or UNSAMPLED]
        parts = [report.lines() for report in self.reports]
        if len(parts) > 1:
            parts = [[say("sampler {number}", number=number), *lines] for number, lines in enumerate(parts, 1)]
        if advised := next(filter(None, map(advice, self.reports)), ""):
            parts.append([say("recommendation: {advice}", advice=advised)])
        if self.note:
            parts.append([say("note: {note}", note=self.note)])
        return [line for number, lines in enumerate(parts) for line in ([""] if number else []) + lines]


class Shared:
    """Hosts may deep-copy the options of a model: what a run writes into must stay the very object that is read."""

    def __deepcopy__(self, memo):
        return self


class RunHandle(Shared):
    """The runs of a patched model. It outlives them: a host that keeps the outputs of nodes may hand out an older latent,
    so every run is found again by the latent that came of it.

    watcher(event): shows how far a run is. note: for the report of every run, "" = none.
    """

    def __init__(self, remark: str = "", watcher: Callable[[dict], None] | None = None, note: str = ""):
        self.remark = remark
        self._watcher, self._note = watcher, note
        self._prompts: list[list[Ran]] = []
        self._prompt: str | None = None

    @property
    def reports(self) -> list[RunReport]:
        """Of the newest prompt."""
        return self.of(None).reports

    def add(self, report: RunReport) -> None:
        report.note(self._note)
        context = get_executing_context()
        prompt = context.prompt_id if context else None
        if prompt != self._prompt or not self._prompts:
            self._prompts = [*self._prompts[1 - KEPT :], []]
        self._prompt = prompt
        self._prompts[-1].append(Ran(report))

    def gave(self, result) -> None:
        """The sampler of the newest run is through. result: its latent, as it leaves the outermost OUTER_SAMPLE."""
        if self._prompts:
            self._prompts[-1][-1].latent = fingerprint(result)

    def keep(self, recording: Recording) -> None:
        """The newest run was a calibration and went through."""
        self._prompts[-1][-1].recording = recording

    def of(self, latent) -> Runs:
        """The runs behind a latent; the newest ones where it is None, or none of theirs."""
        if not self._prompts:
            return Runs((), self.remark)
        seen = None if latent is None else (fingerprint(latent), packed(latent).dtype)
        for prompt in reversed(self._prompts):
            for place, ran in reversed(list(enumerate(prompt))):
                if seen is not None and ran.latent and rounded(ran.latent, seen[1]) == seen[0]:
                    return Runs(tuple(prompt[: place + 1]), self.remark)
        doubtful = seen is not None and len(self._prompts) > 1
        strange = say("the latent is not as this model's sampler gave it, so the newest run is described")
        note = strange if doubtful else ""
        return Runs(tuple(self._prompts[-1]), self.remark, note)

    def tell(self, remark: str) -> None:
        """Something to know though there is no run."""
        self.remark = remark
        self.send(text=told(remark))

    def show(self, report: RunReport, expected: int, **more) -> None:
        """How far a run is, and which of its prompt: chunks of a long video are many. more: what else its watcher should
        know.
        """
        self.send(run=report.live(expected) | {"number": len(self._prompts[-1]) if self._prompts else 1} | more)

    def send(self, **event) -> None:
        """See `text.Strip` for what an event may hold."""
        if self._watcher is not None:
            self._watcher(event)


def fingerprint(latent) -> tuple[float, ...]:
    """A few values of a latent, by which it is known again after copies, moves and the host's change of type."""
    values = packed(latent).detach().reshape(-1)
    places = torch.linspace(0, max(0, len(values) - 1), PLACES).long().to(values.device)
    return (float(len(values)), *values[places].float().nan_to_num().tolist()) if len(values) else ()


def packed(latent) -> torch.Tensor:
    """A latent as it leaves the sampler: those that an audio-video model's holds are one [B, 1, N] there."""
    if not getattr(latent, "is_nested", False):
        return latent
    return torch.cat([part.reshape(len(part), 1, -1) for part in latent.unbind()], dim=-1)


def rounded(values: tuple[float, ...], dtype: torch.dtype) -> tuple[float, ...]:
    """A fingerprint as it would be in another type."""
    return (values[0], *torch.tensor(values[1:]).to(dtype).float().tolist())
