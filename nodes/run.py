"""SYNCCACHE_RUN: what a run hands to report and optimiser, filled while the sampler runs. Numbers only, no tensors."""

from comfy_api.latest import io
from comfy_execution.utils import get_executing_context

from ..synccache_core import Recording, RunReport, StateError
from ..synccache_core.recording import merge

RunType = io.Custom("SYNCCACHE_RUN")


class RunHandle:
    """The reports and calibrations of the newest prompt, in the order in which its samplers ran."""

    def __init__(self, remark: str = ""):
        self.remark = remark
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
        return "\n\n".join(texts)
