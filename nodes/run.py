"""SYNCCACHE_RUN: what the SyncCache node hands to the report, filled while the sampler runs. Numbers only, no tensors."""

from comfy_api.latest import io
from comfy_execution.utils import get_executing_context

from ..synccache_core import RunReport

RunType = io.Custom("SYNCCACHE_RUN")


class RunHandle:
    """The reports of the newest prompt, in the order in which its samplers ran."""

    def __init__(self, remark: str = ""):
        self.remark = remark
        self.reports: list[RunReport] = []
        self._prompt: str | None = None

    def __deepcopy__(self, memo):
        return self  # hosts may deep-copy model options; the report node must see this very object

    def add(self, report: RunReport) -> None:
        context = get_executing_context()
        prompt = context.prompt_id if context else None
        if prompt != self._prompt:
            self.reports.clear()
        self._prompt = prompt
        self.reports.append(report)

    def to_dict(self) -> dict:
        return {"remark": self.remark, "runs": [report.to_dict() for report in self.reports]}

    def summary(self) -> str:
        if not self.reports:
            return self.remark or "no run recorded yet: connect the sampler's latent to `samples`"
        texts = [report.summary() for report in self.reports]
        if len(texts) > 1:
            texts = [f"sampler {i + 1}\n{text}" for i, text in enumerate(texts)]
        return "\n\n".join(texts)
