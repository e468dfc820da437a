"""What a run did: as text on the node, as JSON, and as pictures."""

import json

import torch
from comfy_api.latest import io, ui
from PIL import Image

from ..synccache_core import RunReport
from ..synccache_core.decide.policy import COMPUTE, LIVE
from ..synccache_core.human.mask import as_pictures
from ..synccache_core.report.advice import advice
from ..synccache_core.report.report import recognised
from ..synccache_core.sentences import say
from ..synccache_core.units import readable
from .images import as_image
from .pictures import heat, timeline
from .run import RunHandle, RunType
from .text import PLACE, NodeText

HEAT_LINES = {
    "probe": (
        "Change of the probe, the first blocks' output, over the last stretch of reused steps, against its mean size.",
        "Mean over the frames. Bright: the video moved there while residuals were reused.",
    ),
    "forecast": (
        "Error of the forecast output at the last computed step after a reuse, against the output's mean size.",
        "Mean over the frames. Bright: reuse was furthest off there.",
    ),
}
HEAT_TITLES = {"probe": "Where reused steps had the most to bridge", "forecast": "Where reuse was furthest off"}


class SyncCacheReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncCacheReport",
            display_name="SyncCache Report",
            category="SyncCache",
            description="Steps computed and reused, speed-up, memory and the reasons, once the sampler is done; as text, "
            "JSON and pictures.",
            inputs=[
                RunType.Input("run", optional=True, tooltip="From the SyncCache or the SyncCache Calibrate node."),
                io.Latent.Input("samples", tooltip="From the sampler; passed on unchanged, so that this runs after it."),
                io.Image.Input(
                    "image", optional=True,
                    tooltip="The portrait, or frames of the video: the heat map is laid over the first picture.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="samples"),
                io.String.Output(display_name="json", tooltip="Everything that was measured, one record per step."),
                io.Image.Output(display_name="timeline", tooltip="The run as a picture: steps, probe, speed, memory."),
                io.Image.Output(display_name="heat_map", tooltip="Where reused steps had the most to bridge."),
            ],
            hidden=PLACE,
            is_output_node=True,
        )

    @classmethod
    def execute(cls, samples, run=None, image=None) -> io.NodeOutput:
        run = run or RunHandle(say("no run is connected: is the SyncCache node bypassed?"))
        told = run.of(samples["samples"])
        text = json.dumps(told.to_dict(), indent=1, allow_nan=False)
        summary = told.summary()
        NodeText(cls.hidden)(told.lines())
        shown = [report for report in told.reports if report.steps]
        timelines = [timeline.draw(facts(report)) for report in shown] or [timeline.blank(summary)]
        return io.NodeOutput(
            samples, text, as_image(*timelines), as_image(heat_map(shown, image)), ui=ui.PreviewText(summary)
        )


def facts(report: RunReport) -> timeline.Run:
    """What the timeline shows of a run."""
    room = max(report.bytes_held, report.limit or report.bytes_predicted)
    told = advice(report)
    return timeline.Run(
        title=recognised(report.model, report.blocks, report.refresh_points),
        headline=headline(report),
        computed=tuple(step.action == COMPUTE for step in report.steps),
        live=tuple(step.action == LIVE for step in report.steps),
        sigmas=tuple(step.sigma for step in report.steps),
        seconds=tuple(step.seconds for step in report.steps),
        accumulated=tuple(step.accumulated for step in report.steps),
        threshold=tuple(step.threshold for step in report.steps),
        held=report.bytes_held,
        room=room,
        held_label=f"{readable(report.bytes_held)} held",
        room_label=f"{'limit' if report.limit else 'expected'}: {readable(room)}",
        notes=(*([f"Recommendation: {told}"] if told else []), *report.why_slow()),
    )


def headline(report: RunReport) -> str:
    """One line with the counts and the speed."""
    if report.calibration:
        return f"calibration: {len(report.steps)} steps, all computed"
    speed = report.speedup_measured
    measured = f"{speed:.2g}x measured, " if speed else ""
    if report.asked:
        return f"{report.taken()};  {report.speedup_ideal:.2g}x by operation count"
    live = f"{report.lived} live, " if report.lived else ""
    counts = f"{report.computed} of {len(report.steps)} steps computed, {live}{report.reused - report.lived} reused"
    return f"{counts};  {measured}{report.speedup_ideal:.2g}x by operation count"


def heat_map(reports: list[RunReport], image: torch.Tensor | None):
    """Of the last sampler that has a map; a sentence where none has."""
    mapped = next((report for report in reversed(reports) if report.heat), None)
    if mapped is None:
        return timeline.blank("No heat map: no step was reused, or the plan uses no probe and no forecast of outputs.")
    picture = None if image is None else Image.fromarray((255 * as_pictures(image[:1].nan_to_num())[0]).byte().numpy())
    return heat.draw(mapped.heat, picture, HEAT_TITLES[mapped.heat_of], HEAT_LINES[mapped.heat_of])
