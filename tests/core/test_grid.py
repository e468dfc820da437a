"""Masks to token weights: every shape rule, every refusal."""

import pytest
import torch

from synccache_core import BadMask, Grid, token_weights

GRID = Grid(frames=3, height=2, width=2)  # 9 pixel frames


def test_grid_from_latent_pads_odd_sizes_up():
    assert Grid.from_latent((1, 16, 20, 60, 104)) == Grid(20, 30, 52)
    assert Grid.from_latent((1, 16, 20, 61, 103)) == Grid(20, 31, 52)
    assert Grid(20, 30, 52).tokens == 31200


def test_one_image_holds_for_every_frame():
    mask = torch.zeros(4, 4)
    mask[:2, :2] = 1.0
    mask[2:, 2:3] = 1.0  # half of the lower right token
    want = [1.0, 0.0, 0.0, 0.5] * 3
    assert token_weights(mask, GRID).tolist() == want
    assert token_weights(mask[None], GRID).tolist() == want


def test_latent_frames_are_taken_as_they_are():
    mask = torch.arange(3.0).reshape(3, 1, 1).expand(3, 4, 4) / 2
    assert token_weights(mask, GRID).tolist() == [0.0] * 4 + [0.5] * 4 + [1.0] * 4


def test_pixel_frames_pool_causally():
    mask = torch.zeros(9, 4, 4)
    mask[0] = 1.0  # latent frame 0 alone
    mask[3] = 1.0  # one of frames 1..4
    assert token_weights(mask, GRID).tolist() == [1.0] * 4 + [0.25] * 4 + [0.0] * 4


def test_sum_is_kept_for_whole_multiples():
    mask = torch.rand(3, 8, 12)
    weights = token_weights(mask, Grid(3, 4, 6))
    assert weights.sum().item() * 4 == pytest.approx(mask.sum().item(), rel=1e-6)


@pytest.mark.parametrize("frames", [2, 5, 8, 10])
def test_other_frame_counts_are_refused_with_both_numbers(frames):
    with pytest.raises(BadMask, match=rf"{frames} frames.*9 frames"):
        token_weights(torch.zeros(frames, 4, 4), GRID)


@pytest.mark.parametrize("shape", [(4,), (1, 2, 4, 4), (0, 4, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(BadMask, match="shape"):
        token_weights(torch.zeros(shape), GRID)


def test_nan_is_refused_and_ranges_are_clamped():
    with pytest.raises(BadMask, match="NaN"):
        token_weights(torch.full((4, 4), float("nan")), GRID)
    assert token_weights(torch.full((4, 4), 7.0), GRID).max() == 1.0
    assert token_weights(torch.full((4, 4), -7.0), GRID).max() == 0.0


def test_bool_and_bytes_are_weights_too():
    assert token_weights(torch.ones(4, 4, dtype=torch.bool), GRID).unique().tolist() == [1.0]
    assert token_weights(torch.full((4, 4), 255, dtype=torch.uint8), GRID).unique().tolist() == [1.0]


def test_geometry_is_exact_for_large_videos():
    grid = Grid(21, 135, 240)  # 680 400 tokens
    weights = token_weights(torch.ones(1080, 1920), grid)
    assert weights.numel() == grid.tokens == 680_400
    assert weights.double().sum().item() == grid.tokens


def test_models_with_another_stride_have_longer_films():
    """LTX-2: eight frames of the film to a latent one."""
    assert Grid.from_latent((1, 128, 3, 16, 24), patch=1, stride=8) == Grid(3, 16, 24, 8)
    mask = torch.zeros(17, 4, 4)
    mask[0], mask[8] = 1.0, 1.0
    assert token_weights(mask, Grid(3, 2, 2, 8)).tolist() == [1.0] * 4 + [0.125] * 4 + [0.0] * 4
    with pytest.raises(BadMask, match="9 frames; the video has 17 frames"):
        token_weights(torch.zeros(9, 4, 4), Grid(3, 2, 2, 8))


def test_models_whose_later_latent_frames_stand_for_one_again():
    """MiniMax-H3: 1, 4, 4, 4, 4 frames, and again."""
    grid = Grid.from_latent((1, 24, 7, 4, 4), stride=4, cycle=5)
    assert grid.spans == [1, 4, 4, 4, 4, 1, 4] and Grid(3, 1, 1).spans == [1, 4, 4] and Grid(2, 1, 1, 8).spans == [1, 8]
    mask = torch.zeros(22, 2, 2)
    mask[17], mask[18] = 1.0, 1.0
    assert token_weights(mask, Grid(7, 1, 1, 4, 5)).tolist() == [0.0] * 5 + [1.0, 0.25]
    with pytest.raises(BadMask, match="25 frames; the video has 22 frames"):
        token_weights(torch.zeros(25, 2, 2), grid)


def test_a_reference_in_front_is_of_no_film():
    """Wan-Animate: one frame and four of the film behind the reference, in which nobody counts."""
    grid = Grid.from_latent((1, 16, 3, 4, 4), still=1)
    assert grid == Grid(3, 2, 2, still=1) and grid.tokens == 12 and grid.spans == [1, 4]
    film = torch.zeros(5, 2, 2)
    film[0], film[2] = 1.0, 1.0
    assert token_weights(film, grid).tolist() == [0.0] * 4 + [1.0] * 4 + [0.25] * 4
    assert token_weights(torch.ones(2, 2), grid).tolist() == [1.0] * 12
    with pytest.raises(BadMask, match=r"9 frames; the video has 5 frames \(3 latent frames\): use 1, 3 or 5"):
        token_weights(torch.zeros(9, 4, 4), grid)


def test_a_window_takes_its_frames_of_the_whole_mask():
    """Of 3 latent frames, 9 of pixels."""
    window = Grid(2, 2, 2, window=(1, 2), whole=3)
    frames = torch.zeros(9, 4, 4)
    frames[5:] = 1.0
    assert token_weights(frames, window).tolist() == [0.0] * 4 + [1.0] * 4
    assert token_weights(frames[[0, 4, 8]], window).tolist() == [0.0] * 4 + [1.0] * 4
    assert token_weights(frames[8], window).tolist() == [1.0] * 8
    with pytest.raises(BadMask, match="5 frames; the video has 9 frames"):
        token_weights(frames[:5], window)
    late = Grid(2, 2, 2, still=1, window=(0, 2), whole=3)  # the first of three is of no film
    assert token_weights(torch.ones(5, 4, 4), late).tolist() == [0.0] * 4 + [1.0] * 4
