"""What is filmed to judge the parts of SyncCache, and how a part's gain is told. No weights."""

from dataclasses import replace

import numpy as np
import pytest

from bench import changed, parts
from bench.online import Kept
from bench.settings import setting_in
from synccache_core import CostModel, Layout
from synccache_core.config import PROBE
from synccache_core.planning.plan import RunFacts
from synccache_core.planning.recording import Recording

SETTING = setting_in("wild", "20-cfg6-uni_pc")
LAYOUT = Layout(11, (0, 2, 4, 6, 8, 10))


@pytest.fixture(scope="module")
def known():
    """Of a made-up model, whose outputs turn more and more slowly."""
    values = np.cumsum(np.random.default_rng(0).normal(size=(20, 3)) / np.arange(1, 21)[:, None], axis=0)
    grams = {(level, "whole"): values @ values.T for level in ("output", "residual")}
    drift = np.random.default_rng(1).normal(size=(6, 3))
    run = RunFacts(20, tuple(SETTING.sigmas), "uni_pc", 6.0)
    made = Recording("wan_s2v", run, CostModel(10.0, 1.0, 2.0, LAYOUT), grams, drift @ drift.T, 1000, 100,
                     boundaries=((1,), (2, 3, 4, 5)))  # fmt: skip
    return changed.Known(made, replace(made, boundaries=()))


@pytest.mark.parametrize("speed", parts.SPEEDS)
def test_every_question_is_filmed_at_equally_many_steps(known, speed):
    made = {row.name: row for row in changed.ours(SETTING, speed, known)}
    assert {row.count for row in made.values()} == {changed.computed(SETTING, speed)}
    for _, *ways in parts.QUESTIONS:
        assert all(name in made for name in ways)
    for row in made.values():
        if row.config and not row.config.probing and "14B" not in row.name:
            assert sum(row.config.schedule) == row.count and row.config.schedule[0] and row.config.force_last
    assert len({row.key for row in made.values()}) == len(made)


def test_ways_differ_in_what_they_are_named_after(known):
    made = {row.name: row.config for row in changed.ours(SETTING, 4, known)}
    base = made["residuals"]
    assert base.backtest and base.correction and base.level == "residual"
    assert replace(made["residuals, order 0"], forecast_order=1, backtest=True) == base
    assert replace(made["residuals, not corrected"], correction=True) == base
    assert replace(made["residuals, no probe"], probe=True) == base
    assert replace(made["residuals, one, audio frozen"], groups=None) == base
    assert replace(made["outputs"], level="residual") == base
    assert made["residuals, steps by probe"].choose == PROBE and made["residuals, steps by probe, omega 2"].omega == 2.0
    assert made["Paper, cuts by gamma"].groups == known.recording.boundaries != made["Paper"].groups
    assert made["outputs, warm-up 2"].schedule[:2] == (True, True)
    fewer = [sum(made[f"residuals, {name}"].schedule) for name in ("as on 14B", "no probe, as on 14B")]
    assert fewer == [4, 5]  # of 5, which is what outputs may


def test_a_gain_is_paired_by_clip(known, tmp_path):
    rows = changed.ours(SETTING, 4, known)
    ahead = {row.key: 1.0 for row in rows if row.name == "residuals"}
    kept = Kept(tmp_path / "x.jsonl", False)
    for clip in range(3):
        figures = dict.fromkeys((*parts.COSTS, *parts.FIGURES), 20.0 + 5 * clip)
        lead = {"whole_db": figures["whole_db"] + 1}
        kept.add(clip=clip, found={row.key: figures | (lead if row.key in ahead else {}) for row in rows})
    found = {row["part"]: row for row in parts.parts({4: rows}, Kept(kept.file, False), 3)}
    told = found["residuals instead of outputs"]
    assert (told["whole_db"], told["low"], told["high"], told["verdict"]) == (1.0, 1.0, 1.0, "helps")
    assert found["correction, outputs"]["verdict"] == "no clear difference"
    ways = {row["way"]: row for row in parts.every_way({4: rows}, kept, 3)}
    assert ways["residuals"]["whole_db"] == 26.0 and ways["outputs"]["whole_db"] == 25.0


def test_films_are_kept_piece_by_piece(known, tmp_path, monkeypatch):
    rows, jobs, kept = changed.ours(SETTING, 4, known)[:20], [], Kept(tmp_path / "x.jsonl", False)
    monkeypatch.setattr(parts, "as_done", lambda work, given, label: [(job, jobs.append(job) or work(job)) for job in given])
    parts.filmed(lambda job: {row.key: {"whole_db": 1.0} for row in job[2]}, SETTING, rows, 2, kept)
    assert [(job[1], len(job[2])) for job in jobs] == [(0, 16), (1, 16), (0, 4), (1, 4)]
    parts.filmed(lambda job: {}, SETTING, rows, 2, Kept(kept.file, False))
    assert len(jobs) == 4
