"""Audio that takes something from the skipped part of its block: it is given what that part gave last."""

from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
import torch
from torch import nn

from demo.toys import ToyBlock, ToyDiT, toy_adapter
from synccache_core import Config, Layout
from synccache_core.config import AUTO, OUTPUT, RESIDUAL
from synccache_core.contract.case import Case, running
from synccache_core.contract.checks import check_adapter
from synccache_core.decide.policy import level_for
from synccache_core.model.cost import parameter_cost
from synccache_core.model.grid import Grid
from synccache_core.model.layout import groups_for_ratio
from synccache_core.model.overrides import override


class PlacedBlock(ToyBlock):
    """Looks in its heavy part for where the audio is heard, and forgets that once it was."""

    where = None

    def audio(self, hidden, audio, tokens):
        where, self.where = self.where, None
        return hidden + where * torch.sin(hidden) * audio[:, None]

    def forward(self, hidden, sigma, audio, tokens):
        self.where = torch.sigmoid(hidden.mean(dim=2, keepdim=True))
        return super().forward(hidden, sigma, audio, tokens)


class PlacedDiT(ToyDiT):
    def __init__(self):
        super().__init__("inside")
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(PlacedBlock(8, False, True) for _ in range(7))


@contextmanager
def listen(one, call):
    blocks = one.model.blocks

    def heard(index, original, hidden, *args):
        call.remember(index, blocks[index].where)
        return call.refresh(index, original, hidden, *args)

    def rested(index, original, hidden, *args):
        blocks[index].where = call.recall(index)
        return original(hidden, *args)

    with ExitStack() as stack:
        originals = {index: blocks[index].audio for index in call.layout.refresh}
        call.offer_audio({index: lambda *args, i=index, run=run: rested(i, run, *args) for index, run in originals.items()})
        for index, run in originals.items():
            override(stack, blocks[index], "audio", lambda *args, i=index, run=run: heard(i, run, *args))
        yield


def case() -> Case:
    return Case(PlacedDiT, replace(toy_adapter("inside"), listen=listen), Grid(1, 2, 3), (1, 8, 8), (1, 8))


def test_contract():
    assert len(check_adapter(case())) >= 12


def test_it_is_the_last_computed_one_of_these_branches_and_is_freed():
    given = case()
    (x, audio), (other, _) = given.tensors(0), given.tensors(1)
    with torch.no_grad(), running(given, schedule=(True, True, False, True)) as session:
        seen = []
        for sigma, now in ((1.0, x), (0.9, other), (0.8, x)):
            with session.evaluation(sigma):
                given.call(given.model, now, sigma, audio)
            seen.append(dict(session.residuals.beside))
        assert len(seen[0]) == 6  # of all blocks but the probe's
        assert all(not torch.equal(seen[0][key], seen[1][key]) and seen[1][key] is seen[2][key] for key in seen[0])
    assert session.residuals.beside == {}


@pytest.mark.parametrize(("kind", "ratio", "groups"), [("inside", 0.4, 4), ("after", 1.0, 9)])
def test_the_usual_ratio(kind, ratio, groups):
    layout = Layout(10, tuple(range(10)), kind)
    assert layout.usual_ratio == ratio and Config(cache_ratio=None, level=AUTO).settled(layout).cache_ratio == ratio
    assert groups_for_ratio(layout, None) == groups and groups_for_ratio(layout, 0.2) == 2
    assert Config(cache_ratio=0.7).settled(layout) == Config(cache_ratio=0.7)


@pytest.mark.parametrize(("ratio", "level"), [(None, RESIDUAL), (1.0, OUTPUT)])
def test_audio_that_is_frozen_inside_runs_costs_nothing_when_the_level_is_chosen(ratio, level):
    """40 blocks of 100 with audio of 8 in each: a reused step costs 10 % with all refreshes, 5 % with 16 of them. At 3x of
    40 steps they leave 78 % and 89 % of the computed ones."""
    cost = parameter_cost(Layout(40, tuple(range(40)), "inside"), 100, 8, 0)
    assert level_for(Config(target_speedup=3.0, cache_ratio=ratio, level=AUTO), cost, 40).level == level
