"""From a calibration run to a plan and a picture of it."""

from dataclasses import replace

import comfy.model_management
from comfy_api.latest import io, ui

from ..synccache_core import BadConfig, __version__
from ..synccache_core.config import HUMAN_WEIGHT, LEVELS, MAX_ORDER
from ..synccache_core.files.checked import check_choice, check_number, check_text, shown
from ..synccache_core.model.samplers import CORRECTED
from ..synccache_core.planning.plan import Budget, Plan
from ..synccache_core.planning.planned import order_words
from ..synccache_core.planning.planner import Choice, Planner
from ..synccache_core.planning.recipes import Recipe, every
from ..synccache_core.planning.recording import Recording
from ..synccache_core.planning.remarks import GUESSED, REPLAYED
from ..synccache_core.units import GIB, counted, readable
from .host import AUTO
from .images import as_image
from .pictures.chart import Chart, Point, draw
from .pictures.drawing import percent
from .plans import VIEW, cells, lines_of, view
from .run import RunType

ORDERS = (AUTO, *map(str, range(MAX_ORDER + 1)))
CORRECTIONS = {AUTO: (False, True), "on": (True,), "off": (False,)}
LEAST_SPEEDUP, MOST_SPEEDUP = 1.0, 8.0
LEAST_RATIO, MOST_GB = 0.05, 1024.0


class SyncCacheScheduleOptimizer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncCacheScheduleOptimizer",
            display_name="SyncCache Schedule Optimizer",
            category="SyncCache",
            description="Finds the steps to compute and the residuals to keep for the speed and memory you ask for, from "
            "a calibration run, and draws what it will cost and give. What was sampled after the calibration decides what "
            "kind of plan it is; it may also be to take fewer steps without any cache.",
            search_aliases=["plan", "schedule", "calibrate", "pareto"],
            inputs=[
                RunType.Input("run", tooltip="From the SyncCache Calibrate node."),
                io.Latent.Input("samples", tooltip="From the sampler; passed on unchanged, so that this runs after it."),
                io.Float.Input(
                    "target_speedup", default=3.0, min=LEAST_SPEEDUP, max=MOST_SPEEDUP, step=0.01,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="How much faster sampling shall be. The points in the picture show what more or less would "
                    "cost; choosing one sets this.",
                ),
                io.Float.Input(
                    "cache_ratio", default=1.0, min=LEAST_RATIO, max=1.0, step=0.05, display_mode=io.NumberDisplay.slider,
                    optional=True,
                    tooltip="Share of the residuals that get memory of their own. No meaning where memory_gb is given, nor "
                    "for plans at output level, which store no residuals.",
                ),
                io.Float.Input(
                    "memory_gb", default=0.0, min=0.0, max=MOST_GB, step=0.1, optional=True,
                    tooltip="Most GiB that the cache may take. 0: by cache_ratio.",
                ),
                io.String.Input(
                    "name", default="my plan", optional=True, tooltip="Title of the chart, kept in the plan as its note.",
                ),
                *cls._advanced(),
            ],
            outputs=[
                io.String.Output(display_name="plan_json", tooltip="For SyncCache, or for SyncCache Save Plan."),
                io.Image.Output(display_name="chart"),
                io.Latent.Output(display_name="samples"),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def _advanced(cls) -> list:
        return [
            io.Combo.Input(
                "level", options=[AUTO, *LEVELS], default=AUTO, optional=True, advanced=True,
                tooltip="What a reused step forecasts. output: the model's result, the fastest. residual: the heavy blocks' "
                "part, with the audio refreshed at every step. auto: whichever did better where it was tried.",
            ),
            io.Combo.Input(
                "forecast_order", options=list(ORDERS), default=AUTO, optional=True, advanced=True,
                tooltip="0 reuses the last value, 1 extends a line through the last two, 2 a parabola through three.",
            ),
            io.Combo.Input(
                "correction", options=list(CORRECTIONS), default=AUTO, optional=True, advanced=True,
                tooltip="Whether a computed step corrects what the reused steps before it had forecast.",
            ),
            io.Float.Input(
                "human_weight", default=HUMAN_WEIGHT, min=0.0, max=1.0, step=0.05, optional=True, advanced=True,
                tooltip="Weight of the person against the whole picture, where the calibration had a human mask.",
            ),
        ]

    @classmethod
    def execute(
        cls, run, samples, target_speedup, cache_ratio=1.0, memory_gb=0.0, name="my plan", level=AUTO, forecast_order=AUTO,
        correction=AUTO, human_weight=HUMAN_WEIGHT,
    ) -> io.NodeOutput:
        budget = wanted(target_speedup, cache_ratio, memory_gb)
        check_text("name", name, 80)
        check_number("human_weight", human_weight, 0.0, 1.0)
        recording = run.of(samples["samples"]).recording()
        recipes = allowed(recording, level, forecast_order, correction)
        planner = Planner(
            recording, human_weight=human_weight, recipes=recipes,
            watch=comfy.model_management.throw_exception_if_processing_interrupted,
        )
        choice = choose(planner, budget, memory_gb)
        plan = planner.plan(choice, budget, __version__, "; ".join([name, *choice.notes]))
        chart = as_image(draw(chart_of(planner, plan, choice, human_weight, name)))
        text = "\n".join([*lines_of(plan), *(f"note: {note}" for note in choice.notes)])
        shown = {**view(plan), "room": room(planner, plan), "target": target_speedup, "front": menu(planner, budget)}
        preview = {**ui.PreviewImage(chart).as_dict(), **ui.PreviewText(text).as_dict(), VIEW: [shown]}
        return io.NodeOutput(plan.to_json(), chart, samples, ui=preview)


def wanted(target_speedup: float, cache_ratio: float, memory_gb: float) -> Budget:
    """Checked here too: links and the API go past the widgets' limits. Raises BadInput."""
    check_number("target_speedup", target_speedup, LEAST_SPEEDUP, MOST_SPEEDUP)
    check_number("cache_ratio", cache_ratio, LEAST_RATIO, 1.0)
    check_number("memory_gb", memory_gb, 0.0, MOST_GB)
    if memory_gb:
        return Budget(speedup=target_speedup, bytes=int(memory_gb * GIB))
    return Budget(speedup=target_speedup, cache_ratio=cache_ratio)


def allowed(recording: Recording, level: str, forecast_order: str, correction: str) -> list[Recipe] | None:
    """Every recipe that the settings leave open, None = all. Raises BadInput, BadConfig."""
    check_choice("level", level, (AUTO, *LEVELS))
    check_choice("forecast_order", forecast_order, ORDERS)
    check_choice("correction", correction, CORRECTIONS)
    if level not in (AUTO, *recording.levels):
        raise BadConfig(f"level {shown(level)} was not recorded, this calibration holds {', '.join(recording.levels)}")
    if level == forecast_order == correction == AUTO:
        return None
    levels = recording.levels if level == AUTO else (level,)
    orders = range(MAX_ORDER + 1) if forecast_order == AUTO else (int(forecast_order),)
    found = every(recording, levels, orders, CORRECTIONS[correction])
    if not found:
        used = f"this calibration used {shown(recording.run.sampler)}, and level is {shown(level)}"
        raise BadConfig(f"correction is on: {CORRECTED}; {used}")
    return found


def choose(planner: Planner, budget: Budget, memory_gb: float) -> Choice:
    """Raises BadConfig, with the name of the node's input."""
    try:
        return planner.choose(budget)
    except BadConfig as error:
        raise BadConfig(f"memory_gb {memory_gb:g}: {error}") from None


def chart_of(planner: Planner, plan: Plan, choice: Choice, human_weight: float, name: str) -> Chart:
    """What the chart shows of a plan."""
    residuals = planner.recording.levels[-1] == "residual"
    most = room(planner, plan)
    return Chart(
        title=name,
        headline=f"{choice.computed} of {plan.evaluations} steps {'taken' if plan.plain else 'computed'},  "
        f"{choice.speedup:.2g}x faster,  "
        f"{percent(choice.error)} predicted error",
        computed=plan.mask,
        sigmas=plan.run.sigmas,
        gaps=tuple(planner.gaps(choice)),
        chosen=_point(choice),
        front=tuple(map(_point, planner.front(plan.budget))),
        target=plan.budget.speedup,
        room=most,
        used_label=f"{readable(choice.bytes)} used",
        room_label=f"{'limit' if plan.budget.bytes else 'all residuals' if residuals else 'all'}: {readable(most)}",
        details=details(planner, plan, choice, human_weight),
    )


def room(planner: Planner, plan: Plan) -> int:
    """Bytes that a plan may take, or would take with every residual."""
    recording = planner.recording
    most = recording.levels[-1]  # residuals, where they were recorded
    everything = recording.bytes(most, recording.layout.storable(), plan.order, plan.correction)
    return plan.budget.bytes or everything


def menu(planner: Planner, budget: Budget) -> list[dict]:
    """What other target_speedups would give within this memory, slowest first, with that target."""
    found: dict[Choice, float] = {}
    for speedup in (int(100 * c.speedup) / 100 for c in planner.front(budget)):
        if LEAST_SPEEDUP <= speedup <= MOST_SPEEDUP:
            choice = replace(planner.choose(replace(budget, speedup=speedup)), notes=())
            if all(choice.error < other.error for other in found if other != choice):
                found[choice] = speedup  # the least that gives it
    return [_entry(choice, target, planner.recording.steps) for choice, target in reversed(found.items())]


def _entry(choice: Choice, target: float, steps: int) -> dict:
    computed = set(choice.schedule)
    return {
        "target": target, "cells": cells([step in computed for step in range(steps)]), "speedup": choice.speedup,
        "error": choice.error, "bytes": choice.bytes,
    }  # fmt: skip


def details(planner: Planner, plan: Plan, choice: Choice, human_weight: float) -> tuple[str, ...]:
    """Short lines beside the curves."""
    recording, runs = planner.recording, plan.provenance.recordings
    human = f"human counts {human_weight:.0%}" if ("output", "human") in recording.grams else "no human mask"
    kept = f"{len(choice.groups)} of {recording.layout.storable()} residuals"
    alpha = choice.recipe.alpha
    spread = "planned from the recording" if alpha is None else f"spread, {alpha:.0%} by noise level"
    stale = f"Error: forecast {percent(choice.step_error)}, merged audio {percent(choice.staleness)}"
    way = (
        f"Keeps {kept if plan.level == 'residual' else 'outputs of the model only'}",
        f"Forecast by {('the last value', 'a line', 'a parabola')[plan.order]} ({order_words(plan)}), "
        f"correction {'on' if plan.correction else 'off'}",
    )
    return (
        *(("Takes fewer steps, no cache",) if plan.plain else way),
        f"Steps: {spread}",
        *([stale] if choice.staleness else []),
        f"Calibrated on {counted(runs, 'run')}, {human}",
        _tried(plan, choice),
        f"{plan.adapter}, {plan.run.steps} steps, {plan.run.sampler}, cfg {plan.run.cfg:g}",
    )


def _tried(plan: Plan, choice: Choice) -> str:
    """How far the prediction was put to the test."""
    if plan.measured:
        return f"Tried: error {percent(plan.measured.error)}, {plan.measured.speedup:.3g}x faster"
    if choice.basis == GUESSED:
        return "Predicted; nothing like it was tried"
    return "Predicted; its kind was tried" if choice.basis == REPLAYED else "Predicted; its kind was tried at another speed"


def _point(choice: Choice) -> Point:
    return Point(choice.speedup, choice.error, choice.bytes)
