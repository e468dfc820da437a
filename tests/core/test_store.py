"""Anchors, bytes and budgets of the residual store."""

import pytest
import torch

from synccache_core.reuse.store import ResidualStore, fit

ONES = torch.ones(1, 4, 2)  # 32 bytes


def test_forecast_uses_the_newest_anchors_by_hand():
    store = ResidualStore(order=1)
    for sigma, value in ((1.0, 1.0), (0.8, 3.0), (0.6, 4.0)):
        store.put("c", 0, sigma, ONES * value)
    # the line through (0.8, 3) and (0.6, 4), at 0.4
    assert store.forecast("c", 0, 0.4, ONES.device).unique().tolist() == pytest.approx([5.0])
    assert store.bytes == 64 and store.peak == 64


def test_one_anchor_is_plain_reuse_whatever_the_order():
    store = ResidualStore(order=2)
    store.put("c", 0, 1.0, ONES * 7)
    assert store.forecast("c", 0, 0.1, ONES.device).unique().tolist() == [7.0]


def test_a_repeated_sigma_replaces_its_anchor():
    store = ResidualStore(order=1)
    store.put("c", 0, 1.0, ONES)
    store.put("c", 0, 0.5, ONES * 2)
    store.put("c", 0, 0.5, ONES * 3)
    assert store.bytes == 64
    assert store.forecast("c", 0, 0.5, ONES.device).unique().tolist() == pytest.approx([3.0])


def test_missing_says_why():
    store = ResidualStore()
    assert store.missing("c", [0], (1, 4, 2), torch.float32) == "nothing cached"
    store.put("c", 0, 1.0, ONES.clone())
    assert store.missing("c", [0], (1, 4, 2), torch.float32) is None
    assert store.missing("c", [0, 1], (1, 4, 2), torch.float32) == "nothing cached"
    assert store.missing("u", [0], (1, 4, 2), torch.float32) == "nothing cached"
    assert store.missing("c", [0], (1, 5, 2), torch.float32) == "shape changed"
    assert store.missing("c", [0], (1, 4, 2), torch.float16) == "shape changed"


def test_a_new_shape_forgets_the_old_anchors():
    store = ResidualStore(order=1)
    store.put("c", 0, 1.0, ONES.clone())
    store.put("c", 0, 0.9, torch.ones(1, 8, 2))
    assert store.bytes == 64
    assert store.forecast("c", 0, 0.8, ONES.device).shape == (1, 8, 2)


def test_a_budget_is_never_exceeded():
    store = ResidualStore(order=1, limit=40)
    assert store.put("c", 0, 1.0, ONES.clone())
    assert not store.put("c", 1, 1.0, ONES.clone())
    assert store.peak <= 40
    assert store.missing("c", [1], (1, 4, 2), torch.float32)


def test_fit_gives_up_order_before_residuals():
    assert fit(None, 10, 11, 1) == (11, 1)
    assert fit(220, 10, 11, 1) == (11, 1)
    assert fit(219, 10, 11, 1) == (11, 0)
    assert fit(55, 10, 11, 2) == (5, 0)
    assert fit(9, 10, 11, 1) == (0, 0)
    assert fit(0, 10, 11, 1) == (0, 0)


def test_room_is_made_before_the_residual_is():
    store = ResidualStore(order=1)
    for sigma in (1.0, 0.5):
        store.put("c", 0, sigma, ONES.clone())
    store.make_room("c", 0, 0.2)
    assert store.bytes == 32 and [at for at, _ in store.anchors("c", 0)] == [0.5]
    store.put("c", 0, 0.2, ONES.clone())
    assert store.bytes == 64 == store.peak and [at for at, _ in store.anchors("c", 0)] == [0.5, 0.2]
    store.make_room("c", 0, 0.2)  # the model is called again at this sigma
    assert [at for at, _ in store.anchors("c", 0)] == [0.5]
    store.make_room("c", 1, 0.2)  # nothing there yet
    assert store.bytes == 32
