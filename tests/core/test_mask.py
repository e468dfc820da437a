"""Masks in pixels and people in clips: shapes, grow and feather, gaps, cuts, weights."""

import numpy
import pytest
import torch

from demo.portraits import HELD_OUT_SEED, render_clip, render_pair
from synccache_core import BadMask, Grid, token_weights
from synccache_core.human.mask import (
    as_mask,
    as_pictures,
    cuts,
    feather,
    filled,
    grow,
    led_in,
    motion_pixels,
    on_frames,
    overlay,
    resized,
)
from synccache_core.human.people import Found, Tracker, certain, ellipses, parse_weights, with_faces

SIZE = 64


def disc(x: float, y: float = 32.0, radius: float = 8.0) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    return (((columns - x) ** 2 + (rows - y) ** 2).sqrt() < radius).float()


@pytest.mark.parametrize("shape", [(6, 8), (1, 6, 8), (5, 6, 8), (5, 1, 6, 8)])
def test_the_shapes_that_are_masks(shape):
    """Tensors, and what extensions hand over that work with numpy."""
    for mask in (torch.ones(shape), numpy.ones(shape), numpy.ones(shape, dtype=bool)):
        assert as_mask(mask).shape == (shape[0] if len(shape) > 2 else 1, 6, 8)


@pytest.mark.parametrize("mask", [torch.ones(4), torch.ones(1, 2, 4, 4), torch.ones(0, 4, 4), torch.ones(4, 0)], ids=str)
def test_other_shapes_are_refused(mask):
    with pytest.raises(BadMask, match="shape"):
        as_mask(mask)


@pytest.mark.parametrize("mask", ["mask.png", {"mask": 1}, [[1, 2], [3]], numpy.array(["a"])], ids=str)
def test_other_things_are_refused_by_name(mask):
    with pytest.raises(BadMask, match="human_mask must be a tensor .*got"):
        as_mask(mask, "human_mask")


def test_values_are_converted_or_refused():
    assert as_mask(torch.tensor([[True, False]])).tolist() == [[[1.0, 0.0]]]
    assert as_mask(torch.tensor([[255, 0, 51]], dtype=torch.uint8)).tolist() == [[[1.0, 0.0, pytest.approx(0.2)]]]
    assert as_mask(torch.tensor([[7.0, -7.0]])).tolist() == [[[1.0, 0.0]]]
    assert as_mask(torch.ones(2, 2, dtype=torch.float16)).dtype == torch.float32
    for bad in (float("nan"), float("inf")):
        with pytest.raises(BadMask, match="NaN or infinite"):
            as_mask(torch.tensor([[bad]]))


def test_other_frame_counts_are_refused_with_both_numbers():
    assert on_frames(torch.ones(1, 4, 4), 7).shape == on_frames(torch.ones(7, 4, 4), 7).shape == (7, 4, 4)
    with pytest.raises(BadMask, match="mask has 5 frames, the image 7: connect 1 or 7"):
        on_frames(torch.ones(5, 4, 4), 7)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 13), (33, 2)])
def test_odd_pictures_become_rgb(channels, size):
    assert as_pictures(torch.rand(2, *size, channels)).shape == (2, *size, 3)
    assert as_pictures(torch.full((1, *size, channels), 3.0)).max() == 1.0


@pytest.mark.parametrize("shape", [(4, 4, 3), (1, 4, 4, 2), (0, 4, 4, 3), (1, 4, 0, 3)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(BadMask, match="image must be"):
        as_pictures(torch.ones(shape))


def test_pictures_with_nan_are_refused():
    with pytest.raises(BadMask, match="NaN"):
        as_pictures(torch.full((1, 4, 4, 3), float("nan")))


@pytest.mark.parametrize("pixels", [1, 2, 5, 12])
def test_grow_reaches_exactly_as_far_as_asked(pixels):
    point = torch.zeros(1, 41, 41)
    point[0, 20, 20] = 1.0
    grown = grow(point, pixels)[0]
    assert grown[20].sum() == grown[:, 20].sum() == 2 * pixels + 1
    y, x = (grown > 0).nonzero(as_tuple=True)
    assert ((x - 20.0) ** 2 + (y - 20.0) ** 2).sqrt().max() <= 1.1 * pixels + 1, "an octagon, no square"
    assert torch.equal(grow(point, 0), point)
    assert grow(grown[None], -pixels)[0, 20, 20] == 1.0 and grow(grown[None], -pixels).sum() == 1.0


def test_feather_keeps_the_edge_in_its_place():
    half = torch.zeros(1, 40, 40)
    half[:, :, 20:] = 1.0
    soft = feather(half, 6)[0, 20]
    assert soft[19] == pytest.approx(1 - float(soft[20]), abs=1e-5) and 0.3 < soft[19] < 0.5 < soft[20]
    assert soft[12] < 1e-4 and soft[27] > 0.9999 and torch.equal(feather(half, 0), half)
    assert feather(torch.ones(2, 5, 5), 50).min() > 0.999, "wider than the picture"


def test_resizing_averages_and_interpolates():
    assert resized(torch.ones(2, 7, 9), 3, 5).min() == pytest.approx(1.0)
    assert resized(disc(32)[None], 16, 16).mean() == pytest.approx(float(disc(32).mean()), rel=0.02)
    assert resized(disc(32)[None], 16, 16).unique().numel() > 2, "soft"


@pytest.mark.parametrize("percent, pixels", [(0.0, 0), (2.0, 10), (2.1, 11), (50.0, 240)])
def test_the_margin_for_motion(percent, pixels):
    assert motion_pixels(percent, 480, 832) == motion_pixels(percent, 832, 480) == pixels


def test_cuts_are_found_and_motion_is_none():
    opening = numpy.abs(numpy.sin(numpy.arange(24) * 0.7))
    for number, kind in enumerate(("still", "drifting", "moving")):
        frames = render_clip(HELD_OUT_SEED + number, opening, 48, backdrop=kind).frames
        assert not any(cuts(torch.from_numpy(frames)))
        frames = render_clip(HELD_OUT_SEED + number, opening, 48, backdrop=kind, cut=9).frames
        assert [i for i, cut in enumerate(cuts(torch.from_numpy(frames))) if cut] == [9]
    assert cuts(torch.rand(1, 8, 8, 3)) == [False] and cuts(torch.ones(3, 8, 8, 3)) == [False] * 3


def test_frames_without_anybody_are_weighed_evenly():
    mask = filled([disc(20), None, disc(20)], SIZE, SIZE)
    assert torch.equal(mask[0], disc(20)) and mask[1].unique().tolist() == [pytest.approx(float(disc(20).mean()))]
    assert filled([None, None], 4, 6).eq(1.0).all(), "nobody at all is the same as no mask"
    assert token_weights(filled([None], 8, 8), Grid(3, 2, 2)).eq(1.0).all()


def test_somebody_lost_is_held_and_then_gone():
    tracker, empty = Tracker(hold=2), torch.zeros(0, SIZE, SIZE)
    found = [tracker.follow(certain(masks)) for masks in (disc(20)[None], empty, empty, empty, disc(22)[None])]
    assert [mask is not None for mask in found] == [True, True, True, False, True]
    assert torch.equal(found[2], disc(20)) and torch.equal(found[4], disc(22))


def test_one_of_two_is_held_while_the_other_moves_on():
    tracker = Tracker(hold=3)
    tracker.follow(certain(torch.stack([disc(16), disc(48)])))
    assert torch.equal(tracker.follow(certain(disc(50)[None])), torch.maximum(disc(16), disc(50)))


def test_a_cut_ends_the_hold():
    tracker = Tracker(hold=9)
    tracker.follow(certain(disc(16)[None]))
    assert torch.equal(tracker.follow(certain(disc(48)[None]), cut=True), disc(48))
    assert tracker.follow(certain(torch.zeros(0, SIZE, SIZE)), cut=True) is None


def test_who_is_followed_may_be_seen_less_surely_but_nobody_new_is():
    """Detectors of real people waver: 0.6, 0.1, 0.5 in three frames of one speaker."""
    tracker, doubt = Tracker(hold=0), torch.tensor([False])
    assert tracker.follow(Found(disc(20)[None], doubt)) is None
    tracker.follow(certain(disc(20)[None]))
    assert torch.equal(tracker.follow(Found(disc(22)[None], doubt)), disc(22))
    assert tracker.follow(Found(disc(48)[None], doubt)) is None, "elsewhere it is somebody new"
    tracker = Tracker(hold=0, weights=(1.0, 0.5))
    tracker.follow(certain(disc(20)[None]))
    both = Found(torch.stack([disc(20), disc(24)]), torch.tensor([False, True]))
    assert torch.equal(tracker.follow(both), disc(24)), "the sure one is the person, however alike the other is"


def test_the_frames_before_somebody_is_found_have_the_first_mask():
    a, b = disc(20), disc(48)
    made, early = led_in([None, None, None, a, None, b, None], [False] * 7, 2)
    assert [m is None for m in made] == [True, False, False, False, False, False, True] and early == [1, 2, 4]
    assert made[1] is made[2] is a and made[4] is b
    made, early = led_in([None, None, a], [False, False, True], 2)
    assert made[:2] == [None, None] and early == [], "a camera cut lies between"
    assert led_in([None, a], [False, False], 0)[1] == [] and led_in([], [], 8) == ([], [])


def test_faint_masks_show_nobody():
    assert Tracker().follow(certain(0.3 * disc(20)[None])) is None


def test_weights_follow_people_from_the_left():
    tracker = Tracker(weights=(1.0, 0.25))
    first = tracker.follow(certain(torch.stack([disc(48, 44.0), disc(16, 20.0)])))
    assert first[20, 16] == 1.0 and first[44, 48] == 0.25
    for step in range(1, 9):  # they change places, a little a frame
        after = tracker.follow(certain(torch.stack([disc(16 + 4 * step, 20.0), disc(48 - 4 * step, 44.0)])))
    assert after[20, 48] == 1.0 and after[44, 16] == 0.25
    third = tracker.follow(certain(torch.stack([disc(48, 20.0), disc(16, 44.0), disc(8, 10.0, 5.0)])))
    assert third[10, 8] == 0.25, "newcomers come last, and the last weight holds for them"


@pytest.mark.parametrize("text, weights", [("", (1.0,)), ("1, 0.3", (1.0, 0.3)), (" 0;1 ", (0.0, 1.0)), ("0.5,", (0.5,))])
def test_weights_are_read(text, weights):
    assert parse_weights(text) == weights


@pytest.mark.parametrize("text", ["left", "2", "-1", "nan", "1 2", "inf", "1e400"])
def test_other_weights_are_refused(text):
    with pytest.raises(BadMask, match="person_weights"):
        parse_weights(text)


def test_faces_join_whom_they_lie_in():
    people, inside, apart = torch.stack([disc(16, radius=12)]), disc(16, radius=4), disc(50, radius=4)
    faces, unsure = certain(torch.stack([inside, apart])), torch.tensor([False])
    joined = with_faces(Found(people, unsure), faces)
    assert torch.equal(joined.masks, torch.stack([people[0], apart])) and joined.sure.tolist() == [True, True]
    alone = with_faces(certain(torch.zeros(0, 32, 32)), certain(inside[None]))
    assert alone.masks.shape == (1, 32, 32) and alone.sure.tolist() == [True], "always the size of the people"
    for nothing in (certain(torch.zeros(0, 8, 8)), Found(apart[None], unsure)):
        assert torch.equal(with_faces(certain(people), nothing).masks, people)


def test_boxes_become_soft_ellipses():
    shape = ellipses(torch.tensor([[10.0, 20.0, 50.0, 60.0], [0.0, 0.0, 0.0, 0.0]]), SIZE, SIZE)
    assert shape.shape == (2, SIZE, SIZE) and torch.isfinite(shape).all()
    assert shape[0, 40, 30] == 1.0 and shape[0, 21, 11] == 0.0 and 0 < shape[0, 40, 10] < 1


def test_two_speakers_of_the_renderer_keep_their_weights():
    clip = render_pair((HELD_OUT_SEED, HELD_OUT_SEED + 1), numpy.zeros((2, 5)), SIZE)
    tracker = Tracker(weights=(1.0, 0.5))
    for frame in range(5):
        masks = torch.from_numpy(numpy.stack([speaker.mask[frame] for speaker in clip.speakers]))
        union = tracker.follow(certain(masks))
    assert torch.equal(union, torch.maximum(masks[0], 0.5 * masks[1]))


def test_the_overlay_shows_the_mask():
    pictures = torch.full((2, SIZE, SIZE, 3), 0.5)
    shown = overlay(pictures, disc(32)[None].expand(2, -1, -1))
    assert shown.shape == pictures.shape and 0 <= shown.min() and shown.max() <= 1
    assert shown[0, 32, 32, 1] > shown[0, 32, 32, 0] + 0.2, "tinted inside"
    assert shown[0, 2, 2].unique().numel() == 1, "grey outside"
