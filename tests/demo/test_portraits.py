"""The renderer: deterministic people whose mouth opening can be measured back from the pictures."""

import numpy
import pytest

from demo.backdrops import KINDS, draw_backdrop
from demo.portraits import (
    SIZE,
    draw_person,
    mouth_box_of,
    mouth_opening,
    render_clip,
    render_pair,
    render_portrait,
)


def speech_like(seed: int, frames: int = 33) -> numpy.ndarray:
    time = numpy.arange(frames) / 16
    phase = numpy.random.default_rng(seed).uniform(0, 6, 2)
    return numpy.clip(0.5 * numpy.sin(9 * time + phase[0]) + 0.4 * numpy.sin(21 * time + phase[1]) + 0.3, 0, 1)


@pytest.mark.parametrize("seed", range(12))
def test_opening_can_be_measured_from_pictures(seed):
    opening = speech_like(seed)
    clip = render_clip(seed, opening)
    measured = mouth_opening(clip.frames, clip.mouth_box)
    assert numpy.corrcoef(measured, opening)[0, 1] > 0.9


def test_clip_shapes_and_ranges():
    clip = render_clip(3, numpy.zeros(5))
    assert clip.frames.shape == (5, SIZE, SIZE, 3) and clip.human_mask.shape == (5, SIZE, SIZE)
    assert clip.frames.dtype == numpy.float32
    assert 0 <= clip.frames.min() and clip.frames.max() <= 1
    assert 0.25 < clip.human_mask.mean() < 0.85
    assert clip.human_mask[:, 68, 48].min() == 1 and clip.human_mask[:, 3, 3].max() == 0


def test_same_seed_same_clip():
    assert numpy.array_equal(render_clip(7, numpy.ones(3)).frames, render_clip(7, numpy.ones(3)).frames)
    assert not numpy.allclose(render_portrait(7), render_portrait(8))
    assert draw_person(7).style == draw_person(7).style


def test_people_and_rooms_vary():
    people, rooms = [draw_person(seed) for seed in range(200)], [draw_backdrop(seed) for seed in range(200)]
    assert len({person.style for person in people}) == 6 and len({person.wear for person in people}) == 4
    assert 0.05 < numpy.mean([person.glasses for person in people]) < 0.4
    assert {room.kind for room in rooms} == set(KINDS)


def test_head_and_brows_follow_speech_and_the_mouth_only_the_opening():
    shut, wide = render_clip(5, numpy.zeros(1)), render_clip(5, numpy.ones(1))
    change = numpy.abs(shut.frames - wide.frames).max(axis=(0, 3))
    y0, y1, x0, x1 = mouth_box_of(SIZE)
    assert change[y0:y1, x0:x1].max() > 0.3
    long = render_clip(5, numpy.ones(24)).human_mask[-1] - render_clip(5, numpy.zeros(24)).human_mask[-1]
    assert numpy.abs(long).max() > 0.3  # the outline of the head has moved


def test_full_opening_is_visible():
    wide = render_clip(2, numpy.ones(1))
    y0, y1, x0, x1 = wide.mouth_box
    column = numpy.abs(wide.frames[0] - render_clip(2, numpy.zeros(1)).frames[0]).max(2)[y0:y1, (x0 + x1) // 2]
    assert (column > 0.1).sum() >= 12


def test_portrait_scales_with_size():
    large = render_portrait(4, 4 * SIZE).reshape(SIZE, 4, SIZE, 4, 3).mean(axis=(1, 3))
    assert numpy.abs(large - render_portrait(4, SIZE)).mean() < 0.01


def behind(clip) -> numpy.ndarray:
    return clip.human_mask.max(0) == 0


@pytest.mark.parametrize(("kind", "least", "most"), [("still", 0.0, 0.009), ("drifting", 0.0, 0.02), ("moving", 0.004, 1)])
def test_backdrops_move_as_their_kind_says(kind, least, most):
    changes = [numpy.abs(numpy.diff(clip.frames[::4], axis=0))[:, behind(clip)].mean()
               for clip in (render_clip(seed, numpy.zeros(33), backdrop=kind) for seed in range(6))]
    assert least < max(changes) < most


def test_unknown_backdrop_is_refused():
    with pytest.raises(ValueError, match="'jungle' is none of still, drifting, moving"):
        render_clip(1, numpy.zeros(2), backdrop="jungle")


def test_camera_cut_changes_every_pixel_once_and_moves_the_mouth_box():
    clip = render_clip(9, speech_like(9), cut=20)
    steps = numpy.abs(numpy.diff(clip.frames, axis=0)).mean(axis=(1, 2, 3))
    assert steps.argmax() == 19 and steps[19] > 4 * numpy.median(steps) and clip.cuts == (20,)
    boxes = clip.speakers[0].mouth_boxes
    assert not numpy.array_equal(boxes[19], boxes[20]) and numpy.array_equal(boxes[20], boxes[32])
    for part in (slice(0, 20), slice(20, 33)):
        seen = mouth_opening(clip.frames[part], tuple(boxes[part][0]))
        assert numpy.corrcoef(seen, clip.opening[part])[0, 1] > 0.9


@pytest.mark.parametrize("cut", [0, 33, -1])
def test_cut_outside_the_clip_is_refused(cut):
    with pytest.raises(ValueError, match=f"cut: {cut} is not inside"):
        render_clip(9, numpy.zeros(33), cut=cut)


def test_two_speakers_have_their_own_masks_boxes_and_curves():
    openings = numpy.stack([speech_like(1), speech_like(2)])
    clip = render_pair((11, 12), openings)
    left, right = clip.speakers
    assert (left.mask * right.mask).max() < 0.3  # only blended edges are shared
    assert left.mask[:, :, : SIZE // 4].mean() > right.mask[:, :, : SIZE // 4].mean()
    assert numpy.array_equal(clip.human_mask, numpy.maximum(left.mask, right.mask))
    for speaker, opening in zip(clip.speakers, openings):
        seen = mouth_opening(clip.frames, tuple(speaker.mouth_boxes[0]))
        assert numpy.corrcoef(seen, opening)[0, 1] > 0.85
