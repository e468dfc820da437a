"""What is filmed to judge the parts of SyncCache, and how a part's gain is told. No weights."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bench import changed, kept, parts
from bench.kept import Kept
from bench.presets import PAPER_SPEED
from bench.rows import Row
from bench.settings import Setting, setting_in
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
    return changed.Known(made, dict.fromkeys(changed.MASKS.values(), replace(made, boundaries=())))


@pytest.mark.parametrize("speed", parts.SPEEDS)
def test_every_question_is_filmed_at_equally_many_steps(known, speed):
    made = {row.name: row for row in changed.ours(SETTING, speed, known)}
    assert {row.count for row in made.values()} == {changed.computed(SETTING, speed)}
    for _, *ways in parts.QUESTIONS:
        assert all(name in made for name in ways)
    for row in made.values():
        if row.config and not row.config.probe_decides and "14B" not in row.name:
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
    films = Kept(tmp_path / "x.jsonl", False)
    for clip in range(3):
        figures = dict.fromkeys((*parts.COSTS, *parts.FIGURES, *parts.MORE), 20.0 + 5 * clip)
        lead = {"whole_db": figures["whole_db"] + 1}
        films.add(clip=clip, found={row.key: figures | (lead if row.key in ahead else {}) for row in rows})
    found = {row["part"]: row for row in parts.parts({4: rows}, Kept(films.file, False), 3)}
    told = found["residuals instead of outputs"]
    assert (told["whole_db"], told["low"], told["high"], told["verdict"]) == (1.0, 1.0, 1.0, "helps")
    assert found["correction, outputs"]["verdict"] == "no clear difference"
    ways = {row["way"]: row for row in parts.every_way({4: rows}, films, 3)}
    assert ways["residuals"]["whole_db"] == 26.0 and ways["outputs"]["whole_db"] == 25.0


def test_films_are_kept_piece_by_piece(known, tmp_path, monkeypatch):
    rows, jobs, films = changed.ours(SETTING, 4, known)[:20], [], Kept(tmp_path / "x.jsonl", False)
    monkeypatch.setattr(kept, "as_done", lambda work, given, label: [(job, jobs.append(job) or work(job)) for job in given])
    films.film(SETTING, rows, 2, lambda job: {row.key: {"whole_db": 1.0} for row in job[2]})
    assert [(job[1], len(job[2])) for job in jobs] == [(0, 16), (1, 16), (0, 4), (1, 4)]
    Kept(films.file, False).film(SETTING, rows, 2, lambda job: {})
    assert len(jobs) == 4
    assert Kept(films.file, True).films == {}


def test_what_is_known_is_asked_for_once(tmp_path):
    films = Kept(tmp_path / "x.jsonl", False)
    assert films.once("thresholds", lambda: {"a": (1, 2)}) == {"a": [1, 2]}
    assert Kept(films.file, False).once("thresholds", lambda: pytest.fail("asked again")) == {"a": [1, 2]}


def test_rivals_can_be_filmed_alone(tmp_path, monkeypatch, capsys):
    """Nothing of ours is calibrated or filmed then, and nothing is missed."""
    seen = dict.fromkeys((*parts.COSTS, *parts.FIGURES, *parts.MORE), 30.0)
    row = Row("DiCache", "rival", 5)
    monkeypatch.setattr(parts, "Known", lambda *_: pytest.fail("calibrated"))
    monkeypatch.setattr(parts, "others", lambda setting, speed, kept: [replace(row, count=setting.steps // speed)])
    monkeypatch.setattr(parts, "hosted", lambda *_: [])
    monkeypatch.setattr(kept, "as_done", lambda _, jobs, label: [(job, {one.key: seen for one in job[2]}) for job in jobs])
    asked = ["--rivals", "--world", "wild", "--clips", "2", "--speeds", "4", "2", "--folder", str(tmp_path), "--check"]
    assert parts.main([*asked, "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert list(found) == ["wild-20-cfg6-uni_pc: every way"]
    assert [(each["way"], each["speed"], each["whole_db"]) for each in found.popitem()[1]] == [
        ("DiCache", 4, 30.0), ("DiCache", 2, 30.0)]  # fmt: skip


def test_the_same_way_has_the_same_key():
    """Another parameter is another way; the last digits of sigmas differ from machine to machine."""
    one, again, other = (Row("a", "rival", 8, cache=("easycache", {"threshold": value})) for value in (0.1, 0.1, 0.2))
    assert one.key == again.key != other.key
    here, there, far = (Row("a", "plain", 2, sigmas=(1.0, value, 0.0))
                        for value in (0.123456789012345, 0.123456789012346, 0.1234568))  # fmt: skip
    assert here.key == there.key != far.key


def judged(tmp_path, setting: Setting, levels: dict[tuple[str, str, int], float], correlation: float = 0.9) -> list[str]:
    """What is missed. levels: (way, group, speed) -> dB everywhere, on three clips that differ by up to 2 dB."""
    made, films = {}, Kept(tmp_path / "x.jsonl", True)
    for (name, group, speed), db in levels.items():
        row = Row(name, group, speed)
        made.setdefault(speed, []).append(row)
        for clip in range(3):
            found = dict.fromkeys(("whole_db", "human_db", "mouth_db"), db + clip - 1) | {"mouth_correlation": correlation}
            films.add(clip=clip, found={row.key: found, "uncached": {"mouth_correlation": 0.9}})
    return list(parts.missed(setting, made, films, 3))


def test_the_wild_world_asks_for_plan_and_preset_where_people_and_mouths_are(tmp_path):
    levels = {("plan", "plan", 4): 25.0, (changed.OUTPUTS, "part", 4): 24.5, ("near", "rival", 4): 23.2}
    said = judged(tmp_path, SETTING, levels)
    assert len(said) == 2 and all("plan is 1.80 dB ahead of near" in line and "required 2" in line for line in said)
    assert judged(tmp_path, SETTING, {**levels, ("plan", "plan", 4): 25.3}) == []
    assert judged(tmp_path, replace(SETTING, world="tiny"), levels) == []


def test_the_wild_world_is_held_against_the_paper(tmp_path):
    setting = setting_in("wild", "40-cfg4.5-uni_pc")
    levels = {(changed.FEWER, "plain", 2): 27.0, ("TeaCache-like", "rival", 3): 16.5, ("MagCache", "rival", 3): 19.5,
              ("DiCache", "rival", 3): 21.0, (PAPER_SPEED, "paper", 4): 20.0}  # fmt: skip
    said = judged(tmp_path, setting, levels)
    assert [any(text in line for line in said) for text in ("1.00 dB behind DiCache", "27.0 dB, at most 26",
                                                            "TeaCache-like at 3x gives 16.5")] == [True] * 3  # fmt: skip
    assert len(said) == 3 and len(judged(tmp_path, setting, levels, 0.8)) == 6
