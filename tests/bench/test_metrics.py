"""Figures of videos beside the uncached one, by hand. No weights."""

import numpy as np
import pytest

from bench import metrics
from bench.presets import OWN, PAPER, evenly, own_sigmas, paper, presets
from bench.settings import SETTINGS, Setting, setting_in
from demo.table import WAN_14B


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


def test_settings_of_either_world():
    assert all(setting_in("wild", label).name == f"wild-{label}" for label in SETTINGS)
    assert SETTINGS["40-cfg2-euler"] == Setting() and Setting().file == Setting().name
    assert SETTINGS["40-cfg2-euler-shift3"].sigmas[1] < Setting().sigmas[1]


def test_ways_without_calibration_cost_what_is_asked():
    wild = Setting(20, 6.0, "uni_pc", "wild")
    ways = [*presets(wild, 4, 5), paper(wild, 4, 5, WAN_14B), *evenly(wild, 5), own_sigmas(wild, 5)]
    made = {row.name: row for row in ways}
    assert {row.count for row in ways} == {5} and sum(made["even, outputs, order 0"].config.schedule) == 5
    assert made[PAPER].group == "paper" and made[PAPER].config.omega == 2.0
    assert made["preset"].config.level == "output" and sum(made["preset"].config.schedule) == 5
    assert len(made[OWN].sigmas) == 6 and made[OWN].sampler == "uni_pc"
