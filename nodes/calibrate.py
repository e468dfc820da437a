"""The node that measures a model once, so that its schedule can be planned."""

from comfy_api.latest import io

from .host import calibrate
from .run import RunHandle, RunType
from .text import NodeText


class SyncCacheCalibrate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncCacheCalibrate",
            display_name="SyncCache Calibrate",
            category="SyncCache",
            description="Samples as without it, bit for bit, and measures what the Schedule Optimizer plans from. Needs a "
            "sampler of one evaluation per step, such as euler.",
            search_aliases=["plan", "schedule", "record", "measure", "optimize"],
            inputs=[
                io.Model.Input("model", tooltip="A Wan2.2-S2V model, after LoRA and model sampling."),
                io.Mask.Input(
                    "human_mask", optional=True,
                    tooltip="Where the person is; a plan can then weigh the person's error. One mask, or one per frame.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model"),
                RunType.Output(display_name="run", tooltip="For the SyncCache Schedule Optimizer."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model, human_mask=None) -> io.NodeOutput:
        handle = RunHandle("calibration: connect the sampler's latent to the Schedule Optimizer's samples")
        return io.NodeOutput(calibrate(model, human_mask, handle, NodeText(cls.hidden.unique_id)), handle)
