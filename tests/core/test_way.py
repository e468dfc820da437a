"""The way of a forward pass through the core is short enough to be read: predict, block, probe, decide, keep or forecast.

A hop is a step that a reader takes who follows a pass from the host's call of block 0 until the last block has returned: one
function of the room `run/`, or the host, calls another one of the core. However often it is taken, it counts once. What the
other rooms do inside is no part of it, nor is reading a property.
"""

import ast
import sys
from pathlib import Path

import pytest
import torch

import synccache_core
from demo.toys import toy_case
from synccache_core.contract.case import running
from synccache_core.run.call import Call

CORE = Path(synccache_core.__file__).parent
DOORS = ("attach.py", "contract")  # they play the host
MOST = 25
INSIDE = ("<lambda>", "<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>")  # of the function that holds them


def properties() -> set[tuple[str, str]]:
    """(file, name)"""
    found = set()
    for path in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and any("property" in ast.unparse(each) for each in node.decorator_list):
                found.add((str(path), node.name))
    return found


def place(code) -> str:
    """The function's file within the core and its name, "host" outside of it."""
    path = Path(code.co_filename)
    if CORE not in path.parents or path.relative_to(CORE).parts[0] in DOORS:
        return "host"
    return f"{path.relative_to(CORE).as_posix()} {code.co_name}"


class Walk:
    """hops: (from, to), in the order in which they are first taken, while blocks are called."""

    def __init__(self, monkeypatch):
        self.hops: dict[tuple[str, str], None] = {}
        self._properties, original = properties(), Call.block

        def block(*args):
            sys.setprofile(self._see)
            try:
                return original(*args)
            finally:
                sys.setprofile(None)

        monkeypatch.setattr(Call, "block", block)

    def _see(self, frame, event, _):
        code, target = frame.f_code, place(frame.f_code)
        read = (code.co_filename, code.co_name) in self._properties
        if event != "call" or target == "host" or read or code.co_name in INSIDE:
            return
        back = frame.f_back
        while back.f_code.co_name in INSIDE or (place(back.f_code) == "host" and "torch" in back.f_code.co_filename):
            back = back.f_back
        source = place(back.f_code)
        if source == "host" or source.startswith("run/"):
            self.hops[source, target] = None


def walked(monkeypatch, action: str) -> list[tuple[str, str]]:
    """The hops of a pass that is computed and stored, or reused, in a run in which both have been before."""
    case, schedule = toy_case(), (True, True, False, True, False, True)
    x, audio = case.tensors(0)
    with torch.no_grad(), running(case, schedule=schedule) as session:
        for step, sigma in enumerate(case.sigmas[: len(schedule) - 1]):
            with monkeypatch.context() as patched, session.evaluation(sigma):
                walk = Walk(patched) if step == len(schedule) - (2 if action == "reuse" else 3) else None
                case.call(case.model, x, sigma, audio)
            if walk is not None:
                assert session.report.steps[-1].action == action
                return list(walk.hops)


@pytest.mark.parametrize(("action", "through"), [
    ("compute", ("_probe", "_open", "_close", "keep", "mode", "decide")),
    ("reuse", ("_probe", "_stand_in", "_add", "forecast", "mode", "decide")),
])  # fmt: skip
def test_the_way_is_short(monkeypatch, action, through):
    hops = walked(monkeypatch, action)
    assert set(through) <= {target.split()[-1] for _, target in hops}
    assert len(hops) <= MOST, "\n".join(f"{source} -> {target}" for source, target in hops)


def test_nothing_is_passed_on_three_levels_deep(monkeypatch):
    """Of a hop, no two ends have one name, as `session.forecast -> residuals.forecast` had."""
    for action in ("compute", "reuse"):
        assert [hop for hop in walked(monkeypatch, action) if hop[0].split()[-1] == hop[1].split()[-1]] == []


def test_the_session_is_not_on_it(monkeypatch):
    for action in ("compute", "reuse"):
        assert not any("session.py" in end for hop in walked(monkeypatch, action) for end in hop)
