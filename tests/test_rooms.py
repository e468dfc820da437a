"""The rooms of the core: no import goes up, so that no circle is possible."""

import ast

import pytest

from tests.conftest import ROOT

CORE = ROOT / "synccache_core"
# From the ground up; those of one floor know nothing of each other.
FLOORS = (
    ("errors", "sentences", "units"), ("config", "files", "compare"), ("human",), ("model",), ("report",), ("reuse",),
    ("decide",), ("run",), ("planning",), ("attach",), ("contract",),
)  # fmt: skip
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room_of(parts: tuple[str, ...]) -> str:
    """Of a module's name inside the core; "" = the core itself."""
    return parts[0].removesuffix(".py") if parts else ""


def arrows():
    for path in sorted(CORE.rglob("*.py")):
        here = path.relative_to(CORE).parts
        if here == ("__init__.py",):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = here[:-1][: len(here) - node.level]
                names = [*base, *(node.module or "").split(".")]
                yield "/".join(here), room_of(here), room_of(tuple(filter(None, names)))


def test_every_file_is_in_a_room():
    assert {room_of(path.relative_to(CORE).parts) for path in CORE.rglob("*.py")} == {*FLOOR, "__init__"}


@pytest.mark.parametrize("room", FLOOR)
def test_no_import_goes_up(room):
    """The command of the planner alone asks the whole core for its version."""
    FLOOR[""] = len(FLOORS)
    out = {(file, target) for file, own, target in arrows() if own == room != target}
    assert {(file, target) for file, target in out if FLOOR[target] >= FLOOR[room]} <= {("planning/__main__.py", "")}
