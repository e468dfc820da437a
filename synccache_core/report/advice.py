"""At most one recommendation per run, and only where the run's own numbers support it."""

from itertools import takewhile
from statistics import mean

from ..config import PROBE
from ..sentences import say
from ..units import GIB

OUT_OF_REACH = 0.9  # of the target; less than this share of it is worth a word
SLOW = 0.75  # of the ideal speed-up
LONG_TAIL = 0.25  # of all steps
FEW_STEPS = 8


def advice(report) -> str:
    """One sentence that names an input and a value, "" where there is nothing to say. report: a RunReport with steps."""
    if not report.steps or report.calibration:
        return ""
    rules = (_few_steps, _more_memory, _shorter_warmup, _out_of_reach, _slow_host_memory, _budget_spent)
    found = (rule(report) for rule in rules)
    return next(filter(None, found), "")


def _few_steps(report) -> str:
    """So few that each makes much of the result; where they are LIVE, the person is computed at every step. With a threshold
    of its own the probe decides, and no target is off. Of a part of a run nobody knows how many steps there are.
    """
    count, target = len(report.steps), report.settings.get("target_speedup", 1.0)
    if report.settings.get("threshold") is not None:
        return ""
    if count > FEW_STEPS or target <= 1.0 or report.plan or report.lived or report.part:
        return ""
    head = say(
        "set target_speedup to 1, which is off: {steps} steps are few, so that there is little to gain",
        steps=count,
    )  # fmt: skip
    if report.reused:
        head = say("{head}; compare with {computed} steps without SyncCache", head=head, computed=report.computed)
    return head


def _more_memory(report) -> str:
    """The byte budget cut residuals or the order."""
    limit, wanted = report.settings.get("memory_budget"), _wanted_groups(report)
    order = report.settings.get("forecast_order", 0)
    if limit is None or report.level == "output" or not report.residual_bytes:
        return ""
    if (report.groups, report.order) == (wanted, order):
        return ""
    need = wanted * (order + 1) * report.residual_bytes
    return say(
        "raise memory_budget_gb from {limit} to {need}: now {fit} of {wanted} residuals fit, at order {now} of {order}",
        limit=f"{limit / GIB:.3g}", need=f"{1.05 * need / GIB:.2g}", fit=report.groups, wanted=wanted, now=report.order,
        order=order,
    )  # fmt: skip


def _wanted_groups(report) -> int:
    groups = report.settings.get("groups")
    if groups is not None:
        return len(groups) + (not report.settings.get("probe", True))
    return max(1, min(report.storable, int(report.settings.get("cache_ratio", 1.0) * report.refresh_points + 0.5)))


def _out_of_reach(report) -> str:
    """Reused steps themselves cost too much for the wished speed. Whole outputs have no probe that could decide."""
    target = report.settings.get("target_speedup", 1.0)
    if report.settings.get("choose") == PROBE:
        return ""
    if report.plan or report.level == "output" or not report.reused or not report.reuse_share:
        return ""
    if report.computed > report.budget:  # something else had more steps computed
        return ""
    if report.speedup_ideal >= OUT_OF_REACH * target:
        return ""
    return say(
        "set reuse to outputs for {target}×: a reused step costs {share} of a computed one here, so that residuals give "
        "{speed}×; whole outputs cost next to nothing",
        target=f"{target:g}", share=f"{report.step_share:.0%}", speed=f"{report.speedup_ideal:.1f}",
    )  # fmt: skip


def _slow_host_memory(report) -> str:
    """Residuals rest in host memory, and fetching them is what takes the time."""
    fast, measured = report.settings.get("cache_device") != "cpu", report.speedup_measured
    if fast or measured is None or measured >= SLOW * report.speedup_ideal or not report.reuse_share:
        return ""
    reused = [s.seconds for s in report.steps if s.action == "reuse"]
    if not reused:  # every step that was not computed was LIVE
        return ""
    took = mean(reused) / mean(s.seconds for s in report.steps if s.action == "compute")
    return say(
        "set cache_device to gpu if {held} GiB fit there, or lower cache_ratio: a reused step took {took} of a computed "
        "one, {share} by operation count",
        held=f"{report.bytes_held / GIB:.1f}", took=f"{took:.0%}", share=f"{report.step_share:.0%}",
    )  # fmt: skip


def _shorter_warmup(report) -> str:
    """A warm-up that was set by hand and takes most of what may be computed."""
    warmup = report.settings.get("warmup")
    spent = sum(step.reason == "warm-up" for step in report.steps)
    if warmup is None or not report.reused or 2 * spent <= report.computed:
        return ""
    return say(
        "lower warmup from {warmup}, or set it to -1: the start takes {spent} of {computed} computed steps",
        warmup=warmup, spent=spent, computed=report.computed,
    )  # fmt: skip


def _budget_spent(report) -> str:
    """Everything that may be computed was, long before the end. Of the nodes' presets this is Paper, which takes no plan."""
    before_last = report.steps[-2::-1]
    tail = len(list(takewhile(lambda step: step.reason == "budget spent", before_last)))
    if report.plan or tail < LONG_TAIL * len(report.steps):
        return ""
    return say(
        "calibrate once and use a plan, with a preset other than Paper: the {computed} computed steps were spent {early} "
        "steps before the last one, and a plan knows the whole run",
        computed=report.budget, early=tail,
    )  # fmt: skip
