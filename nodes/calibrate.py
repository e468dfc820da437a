"""The node that measures a model once, so that its schedule can be planned."""

from comfy_api.latest import io

from ..synccache_core import Recording
from ..synccache_core.files.checked import check_number
from ..synccache_core.planning.plan import Budget
from ..synccache_core.planning.saved import path_of
from ..synccache_core.sentences import say
from .calibration import calibrate
from .optimizer import LEAST_RATIO, LEAST_SPEEDUP, MOST_SPEEDUP
from .plans import CALIBRATIONS, folders, store
from .run import RunHandle, RunType
from .text import PLACE, Strip

MOST_REPLAYS = 12


class SyncCacheCalibrate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncCacheCalibrate",
            display_name="SyncCache Calibrate",
            category="SyncCache",
            description="Samples as without it, bit for bit, and measures what the Schedule Optimizer plans from; then "
            "tries a few plans, so that the best is chosen for what it did. Needs a sampler with one evaluation per step, "
            "such as euler.",
            search_aliases=["plan", "schedule", "record", "measure", "optimize"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="Any model that ComfyUI samples, after LoRA and model sampling. Of those that SyncCache's help "
                    "page does not list, whole results are reused, sound included.",
                ),
                io.Mask.Input(
                    "human_mask", optional=True,
                    tooltip="Where the person is, from SyncCache Human Mask or any other node; a plan can then weigh the "
                    "person's error. One mask, or one per frame.",
                ),
                *cls._advanced(),
            ],
            outputs=[
                io.Model.Output(display_name="model"),
                RunType.Output(display_name="run", tooltip="For the SyncCache Schedule Optimizer."),
            ],
            hidden=PLACE,
        )

    @classmethod
    def _advanced(cls) -> list:
        return [
            io.Int.Input(
                "replays", default=4, min=0, max=MOST_REPLAYS, optional=True, advanced=True,
                tooltip="How many plans are sampled right after the calibration, so that the best is chosen for what it "
                "did: the preset's way, fewer steps without a cache, planned steps, then others. Each takes as long as its "
                "plan. 0: none, plans rest on predictions alone.",
            ),
            io.Float.Input(
                "target_speedup", default=3.0, min=LEAST_SPEEDUP, max=MOST_SPEEDUP, step=0.1,
                display_mode=io.NumberDisplay.slider, optional=True, advanced=True,
                tooltip="The speed at which plans are tried. The optimizer can still plan for any other.",
            ),
            io.Float.Input(
                "cache_ratio", default=1.0, min=LEAST_RATIO, max=1.0, step=0.05, display_mode=io.NumberDisplay.slider,
                optional=True, advanced=True,
                tooltip="Share of the residuals that get memory of their own while plans are tried.",
            ),
            io.String.Input(
                "save_as", default="", optional=True, advanced=True,
                tooltip="Also keep the calibration under this name in models/synccache_calibrations, for the command line. "
                "Empty: do not.",
            ),
        ]

    @classmethod
    def execute(
        cls, model, human_mask=None, replays=4, target_speedup=3.0, cache_ratio=1.0, save_as=""
    ) -> io.NodeOutput:
        check_number("replays", replays, 0, MOST_REPLAYS, whole=True)
        check_number("target_speedup", target_speedup, LEAST_SPEEDUP, MOST_SPEEDUP)
        check_number("cache_ratio", cache_ratio, LEAST_RATIO, 1.0)
        budget = Budget(speedup=target_speedup, cache_ratio=cache_ratio)
        remark = say("calibration: connect the sampler's latent to the Schedule Optimizer's samples")
        handle = RunHandle(remark, Strip(cls.hidden))
        return io.NodeOutput(calibrate(model, human_mask, handle, budget, replays, keeper(save_as)), handle)


def keeper(name: str):
    """Saves a recording under a name, which is checked now; None for an empty name. Raises BadInput."""
    if not name.strip():
        return None
    folder = folders(CALIBRATIONS)[0]
    path_of(folder, name)

    def keep(recording: Recording) -> None:
        store(recording, folder, name)

    return keep
