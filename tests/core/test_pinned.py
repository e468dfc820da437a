"""Pinned pieces: sizes by hand, and that a tensor comes back as it was. Pinning itself needs a GPU."""

import pytest
import torch

from synccache_core.reuse.pinned import SPARE, Pinned, pieces
from synccache_core.reuse.store import ResidualStore

MIB = 1 << 20


def rounded(size: int) -> int:
    return sum(1 << (piece - 1).bit_length() for piece in pieces(size))


@pytest.mark.parametrize(("size", "wanted"), [(512, [512]), (500, [500]), (305, [256, 49]), (703, [512, 128, 63]), (0, [])])
def test_pieces_by_hand(size, wanted):
    assert pieces(size * MIB) == [piece * MIB for piece in wanted]


def test_rounding_adds_little_to_any_size_and_elements_stay_whole():
    for size in (*range(4, 4000, 4), 31200 * 5120 * 2, 72000 * 5120 * 2):
        found = pieces(size)
        assert sum(found) == size <= rounded(size) <= (1 + SPARE) * size and not any(piece % 4 for piece in found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tensor_comes_back_as_it_was(dtype):
    tensor = torch.randn(2, 5, 35).to(dtype).transpose(1, 2)
    kept = Pinned(tensor, pin=False)
    assert (kept.shape, kept.dtype, kept.nbytes) == (tensor.shape, dtype, tensor.nbytes)
    back = kept.to(tensor.device)
    assert torch.equal(back, tensor)
    back.zero_()
    assert torch.equal(kept.to(tensor.device), tensor)


def test_the_store_forecasts_from_pinned_residuals(monkeypatch):
    """As from a GPU: what rests in host memory is fetched for a forecast."""
    monkeypatch.setattr(ResidualStore, "_rest", lambda store, residual: Pinned(residual, pin=False))
    store = ResidualStore(order=1)
    for sigma, value in ((1.0, 1.0), (0.8, 3.0), (0.6, 4.0)):
        store.put("c", 0, sigma, torch.full((1, 4, 2), value))
    assert store.missing("c", [0], (1, 4, 2), torch.float32) is None
    assert store.forecast("c", 0, 0.4, torch.device("cpu")).unique().tolist() == pytest.approx([5.0])
    assert store.bytes == 64 == store.peak
