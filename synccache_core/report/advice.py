"""At most one recommendation per run, and only where the run's own numbers support it."""

from itertools import takewhile
from statistics import mean

from ..units import GIB

OUT_OF_REACH = 0.9  # of the target; less than this share of it is worth a word
SLOW = 0.75  # of the ideal speed-up
LONG_TAIL = 0.25  # of all steps
FEW_STEPS = 8


def advice(report) -> str:
    """One sentence that names an input and a value, "" where there is nothing to say. report: a RunReport with steps."""
    if not report.steps or report.calibration:
        return ""
    rules = (_few_steps, _more_memory, _out_of_reach, _slow_host_memory, _shorter_warmup, _budget_spent)
    found = (rule(report) for rule in rules)
    return next(filter(None, found), "")


def _few_steps(report) -> str:
    """So few that each makes much of the result; where they are LIVE, the person is computed at every step."""
    count, target = len(report.steps), report.settings.get("target_speedup", 1.0)
    if count > FEW_STEPS or target <= 1.0 or report.plan or report.lived:
        return ""
    head = f"set target_speedup to 1, which is off: {count} steps are few, so that there is little to gain"
    return f"{head}; compare with {report.computed} steps without SyncCache" if report.reused else head


def _more_memory(report) -> str:
    """The byte budget cut residuals or the order."""
    limit, wanted = report.settings.get("memory_budget"), _wanted_groups(report)
    order = report.settings.get("forecast_order", 0)
    if limit is None or report.level == "output" or not report.residual_bytes:
        return ""
    if (report.groups, report.order) == (wanted, order):
        return ""
    need = wanted * (order + 1) * report.residual_bytes
    held = f"now {report.groups} of {wanted} residuals fit, at order {report.order} of {order}"
    return f"raise memory_budget_gb from {limit / GIB:.3g} to {_upwards(need / GIB)}: {held}"


def _wanted_groups(report) -> int:
    groups = report.settings.get("groups")
    if groups is not None:
        return len(groups) + (not report.settings.get("probe", True))
    return max(1, min(report.storable, int(report.settings.get("cache_ratio", 1.0) * report.refresh_points + 0.5)))


def _out_of_reach(report) -> str:
    """Reused steps themselves cost too much for the wished speed."""
    target = report.settings.get("target_speedup", 1.0)
    if report.plan or report.level == "output" or not report.reused or not report.reuse_share:
        return ""
    if report.speedup_ideal >= OUT_OF_REACH * target:
        return ""
    return (
        f"set reuse to outputs for {target:g}×: a reused step costs {report.reuse_share:.0%} of a computed one here, so "
        f"that residuals give {report.speedup_ideal:.1f}×; whole outputs cost next to nothing"
    )


def _slow_host_memory(report) -> str:
    """Residuals rest in host memory, and fetching them is what takes the time."""
    fast, measured = report.settings.get("cache_device") != "cpu", report.speedup_measured
    if fast or measured is None or measured >= SLOW * report.speedup_ideal or not report.reuse_share:
        return ""
    took = mean(s.seconds for s in report.steps if s.action == "reuse")
    took /= mean(s.seconds for s in report.steps if s.action == "compute")
    return (
        f"set cache_device to gpu if {report.bytes_held / GIB:.1f} GiB fit there, or lower cache_ratio: a reused step took "
        f"{took:.0%} of a computed one, {report.reuse_share:.0%} by operation count"
    )


def _shorter_warmup(report) -> str:
    """A warm-up that was set by hand and takes most of what may be computed."""
    warmup = report.settings.get("warmup")
    spent = sum(step.reason == "warm-up" for step in report.steps)
    if warmup is None or not report.reused or 2 * spent <= report.computed:
        return ""
    return f"lower warmup from {warmup}, or set it to -1: the start takes {spent} of {report.computed} computed steps"


def _budget_spent(report) -> str:
    """Everything that may be computed was, long before the end."""
    before_last = report.steps[-2::-1]
    tail = len(list(takewhile(lambda step: step.reason == "budget spent", before_last)))
    if report.plan or tail < LONG_TAIL * len(report.steps):
        return ""
    return (
        f"calibrate once and use a plan: the {report.budget} computed steps were spent {tail} steps before the last one, "
        "and a plan knows the whole run"
    )


def _upwards(value: float) -> str:
    """A little more, with two digits."""
    return f"{1.05 * value:.2g}"
