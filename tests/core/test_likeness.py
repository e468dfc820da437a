"""How alike two videos are, by hand."""

import numpy as np
import pytest
import torch

from synccache_core.compare.likeness import COARSE, Comparison, decibels, reduced, ssim, ssim_map

LEFT = torch.zeros(3, 12, 12, dtype=torch.bool)
LEFT[..., :6] = True


def compared(plain, other, regions, size=3):
    made = Comparison()
    for start in range(0, len(plain), size):
        part = slice(start, start + size)
        of = {name: mask if mask is None else mask[part] for name, mask in regions.items()}
        made.add(plain[part], other[part], of)
    return made


def test_errors_by_region_and_frame():
    plain, other = torch.full((3, 12, 12, 3), 0.5), torch.full((3, 12, 12, 3), 0.5)
    other[1, :, :6] += 0.1  # half of one of three frames: 20 dB there
    found = compared(plain, other, {"whole": None, "left": LEFT, "right": ~LEFT, "nowhere": LEFT & ~LEFT})
    assert found.region("left").psnr == pytest.approx(20 + 10 * np.log10(3), abs=1e-3)
    assert found.region("whole").psnr == pytest.approx(20 + 10 * np.log10(6), abs=1e-3)
    assert found.region("left").worst == 1 and found.region("left").frames[1] == pytest.approx(20, abs=1e-3)
    assert np.isinf(found.region("right").psnr) and found.region("left").ssim < found.region("right").ssim < 1  # its window
    assert found.region("nowhere") is None
    assert found.difference()[0].tolist() == pytest.approx([0.1 / 3] * 6 + [0.0] * 6)


def test_a_frame_without_the_region_has_no_figure():
    mask = LEFT.clone()
    mask[0] = False
    found = compared(torch.zeros(3, 12, 12, 3), torch.full((3, 12, 12, 3), 0.1), {"left": mask}).region("left")
    assert np.isnan(found.frames[0]) and found.frames[1:].tolist() == pytest.approx([20, 20]) and found.worst == 1


def test_flicker_by_hand_and_however_a_video_is_cut_into_pieces():
    plain, other = torch.zeros(3, 12, 12, 3), torch.zeros(3, 12, 12, 3)
    plain[1], plain[2] = 0.2, 0.2
    other[1], other[2] = 0.3, 0.2  # changes 0.2, 0 and 0.3, -0.1: 0.1 each too many
    for size in (1, 2, 3):
        found = compared(plain, other, {"whole": None, "left": LEFT}, size)
        assert found.added_flicker == pytest.approx(0.1)
        assert [found.region(name).flicker for name in ("whole", "left")] == pytest.approx([2.0, 2.0], abs=1e-4)
    assert compared(plain[:1], other[:1], {"whole": None}).added_flicker == 0.0
    assert compared(plain[1:], plain[1:], {"whole": None}).region("whole").flicker is None  # nothing moves


def test_ssim_against_the_published_formula():
    """Constant pictures have no variance: SSIM is (2 a b + C1) / (a^2 + b^2 + C1)."""
    one, other = torch.full((1, 32, 32), 0.5), torch.full((1, 32, 32), 0.25)
    wanted = (2 * 0.5 * 0.25 + 1e-4) / (0.25 + 0.0625 + 1e-4)
    assert ssim_map(one, other).numpy() == pytest.approx(np.full((1, 32, 32), wanted), rel=1e-3)
    assert ssim_map(one[:, :2, :2], other[:, :2, :2]).numpy() == pytest.approx(np.full((1, 2, 2), wanted), rel=1e-3)


def test_ssim_of_a_pixel_by_the_definition():
    """A window of 11 by 11 around the middle, weighed by a Gaussian of deviation 1.5."""
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 11, 11))
    kernel = np.exp(-np.square(np.arange(11) - 5) / 4.5)
    weight = np.outer(kernel, kernel) / kernel.sum() ** 2
    mean_a, mean_b = (weight * a).sum(), (weight * b).sum()
    var_a, var_b = (weight * (a - mean_a) ** 2).sum(), (weight * (b - mean_b) ** 2).sum()
    both = (weight * (a - mean_a) * (b - mean_b)).sum()
    wanted = (2 * mean_a * mean_b + 1e-4) * (2 * both + 9e-4) / (mean_a**2 + mean_b**2 + 1e-4) / (var_a + var_b + 9e-4)
    found = ssim_map(*(torch.from_numpy(each).float()[None] for each in (a, b)))
    assert float(found[0, 5, 5]) == pytest.approx(wanted, abs=1e-4)


def test_large_pictures_are_reduced_first():
    blocks = reduced(torch.arange(30.0).reshape(1, 5, 6), (2, 3))
    assert blocks.tolist() == [[[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]]]  # means of 2 by 2, the fifth row left out
    large = torch.rand(1, 2 * COARSE, 2 * COARSE + 8)
    assert ssim(large, large).shape == (1, COARSE, COARSE + 4)
    assert ssim(large[:, :96], large[:, :96]).shape[1] == 96


def test_decibels():
    assert decibels(np.array([0.01, 1.0])).tolist() == [20.0, 0.0] and decibels(0.0) == np.inf
