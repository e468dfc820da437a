"""SYNCCACHE_RUN: what a run hands to report and optimiser, filled while the sampler runs. Numbers only, no tensors."""

from collections.abc import Callable

from comfy_api.latest import io
from comfy_execution.utils import get_executing_context

from ..synccache_core import Recording, RunReport, StateError
from ..synccache_core.advice import advice
from ..synccache_core.recording import merge

RunType = io.Custom("SYNCCACHE_RUN")


class RunHandle:
    """The reports and calibrations of the newest prompt, in the order in which its samplers ran.

    watcher(event): shows how far a run is.
    """

    def __init__(self, remark: str = "", watcher: Callable[[dict], None] | None = None):
        self.remark = remark
        self._watcher = watcher
        self.reports: list[RunReport] = []
        self._recordings: list[Recording] = []
        self._prompt: str | None = None

    def __deepcopy__(self, memo):
        return self  # hosts may deep-copy model options; the report node must see this very object

    def add(self, report: RunReport) -> None:
        context = get_executing_context()
        prompt = context.prompt_id if context else None
        if prompt != self._prompt:
            self.reports.clear()
            self._recordings.clear()
        self._prompt = prompt
        self.reports.append(report)

    def tell(self, remark: str) -> None:
        """Something to know though there is no run."""
        self.remark = remark
        self.send(text=remark)

    def show(self, report: RunReport, expected: int, **more) -> None:
        """How far a run is. more: what else its watcher should know."""
        self.send(run=report.live(expected) | more)

    def send(self, **event) -> None:
        """See `text.Strip` for what an event may hold."""
        if self._watcher is not None:
            self._watcher(event)

    def keep(self, recording: Recording) -> None:
        """A calibration run of this prompt went through."""
        self._recordings.append(recording)

    def recording(self) -> Recording:
        """All calibrations of the newest prompt as one. Raises StateError where there is none, PlanError where they are of
        different kinds.
        """
        if not self._recordings:
            said = [note for report in self.reports for note in report.notes]
            why = f" ({'; '.join(said)})" if said else ""
            raise StateError(
                "there is no calibration: connect the run of SyncCache Calibrate, and to samples the latent of a sampler "
                f"that used its model and was not interrupted{why}"
            )
        return merge(self._recordings)

    def to_dict(self) -> dict:
        return {"remark": self.remark, "runs": [report.to_dict() for report in self.reports]}

    def summary(self) -> str:
        if not self.reports:
            return self.remark or "no run recorded yet: connect the sampler's latent to `samples`"
        texts = [report.summary() for report in self.reports]
        if len(texts) > 1:
            texts = [f"sampler {i + 1}\n{text}" for i, text in enumerate(texts)]
        advised = next(filter(None, map(advice, self.reports)), "")
        return "\n\n".join([*texts, *([f"recommendation: {advised}"] if advised else [])])
