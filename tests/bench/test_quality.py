"""Figures of videos, intervals, what counts as equal cost, and that measurements are taken up again. No weights."""

import numpy as np
import pytest

from bench import metrics, presets, promises, rows, tables
from bench.harness import packed
from bench.quality import Store, asked_for, options_of
from bench.settings import JUDGED, SETTINGS, Setting, setting_in
from demo.table import WAN_14B
from synccache_core import __version__

QUIET = Setting()


@pytest.fixture(scope="module")
def video():
    frames = np.random.default_rng(0).uniform(size=(6, 96, 96, 3)).astype(np.float32)
    return np.clip(0.5 + 0.2 * np.cumsum(frames - 0.5, axis=0), 0, 1)


def test_figures_of_the_video_itself_and_of_a_shifted_one(video):
    opening = np.linspace(0, 1, 6)
    same = metrics.figures(video, video, opening)
    assert same["whole_db"] == same["worst_frame_human_db"] == metrics.MOST_DB and same["flicker_percent"] == 0.0
    assert same["whole_ssim"] == pytest.approx(1.0, abs=1e-5) and same["background_flicker_ratio"] == pytest.approx(1.0)
    other = video.copy()
    other[2] += 0.01
    found = metrics.figures(other, video, opening)
    assert found["worst_frame_whole_db"] == pytest.approx(40.0, abs=1e-3)
    assert found["whole_db"] == pytest.approx(40.0 + 10 * np.log10(6), abs=1e-3)
    assert found["vmaf"] < same["vmaf"] <= 100 and found["flicker_percent"] > 0


@pytest.mark.parametrize("world", ["tiny", "wild"])
def test_the_mask_edge_lies_on_both_sides_of_the_outline(world, video):
    masks = metrics.regions(video, world)
    edge = masks["mask_edge"]
    assert (edge & masks["human"]).any() and (edge & masks["background"]).any() and edge.mean() < 0.3


def test_settings_scale_costs():
    assert len(SETTINGS) == 10 and next(iter(SETTINGS)) == "40-cfg2-euler" and set(JUDGED["wild"]) <= set(SETTINGS)
    assert [Setting(steps=20).count(n) for n in (16, 10, 6)] == [8, 5, 3]
    assert [rows.most_computed(cost, 40, share) for cost, share in ((10, 0.0), (10, 0.1), (2, 0.1))] == [10, 6, 1]


def test_another_shift_is_another_setting():
    made = SETTINGS["40-cfg2-euler-shift3"]
    assert made.name not in JUDGED["tiny"] and made.sigmas[1] < Setting().sigmas[1]


def results(levels: dict[str, tuple[str, float, float]], setting: Setting = QUIET, count: int = 8) -> tables.Results:
    """{name: (group, dB everywhere, cost)} on twelve clips and two seeds; clips differ by up to 0.2 dB."""
    ways = [rows.Row(name, group, count) for name, (group, *_) in levels.items()]
    films = {}
    for clip in range(12):
        film = {"uncached": {"mouth_correlation": 0.97, "mouth_lag_frames": 0}}
        for row in ways:
            _, db, cost = levels[row.name]
            film[row.key] = dict.fromkeys((*tables.SHOWN, *tables.OTHERS), db + 0.02 * clip) | rows.costs(8, cost, cost)
            film[row.key]["mouth_correlation"] = 0.97
        films |= {(clip, 0): film, (clip, 1): film}
    return tables.Results(setting, ways, films)


def test_acceptance_counts_only_what_is_equally_dear():
    found = results({"planned": ("ours", 70.0, 8.0), "near": ("rival", 60.0, 8.3), "dear": ("rival", 69.0, 11.0)})
    shown = tables.ahead(found)
    assert {row["reading"]: row["best_other"] for row in shown if row["region"] == "whole_db"} == {
        "equal computed steps": "dear", "equal cost on this model": "near", "equal cost on 14B": "near"}  # fmt: skip
    assert list(tables.missed(found, shown)) == []


@pytest.mark.parametrize(("db", "cost", "said"), [(66.9, 8.0, "6.9 dB ahead"), (60.05, 8.0, "intervals overlap"),
                                                   (70.0, 8.4, "costs 8.4 full steps")])  # fmt: skip
def test_shortfalls_are_named(db, cost, said):
    found = results({"planned": ("ours", db, cost), "near": ("rival", 60.0, 8.0)})
    assert any(said in line for line in tables.missed(found, tables.ahead(found)))


def test_the_wild_world_asks_for_plan_and_preset_where_people_and_mouths_are():
    wild = Setting(20, 6.0, "uni_pc", "wild")
    levels = {"planned": ("ours", 25.0, 5.0), "preset": ("ours", 23.5, 5.0), "near": ("rival", 23.2, 5.0)}
    found = results(levels, wild, wild.count(10))
    shown = tables.ahead(found)
    assert {(row["way"], row["region"], row["required_db"]) for row in shown} == {
        ("planned", "whole_db", None), ("planned", "human_db", 2.0), ("planned", "mouth_db", 2.0),
        ("preset", "whole_db", None), ("preset", "human_db", 1.0), ("preset", "mouth_db", 1.0)}  # fmt: skip
    said = list(tables.missed(found, shown))
    assert len(said) == 8 and all("the plan is 1.8" in line or "the preset is 0.3" in line for line in said)


def test_the_wild_world_is_held_against_the_paper():
    wild = Setting(40, 4.5, "uni_pc", "wild")
    caches = {"TeaCache-like": ("rival", 16.5, 13.4), "MagCache": ("rival", 19.5, 13.5), "DiCache": ("rival", 21.0, 13.4)}
    found = results(caches, wild, 13)
    shown, said = tables.papers(found)
    assert [row["speed_14b"] for row in shown] == [2.99, 2.96, 2.99] and len(said) == 1 and "TeaCache-like" in said[0]
    for film in found.films.values():
        film["paper"] = film[found.keys["DiCache", 13]] | {"whole_db": 20.0}
    found.keys[tables.PAPER_SPEED, 10] = "paper"
    assert "behind DiCache" in tables.papers(found)[1][-1]
    assert tables.papers(results(caches, count=13)) == ([], [])


@pytest.mark.parametrize(("world", "quick", "first", "count"), [
    ("tiny", [], "40-cfg2-euler", 9), ("wild", [], "20-cfg6-uni_pc", 3), ("wild", ["--quick"], "20-cfg6-uni_pc", 1)])
def test_each_world_has_settings_of_its_own(world, quick, first, count):
    options = options_of(["--world", world, *quick])
    assert options.settings[0] == first and len(options.settings) == count
    made = setting_in(world, first)
    assert made.label == first and made.name == ("" if world == "tiny" else "wild-") + first
    assert made.file == made.name or made.file.startswith(f"{made.name}-")


def test_ways_without_calibration_cost_what_is_asked():
    wild = Setting(20, 6.0, "uni_pc", "wild")
    made = {row.name: row for row in presets.without_calibration(wild, 10, WAN_14B)}
    assert {row.count for row in made.values()} == {5} and sum(made["even, outputs, order 0"].config.schedule) == 5
    assert made[presets.PAPER].group == "paper" and made[presets.PAPER].config.omega == 2.0
    assert made["preset"].config.level == "output" and sum(made["preset"].config.schedule) == 5
    assert len(made[presets.OWN].sigmas) == 6 and made[presets.OWN].sampler == "uni_pc"


def test_the_first_table_says_whether_a_part_helps():
    fresh, still = "planned, residuals", "planned, residuals' steps, outputs reused"
    found = results({fresh: ("ours", 60.0, 8), still: ("ours", 61.0, 8)})
    shown, _ = tables.tables(found)
    title, first = next(iter(shown.items()))
    assert "audio refreshed at equal computed steps: helps in 0, harms in 1 of 1" in title
    assert first[0]["verdict"] == "harms" and first[0]["gain_human_db"] == -1.0


def test_what_was_measured_is_taken_up_again(tmp_path):
    often, seldom = rows.Row("a", "ours", 8), rows.Row("b", "ours", 8, often=False)
    store = Store(tmp_path / "x.jsonl.gz")
    assert store.missing(0, 0, [often, seldom], ()) == [often, seldom] and store.missing(0, 1, [often, seldom], ()) == []
    assert store.missing(0, 1, [often, seldom], (often.count,)) == [often]
    store.add(0, 0, {often.key: {"whole_db": 1.0}})
    store.add(1, 0, {often.key: {"whole_db": 1.23456789}})
    again = Store(tmp_path / "x.jsonl.gz")
    assert again.missing(0, 0, [often, seldom], ()) == [seldom] and again.films == store.films
    assert again.films == {(0, 0): {often.key: {"whole_db": 1.0}}, (1, 0): {often.key: {"whole_db": 1.23457}}}
    assert Store(tmp_path / "x.jsonl.gz", fresh=True).films == {}
    (tmp_path / "y.jsonl.gz").write_bytes(packed('{"version": "0", "clip": 0, "seed": 0, "found": {}}\n'))
    assert Store(tmp_path / "y.jsonl.gz").films == {} and __version__ != "0"


def test_other_parameters_are_another_way():
    one, other = (rows.Row("a", "rival", 8, cache=("easycache", {"threshold": value})) for value in (0.1, 0.2))
    assert one.key != other.key and one.key == rows.Row("a", "rival", 8, cache=("easycache", {"threshold": 0.1})).key


def test_what_another_machine_measured_is_found_again():
    """Rounding of the last digits, and what a plan promises, differ from machine to machine."""
    grid = (1.0, 0.123456789012345, 0.0)
    one, other = (rows.Row("a", "plain", 2, sigmas=sigmas) for sigmas in (grid, (1.0, 0.123456789012346, 0.0)))
    assert one.key == other.key != rows.Row("a", "plain", 2, sigmas=(1.0, 0.1234568, 0.0)).key


def test_curves_leave_ablations_out():
    ways = [rows.Row("planned", "ours", 10), rows.Row("planned, masked", "ours", 10, often=False), *rows.floors()]
    assert asked_for(ways, options_of([])) == ways
    assert asked_for(ways, options_of(["--curves"])) == ways[:1]


def test_what_a_plan_loses_is_paired_by_clip():
    own, there = ([{"way": dict.fromkeys(promises.FIGURES, db + 5 * clip)} for clip in range(3)] for db in (40.0, 37.0))
    found = promises.losses("moved", 30, 8, there, own)
    assert [(row["figure"], row["lost_db"], row["low_db"], row["high_db"]) for row in found] == [
        ("whole_db", 3.0, 3.0, 3.0), ("human_db", 3.0, 3.0, 3.0)]  # fmt: skip
    held = {"rank_correlation": 0.95, "speed_off_most": 0.02}
    assert len(list(promises.missed("x", held, found))) == 2
    assert len(list(promises.missed("x", {"rank_correlation": 0.8, "speed_off_most": 0.2}, []))) == 2
