"""The node that artists put into the model line."""

import math
from dataclasses import replace

from comfy_api.latest import io

from ..synccache_core import BadConfig, Config, Plan, UnsupportedModel
from ..synccache_core import config as settings
from ..synccache_core.config import HUMAN_WEIGHT
from ..synccache_core.decide import paper
from ..synccache_core.files.checked import check_choice, check_number
from ..synccache_core.sentences import say
from ..synccache_core.units import GIB
from .host import AUTO, attach
from .plans import view
from .run import RunHandle, RunType
from .text import PLACE, Strip

PAPER, CUSTOM = "Paper", "Custom"
ERROR = "error"
# What a preset asks for: target_speedup, cache_ratio, less where less is usual, see `Layout.usual_ratio`. Faithful and Fast
# bracket the paper's 3.75x and 4.12x.
PRESETS = {"Faithful": (2.0, 1.0), "Balanced": (3.0, 1.0), "Fast": (4.0, 1.0), PAPER: (paper.SPEEDUP, paper.RATIO)}
DEVICES = (AUTO, "gpu", "cpu")
UNSUPPORTED = (ERROR, "pass through")
OVERRULED = say("preset Paper: of the plan only its boundaries (which blocks share a residual) are used")
LIVE = {"off": False, "person": True}
REUSE = {AUTO: settings.AUTO, "residuals": settings.RESIDUAL, "outputs": settings.OUTPUT}


class SyncCache(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncCache",
            display_name="SyncCache",
            category="SyncCache",
            description="Makes audio-driven video models faster: most steps reuse what the heavy blocks added before. Where "
            "model and speed allow, the audio is still refreshed at every step, so that lips hear the sound.",
            search_aliases=["cache", "speed up", "S2V", "talking", "lip sync", "EasyCache", "TeaCache"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="Any model that ComfyUI samples, after LoRA and model sampling. Of those that SyncCache's help "
                    "page does not list, whole results are reused, sound included.",
                ),
                io.Combo.Input(
                    "preset",
                    options=[*PRESETS, CUSTOM],
                    default="Balanced",
                    tooltip="Faithful asks for 2×, Balanced for 3×, Fast for 4×, each with full memory, or 0.4 of it where "
                    "every block hears the audio; faster means further from the uncached video. Paper: the published method "
                    "at 3.75×, whatever reuse, forecast_order and live say. Custom: the two sliders below; moving one "
                    "selects it.",
                    extra_dict={"synccache_presets": PRESETS},
                ),
                io.Float.Input(
                    "target_speedup",
                    default=3.0, min=1.0, max=5.0, step=0.1,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="With preset Custom: how much faster sampling shall be. 1 is off, bit for bit. Without a "
                    "probe_threshold: with one the probe decides.",
                ),
                io.Float.Input(
                    "cache_ratio",
                    default=1.0, min=0.05, max=1.0, step=0.05,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="With preset Custom: share of the residuals that get memory of their own. Lower saves memory "
                    "and costs accuracy.",
                ),
                io.Mask.Input(
                    "human_mask", optional=True,
                    tooltip="Where the person is, from SyncCache Human Mask or any other node. Its changes weigh more where "
                    "the probe chooses the steps: preset Paper, or a probe_threshold. live needs it. One mask, or one per "
                    "frame.",
                ),
                *cls._advanced(),
                io.String.Input(
                    "plan_json", optional=True, force_input=True,
                    tooltip="From the SyncCache Schedule Optimizer or Load Plan. A plan decides in place of preset, "
                    "target_speedup, cache_ratio, reuse, forecast_order, warmup and live. With preset Paper it decides only "
                    "which blocks share a residual.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="For the sampler."),
                RunType.Output(display_name="run", tooltip="For the SyncCache Report."),
            ],
            hidden=PLACE,
        )

    @classmethod
    def _advanced(cls) -> list:
        return [
            io.Float.Input(
                "human_weight", default=HUMAN_WEIGHT, min=0.0, max=1.0, step=0.05, optional=True, advanced=True,
                tooltip="Weight of the person against the background, with a human_mask and a probe_threshold.",
            ),
            io.Int.Input(
                "forecast_order", default=-1, min=-1, max=2, optional=True, advanced=True,
                tooltip="0 reuses the last value, 1 extends a line through the last two, 2 a parabola through three. "
                "Each order needs that much more memory. -1: 0 or 1, whichever forecast the last computed step better.",
            ),
            io.Int.Input(
                "warmup", default=-1, min=-1, max=1000, optional=True, advanced=True,
                tooltip="Steps at the start that are always computed. -1: the first; with a probe_threshold the first "
                "two; with preset Paper 15 % of the steps, at least 2, at most a quarter of the computed ones.",
            ),
            io.Combo.Input(
                "cache_device", options=list(DEVICES), default=AUTO, optional=True, advanced=True,
                tooltip="Where residuals rest. auto: on the GPU, in host memory once they would take a quarter of it.",
            ),
            io.Float.Input(
                "memory_budget_gb", default=0.0, min=0.0, max=1024.0, step=0.1, optional=True, advanced=True,
                tooltip="Most GiB that residuals may take; order and residuals are cut to fit. 0: no limit.",
            ),
            io.Combo.Input(
                "if_unsupported", options=list(UNSUPPORTED), default=ERROR, optional=True, advanced=True,
                tooltip="What to do with a model that cannot be served at all, or not as asked, such as residuals of one "
                "that SyncCache does not know: stop with an error, or pass it through as it is.",
            ),
            io.Combo.Input(
                "reuse", options=list(REUSE), default=AUTO, optional=True, advanced=True,
                tooltip="What skipped steps reuse. residuals: what the heavy blocks added, with fresh audio. outputs: the "
                "model's whole result, which costs nothing. auto: residuals, or outputs where fresh audio would cost "
                "too many steps: on a small model, or at a high speed.",
            ),
            io.Float.Input(
                "probe_threshold", default=0.0, min=0.0, max=100.0, step=0.001, optional=True, advanced=True,
                tooltip="Above 0, with Custom or Paper: a step is computed once the first block has changed by so much, "
                "added up, instead of at fixed steps; target_speedup has no say then. 0: off.",
            ),
            io.Combo.Input(
                "live", options=list(LIVE), default="off", optional=True, advanced=True,
                tooltip="person: at some of the skipped steps the person of the human_mask is computed and only the rest "
                "reused, which leaves fewer computed steps for the same speed. Wan2.2-S2V, without a plan; the smaller the "
                "person, the more it pays. off: whole steps only.",
            ),
        ]

    @classmethod
    def execute(
        cls, model, preset, target_speedup, cache_ratio, human_mask=None, human_weight=HUMAN_WEIGHT, forecast_order=-1,
        warmup=-1, cache_device=AUTO, memory_budget_gb=0.0, if_unsupported=ERROR, plan_json="", reuse=AUTO,
        probe_threshold=0.0, live="off",
    ) -> io.NodeOutput:
        check_number("probe_threshold", probe_threshold, 0.0, 100.0)
        check_choice("live", live, LIVE)
        check_choice("cache_device", cache_device, DEVICES)
        check_choice("if_unsupported", if_unsupported, UNSUPPORTED)
        threshold = probe_threshold if preset in (PAPER, CUSTOM) else 0.0
        # Checked before a preset replaces them: the API can bypass the widgets' limits, and nothing is corrected silently.
        config = Config(
            target_speedup=target_speedup,
            cache_ratio=cache_ratio,
            human_weight=human_weight,
            forecast_order=settings.AUTO_ORDER if forecast_order == -1 else forecast_order,
            backtest=forecast_order == -1,
            adapt=True,
            correction=True,
            warmup=None if warmup == -1 else warmup,
            memory_budget=budget_bytes(memory_budget_gb),
            level=level_of(reuse, threshold),
            choose=settings.PROBE if threshold else settings.SCHEDULE,
            threshold=threshold or None,
            live=LIVE[live],
        )
        config = with_preset(config, preset)
        plan = Plan.from_json(plan_json) if plan_json and plan_json.strip() else None
        overruled = plan is not None and preset == PAPER
        handle = RunHandle(watcher=Strip(cls.hidden), note=OVERRULED if overruled else "")
        handle.send(plan=None if plan is None or overruled else view(plan))
        try:
            return io.NodeOutput(attach(model, config, human_mask, handle, cache_device, plan, preset == PAPER), handle)
        except UnsupportedModel as error:
            if if_unsupported == ERROR:
                raise
            handle.tell(say("passed through unchanged: {error}", error=str(error)))
            return io.NodeOutput(model, handle)


def with_preset(config: Config, preset: str) -> Config:
    if preset == CUSTOM:
        return config
    if preset not in PRESETS:
        raise BadConfig(f"preset must be one of {[*PRESETS, CUSTOM]}, got {preset!r}")
    speedup, ratio = PRESETS[preset]
    return replace(config, target_speedup=speedup, cache_ratio=ratio if preset == PAPER else None)


def level_of(reuse: str, probe_threshold: float) -> str:
    """The core's name. The probe looks at what fresh residuals are added to."""
    check_choice("reuse", reuse, tuple(REUSE))
    if probe_threshold and reuse == "outputs":
        raise BadConfig(f"probe_threshold {probe_threshold:g} needs reuse residuals or auto, got reuse {reuse!r}")
    return settings.RESIDUAL if probe_threshold else REUSE[reuse]


def budget_bytes(gib: float) -> int | None:
    """GiB of the widget -> bytes, None for "no limit"."""
    if not math.isfinite(gib) or gib < 0:
        raise BadConfig(f"memory_budget_gb must be 0 (no limit) or more, got {gib!r}")
    return int(gib * GIB) if gib else None
