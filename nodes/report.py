"""What a run did, as text on the node and as JSON."""

import json

from comfy_api.latest import io, ui

from .run import RunType
from .text import NodeText


class SyncCacheReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncCacheReport",
            display_name="SyncCache Report",
            category="SyncCache",
            description="Steps computed and reused, speed-up, memory and the reasons, once the sampler is done.",
            inputs=[
                RunType.Input("run", tooltip="From the SyncCache node."),
                io.Latent.Input("samples", tooltip="From the sampler; passed on unchanged, so that this runs after it."),
            ],
            outputs=[io.Latent.Output(display_name="samples"), io.String.Output(display_name="json")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, run, samples) -> io.NodeOutput:
        text = json.dumps(run.to_dict(), indent=1, allow_nan=False)
        summary = run.summary()
        NodeText(cls.hidden.unique_id)(summary)
        return io.NodeOutput(samples, text, ui=ui.PreviewText(summary))
