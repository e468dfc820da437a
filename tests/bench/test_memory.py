"""bench.memory on toys: what it counts, and that it sees a leak, a view that keeps a batch alive, and a budget outgrown."""

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch._subclasses.functional_tensor import FunctionalTensorMode

from bench import memory
from synccache_core.reuse.store import ResidualStore


@pytest.fixture
def subject():
    return memory.toy("after", 96, 16, torch.float32)


def test_storages_are_counted_whole_and_once():
    base = torch.zeros(4, 25)
    thing = {"a": [base[:1], base.t()], "b": (torch.zeros(5),), "model": torch.nn.Linear(9, 9)}
    assert sorted(memory.storages(thing, thing["a"]).values()) == [20, 400]


def test_what_is_not_in_memory_is_not_counted():
    """Other tests of the process leave such tensors alive, which `alive` meets."""
    with FakeTensorMode():
        fake = torch.zeros(9)
    with FunctionalTensorMode():
        functional = torch.zeros(9) + 1
    others = [fake, functional, torch.zeros(9, device="meta"), torch.eye(3).to_sparse(),
              torch.nn.UninitializedParameter()]
    assert sorted(memory.storages(others, torch.zeros(5)).values()) == [20]
    assert memory.alive()[0] >= len(others) + 1


@pytest.mark.parametrize("kind", ["after", "inside"])
def test_bytes_are_what_was_predicted(kind):
    rows = list(memory.sweep(memory.toy(kind, 96, 16, torch.bfloat16)))
    assert len(rows) == len(memory.settings()) == 30
    assert list(memory.missed(rows, [], [])) == []
    assert {row["level"] for row in rows} == {"residual", "output"} and min(row["counted_bytes"] for row in rows) > 0


def test_by_hand(subject):
    """Three residuals, two branches, two anchors of 96 x 16 float32."""
    held = memory.run(subject, memory.Config(schedule=memory.SCHEDULE))
    assert subject.predicted(memory.Config(schedule=memory.SCHEDULE)) == 3 * 2 * 2 * 96 * 16 * 4 == held.reported
    assert held.counted == pytest.approx(held.reported, rel=0.01)


def test_a_view_that_keeps_more_alive_is_seen(subject, monkeypatch):
    monkeypatch.setattr(ResidualStore, "_rest", lambda self, residual: torch.cat([residual, residual])[:1])
    rows = list(memory.sweep(subject))
    assert max(row["off_percent"] for row in rows if row["level"] == "residual") > 90
    assert list(memory.missed(rows, [], []))


def test_budgets_hold(subject):
    rows = list(memory.budgets(subject))
    assert list(memory.missed([], rows, [])) == [] and rows[0]["residuals"] == 3 and rows[-1]["reported_bytes"] == 0
    over = rows[0] | {"counted_bytes": int(rows[0]["budget_bytes"] * 1.03)}
    assert len(list(memory.missed([], [over], []))) == 1


def test_runs_in_a_row_are_flat_and_a_leak_is_seen(subject):
    assert list(memory.missed([], [], [memory.one_after_the_other(subject, 3)])) == []
    kept = []

    def leak(session, sigma):
        kept.append(subject.evaluate(session, sigma))
        return kept[-1]

    row = memory.one_after_the_other(replace(subject, evaluate=leak), 3)
    assert row["tensors_most"] > row["tensors_first"] and row["alive_bytes_last"] > row["alive_bytes_first"]
    assert list(memory.missed([], [], [row]))


def test_resident_memory_may_grow_a_little(subject):
    row = memory.one_after_the_other(subject, 2) | {"resident_growth_percent": 2.5}
    assert ["resident memory grew" in line for line in memory.missed([], [], [row])] == [True]
    assert list(memory.missed([], [], [row | {"resident_growth_percent": 1.5}])) == []
