"""From a plan to the settings of a run: what the plan decides, at the sigmas that the run really has."""

from collections.abc import Sequence
from dataclasses import replace

from .layout import Layout
from .plan import Plan, check
from .policy import Config
from .samplers import Sampler
from .schedule import remap


def planned_config(plan: Plan, base: Config, adapter: str, layout: Layout) -> Config:
    """`base` with all that a plan decides, for its own sigmas. Raises PlanError, with both names, for another model."""
    check(plan, adapter, layout)
    return replace(
        base, schedule=plan.mask, force_last=False, level=plan.level, forecast_order=plan.order, correction=plan.correction,
        groups=plan.groups or None, merge=plan.merge, probe=plan.probe,
    )


def fitted_config(
    plan: Plan, config: Config, sigmas: Sequence[float], sampler: Sampler, tokens: int = 0
) -> tuple[Config, bool, list[str]]:
    """The config at a run's sigmas [N + 1], whether its schedule had to be moved, and what a person should know.

    tokens: of the run's video, 0 = unknown.
    """
    wanted = sampler.evaluated(sigmas)
    schedule, note = remap(plan.schedule, plan.run.sigmas, wanted)
    notes = [note] if note else []
    if sampler.name != plan.run.sampler:
        notes.append(f"plan made with sampler {plan.run.sampler}, this run uses {sampler.name}: errors may be larger")
    if tokens and plan.run.tokens and tokens != plan.run.tokens:
        notes.append(f"plan made for {plan.run.tokens} video tokens, this run has {tokens}: bytes and error will differ")
    computed = set(schedule)
    mask = tuple(t in computed for t in range(len(wanted) - 1))
    return replace(config, schedule=mask), bool(note), notes


def describe(plan: Plan) -> str:
    """One line for reports and for the live text of a node."""
    corrected = ", corrected" * plan.correction
    return f"{len(plan.schedule)} of {plan.evaluations} steps computed, {plan.level} level, order {plan.order}{corrected}"
