"""Published change curves of real model families, held against the default's schedule.

`python -m bench.curves [--json FILE]`. MagCache's tables (curves.json has their source) give how the size of a block stack's
residual changes from step to step. Reusing the residual of step s at step t > s is off by |1 - r_(s+1) ... r_t| at least, as
MagCache counts it. Per family and alpha of `schedules.blended`: the worst gap and the sum of all gaps, where a quarter and
where half of the steps are computed; sigmas by the family's own shift. Size alone: direction is not in the tables.
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import accumulate, pairwise
from json import loads
from operator import mul
from pathlib import Path

from demo.sampling import simple_sigmas
from synccache_core.decide.schedules import ALPHA, alpha_for, blended

from .harness import parser, publish

ALPHAS = (0.0, 0.25, 0.5, ALPHA, 1.0)  # beside the presets' own
SHARES = (0.25, 0.5)
CURVES = Path(__file__).with_suffix(".json")


def gaps(ratios: Sequence[float], schedule: Sequence[int]) -> list[float]:
    """Error of each gap behind a computed step. ratios: [T - 1], of step 1 over step 0 and so on. schedule: from 0."""
    found = []
    for here, there in pairwise([*schedule, len(ratios) + 1]):
        found.append(sum(abs(1 - grown) for grown in accumulate(ratios[here : there - 1], mul)))
    return found


def rows(curve: dict) -> list[dict]:
    ratios, made = curve["ratios"], []
    sigmas = simple_sigmas(len(ratios) + 1, curve["shift"])
    for alpha in sorted({*ALPHAS, alpha_for(sigmas)}):
        row = {"family": curve["family"], "shift": curve["shift"], "steps": len(ratios) + 1, "alpha": alpha}
        for share in SHARES:
            errors = gaps(ratios, blended(sigmas, round(share * (len(ratios) + 1)), alpha))
            row |= {f"worst gap at {share:g}": max(errors), f"all gaps at {share:g}": sum(errors)}
        made.append(row)
    return made


def tables() -> tuple[dict[str, list[dict]], str]:
    """(the table, its source)."""
    data = loads(CURVES.read_text(encoding="utf-8"))
    return {"change that reuse misses": [row for curve in data["tables"] for row in rows(curve)]}, data["source"]


def main(arguments: Sequence[str] | None = None) -> int:
    options: argparse.Namespace = parser("bench.curves", __doc__, "nothing to leave out").parse_args(arguments)
    publish(*tables(), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
