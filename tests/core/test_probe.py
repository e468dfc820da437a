"""The probe's formula, by hand, and its answers to numbers that have no meaning."""

import math

import pytest
import torch

from synccache_core.decide.probe import subsample, token_change, weighed

BEFORE = torch.tensor([[[1.0], [1.0], [2.0], [2.0]]])  # 4 tokens, 1 channel
NOW = torch.tensor([[[2.0], [1.0], [2.0], [3.0]]])


def relative_change(now, before, weights=None, human_weight=0.75, omega=None):
    return weighed(*token_change(now, before), weights, human_weight, omega)


def test_plain_mean_by_hand():
    assert relative_change(NOW, BEFORE).item() == pytest.approx(2 / 6)


def test_regions_are_normalised_by_themselves():
    human = torch.tensor([1.0, 1.0, 0.0, 0.0])
    # human: |1| / 2 = 0.5; background: |1| / 4 = 0.25; 0.75 * 0.5 + 0.25 * 0.25
    assert relative_change(NOW, BEFORE, human, 0.75).item() == pytest.approx(0.4375)


def test_soft_weights_by_hand():
    soft = torch.tensor([0.5, 0.0, 0.0, 1.0])
    human = (0.5 * 1 + 1.0 * 1) / (0.5 * 1 + 1.0 * 2)
    background = (0.5 * 1) / (0.5 * 1 + 1 + 2)
    assert relative_change(NOW, BEFORE, soft, 0.6).item() == pytest.approx(0.6 * human + 0.4 * background)


def test_the_papers_soft_mask_multiplies_the_human_by_omega():
    soft = torch.tensor([0.5, 0.0, 0.0, 1.0])  # weights 1.5, 1, 1, 2 at omega 2
    assert relative_change(NOW, BEFORE, soft, omega=2.0).item() == pytest.approx((1.5 + 2) / (1.5 + 1 + 2 + 4))
    assert relative_change(NOW, BEFORE, soft, omega=1.0).item() == pytest.approx(2 / 6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_empty_region_falls_back_to_the_plain_mean(value):
    assert relative_change(NOW, BEFORE, torch.full((4,), value)).item() == pytest.approx(2 / 6)


def test_nothing_over_nothing_is_nan_not_zero():
    assert math.isnan(relative_change(torch.zeros(1, 4, 1), torch.zeros(1, 4, 1)).item())


def test_half_precision_does_not_overflow():
    big = torch.full((1, 100_000, 1), 60_000.0).half()
    assert relative_change(big, big).item() == 0.0


def test_sketch_is_a_copy_of_video_tokens_and_at_most_some_channels():
    hidden = torch.randn(2, 10, 5120)
    got = subsample(hidden[:, :7])
    assert got.shape == (2, 7, 128)
    assert got.data_ptr() != hidden.data_ptr()
    before = got.clone()
    hidden.zero_()
    assert torch.equal(got, before)
