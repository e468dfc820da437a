"""Curves of mouths and sounds, by hand."""

import numpy as np
import pytest

from synccache_core.compare.lips import best_lag, correlation, darkness, loudness


def test_the_dark_share_of_a_mouth_box():
    box = np.full((2, 10, 10), 0.8)
    box[1, :2] = 0.0  # a fifth is black
    assert darkness(box).tolist() == pytest.approx([0.0, 0.2])


def test_loudness_is_of_the_time_around_each_frame():
    rate, fps = 160, 16
    sound = np.zeros(40)  # ten samples a frame: a quarter of a second
    sound[5:15] = 0.5  # around frame 1
    sound[15:25] = 0.25
    assert loudness(sound, rate, 6, fps).tolist() == [0.0, 1.0, 0.5, 0.0, 0.0, 0.0]
    assert loudness(sound * 0, rate, 3, fps).tolist() == [0.0, 0.0, 0.0]
    assert loudness(np.array([np.nan, 1.0]), 16, 2, 16).tolist() == [0.0, 1.0]


def test_correlation_and_lag():
    curve = np.clip(np.sin(np.arange(33) * 1.1) + 0.2 * np.cos(np.arange(33) * 2.7), 0, 1)
    assert correlation(curve, 2 * curve + 1) == pytest.approx(1) and correlation(curve, -curve) == pytest.approx(-1)
    assert correlation(curve, np.ones(33)) == 0.0
    assert [best_lag(np.roll(curve, late), curve) for late in (-3, 0, 2)] == [-3, 0, 2]
