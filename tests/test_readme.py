"""What README names is there, all that is there is named, and its snippet runs with every kind of plan."""

import re
from contextlib import redirect_stdout
from io import StringIO

import pytest
import torch

from demo.toys import toy_case
from synccache_core import calibrate, supported
from synccache_core.model import adapters
from synccache_core.planning.plan import Budget
from synccache_core.planning.planner import Planner
from synccache_core.planning.recipes import STILL, Recipe
from synccache_core.planning.schedule import Variant
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPET = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
TOYS_GRID = SNIPPET.replace("Grid(frames=20, height=30, width=52)", "Grid(1, 2, 3)")
SIGMAS = [1 - t / 16 for t in range(17)]
OTHER = [1 - t / 10 for t in range(11)]
RECIPES = {
    "residuals": Recipe(Variant("residual", 1)), "residuals, corrected": Recipe(Variant("residual", 0, True)),
    "outputs": Recipe(Variant("output", 1)), "spread, corrected": Recipe(Variant("output", 2, True), 0.75),
    "fewer steps": Recipe(STILL, None, "plain"),
}  # fmt: skip


def section(title: str) -> str:
    return re.search(rf"^## {title}$(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE)[1]


def test_every_node_and_no_other_is_in_the_table():
    there = {name for path in ROOT.glob("nodes/**/*.py") for name in re.findall(r'node_id="(\w+)"', path.read_text("utf-8"))}
    assert set(re.findall(r"`(SyncCache\w*)`", section("Nodes"))) == there


def test_every_template_and_no_other_is_named():
    told = next(part for part in section("Nodes").split("\n\n") if part.startswith("Templates"))
    assert set(re.findall(r"\*\*(\w+)\*\*", told)) == {path.stem for path in ROOT.glob("workflows/*.json")}


def test_every_family_is_named():
    for title in supported():
        assert title in section("Models"), title


def test_what_it_links_to_is_there():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert len(links) > 3 and [link for link in links if not (ROOT / link).is_file()] == []
    assert sum(path.stat().st_size for path in ROOT.glob("docs/**/*") if path.is_file()) < 1_500_000


def test_the_first_screen_fits():
    """What a person sees first: what it is, how it is used, one number and its caveat, a picture, how it is installed."""
    first = README.partition("## Models")[0]
    assert len(first.splitlines()) <= 40
    say = "Put SyncCache before the sampler. Choose Balanced. Run."
    for part in (say, "docs/run.webp", "No run on the real 14-billion weights", "Manager", "git clone"):
        assert part in first


@pytest.fixture(scope="module")
def toy():
    """(toy, Planner from a calibration of it)."""
    case = toy_case()
    with torch.no_grad(), calibrate(case.model, SIGMAS, case.grid, adapter=case.adapter) as session:
        x = start(case)
        for sigma, after in zip(SIGMAS, SIGMAS[1:]):
            x = x + (after - sigma) * session.predict(sigma, lambda x=x, sigma=sigma: velocity(case)(case.model, x, sigma))
        return case, Planner(session.recording())


def start(case):
    return case.tensors(0)[0][:, :6]


def velocity(case):
    x, audio = case.tensors(0)
    return lambda dit, now, sigma: 0.3 * case.call(dit, torch.cat([now, x[:, 6:]], 1), sigma, audio)


@pytest.mark.parametrize("sigmas", [SIGMAS, OTHER], ids=["own sigmas", "others"])
@pytest.mark.parametrize("recipe", [None, *RECIPES])
def test_the_snippet_runs(toy, monkeypatch, recipe, sigmas):
    case, planner = toy
    monkeypatch.setitem(adapters._REGISTRY, case.adapter.name, case.adapter)
    saved = planner.plan(planner.make(RECIPES[recipe], 6), Budget(computed=6), "0").to_json() if recipe else ""
    given = {"saved": saved, "sigmas": sigmas, "dit": case.model, "x": start(case), "velocity": velocity(case)}
    with torch.no_grad(), redirect_stdout(StringIO()) as said:
        exec(TOYS_GRID, given)  # noqa: S102 - README's own
    report, plain = given["session"].report, recipe == "fewer steps"
    computed = 6 if plain or sigmas is SIGMAS else 4
    assert report.finished and report.computed == (computed if recipe else report.budget)
    assert report.reused == (0 if plain else len(sigmas) - 1 - report.computed)
    assert said.getvalue() == report.summary() + "\n"
    reference = start(case)
    with torch.no_grad():
        for sigma, after in zip(sigmas, sigmas[1:]):
            reference = reference + (after - sigma) * velocity(case)(case.model, reference, sigma)
    assert 0 < (given["x"] - reference).norm() / reference.norm() < 0.3
