"""The worked example of CONTRIBUTING: an adapter of each kind that keeps the contract, in as few lines as are promised."""

import ast
import re
from textwrap import dedent

import pytest

from demo.toys import ToyAudioVideo, ToyDiT
from synccache_core import Grid, find
from synccache_core.contract.case import Case
from synccache_core.contract.checks import check_adapter
from synccache_core.model import adapters
from tests.conftest import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Add a model")[2]
EXAMPLE = dedent(re.search(r"^ *```python\n(.*?)^ *```", TEXT, re.DOTALL | re.MULTILINE)[1])
MOST = 40
MODELS = {kind: (lambda kind=kind: ToyDiT(kind)) for kind in ("after", "inside", "none")} | {"beside": ToyAudioVideo}
# A model without audio hears what its input is made of.
CALLS = {"none": {"call": lambda model, x, sigma, prompt: model(x + prompt[:, None], sigma, prompt)}}
CALLS["beside"] = {"video": lambda output: output[:, :6]}


@pytest.mark.parametrize("kind", MODELS)
def test_each_kind_keeps_the_contract(kind, monkeypatch):
    monkeypatch.setattr(adapters, "_REGISTRY", {})
    exec(EXAMPLE, {})  # noqa: S102 - CONTRIBUTING's own
    adapter = find(MODELS[kind]())
    assert adapter.name == f"my_{kind}" and adapter.layout(MODELS[kind]()).audio == kind
    assert len(check_adapter(Case(MODELS[kind], adapter, Grid(1, 2, 3), (1, 8, 8), (1, 8), **CALLS.get(kind, {})))) >= 12


def test_it_takes_few_lines():
    formula = next(node for node in ast.parse(EXAMPLE).body if getattr(node, "name", "") == "cost")
    lines = [line for number, line in enumerate(EXAMPLE.splitlines(), 1)
             if line.strip() and not formula.lineno <= number <= formula.end_lineno]  # fmt: skip
    assert len(lines) <= MOST, len(lines)
