"""What `demo.evaluate` says: figures, what is required of them, and which fall short."""

from __future__ import annotations

import argparse
import json
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from .console import say

SIGNS = {">=": operator.ge, "<=": operator.le, "<": operator.lt}


@dataclass(frozen=True)
class Row:
    """One line of the table. own: the same figure of the renderer's own clips, where that says what could be reached."""

    figure: str
    value: float
    required: str = ""
    met: bool = True
    own: float | None = None


def required(figure: str, value: float, sign: str, bound: float, own: float | None = None) -> Row:
    """A row with a demand on it; what cannot be measured does not meet it."""
    return Row(figure, float(value), f"{sign} {bound:g}", SIGNS[sign](float(value), bound), own)


def as_json(row: Row) -> dict:
    def digits(value: float) -> float | None:
        return round(value, 4) if isfinite(value) else None

    found = {"figure": row.figure, "value": digits(row.value), "required": row.required, "met": row.met}
    return found if row.own is None else found | {"renderer": digits(row.own)}


def finish(rows: Sequence[Row], caption: str, options: argparse.Namespace) -> int:
    """Print the table and the caption, write the rows, and say what is missed; the exit status."""
    owned = any(row.own is not None for row in rows)
    say(f"{'figure':62}{'value':>9}{'renderer' * owned:>{10 * owned}}{'required':>12}")
    for row in rows:
        own = "" if row.own is None else f"{row.own:.3f}"
        say(f"{row.figure:62}{row.value:>9.3f}{own:>{10 * owned}}{row.required:>12}{'' if row.met else '  missed'}")
    say(caption)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps([as_json(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    missed = [row for row in rows if not row.met]
    for row in missed if options.check else []:
        say(f"missed: {row.figure} is {row.value:.3f}, required {row.required}")
    return int(options.check and bool(missed))
