"""`python -m synccache_core.planning calibration.json --speedup 4`: a calibration's best plans by speed, and one."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from ..errors import SyncCacheError
from ..units import GIB, MIB
from .plan import Budget, Plan
from .planner import Choice, Planner
from .recording import Recording
from .saved import load_file


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (SyncCacheError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _run(options: argparse.Namespace) -> int:
    memory = None if options.gib is None else round(options.gib * GIB)
    budget = Budget(None if options.computed else options.speedup, options.computed, options.cache_ratio, memory)
    planner = Planner(load_file(Recording, options.calibration))
    rows = [row(choice) for choice in planner.front(budget)]
    choice = planner.choose(budget)
    plan = planner.plan(choice, budget, __version__)
    _write(*table(rows), "", *summary(plan), *(f"note: {note}" for note in choice.notes))
    if options.json:
        options.json.write_text(json.dumps({"pareto": rows, "plan": json.loads(plan.to_json())}, indent=1), encoding="utf-8")
    return 0


def row(choice: Choice) -> dict:
    """One point of the table, units in the names."""
    return {
        "computed_steps": choice.computed, "speedup_x": choice.speedup, "error_percent": 100 * choice.error,
        "memory_mib": choice.bytes / MIB, "kind": choice.recipe.kind, "level": choice.variant.level,
        "order": choice.variant.order, "correction": choice.variant.correction, "residuals": len(choice.groups),
    }


def table(rows: Sequence[dict]) -> list[str]:
    def cells(values):
        return "  ".join(f"{value:>14}" for value in values)

    shown = ([f"{v:.4g}" if isinstance(v, float) else str(v) for v in r.values()] for r in rows)
    return [cells(rows[0]), *map(cells, shown)]


def summary(plan: Plan) -> list[str]:
    """The chosen plan for a person."""
    how = f"order {plan.order}, {'with' if plan.correction else 'without'} correction, {len(plan.groups)} stored residuals"
    return [
        f"plan: {len(plan.schedule)} of {plan.evaluations} steps computed: {' '.join(map(str, plan.schedule))}",
        "takes these steps alone, nothing is reused" if plan.plain else f"{plan.level} level, {how}",
        f"predicted: {plan.predicted.speedup:.2f}x, relative error {plan.predicted.error:.2e}, {plan.predicted.bytes} bytes",
    ]


def _write(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m synccache_core.planning", description=__doc__)
    parser.add_argument("calibration", type=Path, help="calibration.json")
    parser.add_argument("--speedup", type=float, default=3.0, help="wanted speed of the sampling loop (default 3)")
    parser.add_argument("--computed", type=int, help="number of computed steps, instead of --speedup")
    parser.add_argument("--cache-ratio", type=float, help="share of the residuals that get memory of their own, 0..1")
    parser.add_argument("--gib", type=float, help="memory for the cache, instead of --cache-ratio")
    parser.add_argument("--json", type=Path, help="write the table and the plan to this file")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
