"""Every script of demo/, bench/, tools/ and the core says with --help what it does, and does nothing else."""

import ast
import runpy
import sys

import pytest

from tests.conftest import ROOT

ROOMS = ("demo", "bench", "tools", "synccache_core")
PYTESTS = {"tools.run_tests"}  # hands its arguments on: --help is pytest's own


def scripts() -> list[str]:
    """Names of the modules that do something where they are run."""
    found = []
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        top = ast.parse(path.read_text(encoding="utf-8")).body
        if any(isinstance(part, ast.If) and ast.unparse(part.test) == "__name__ == '__main__'" for part in top):
            found.append(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__"))
    return found


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("name", sorted(set(scripts()) - PYTESTS))
def test_help_is_all_it_does(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as left:
        runpy.run_module(name, run_name="__main__")
    said = capsys.readouterr().out
    assert left.value.code == 0 and said.startswith("usage: ") and "options:" in said
    assert len(said.partition("options:")[0].split("\n\n")[1]) > 20, "it does not say what it is for"


def test_the_scripts_are_found():
    assert {"demo.run", "bench.online", "tools.gpu_table", "synccache_core.planning"} <= set(scripts())
