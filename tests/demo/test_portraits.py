"""The renderer: deterministic people whose mouth opening can be measured back from the pictures."""

import numpy
import pytest

from demo.portraits import draw_person, mouth_box_of, mouth_opening, render_clip, render_portrait


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
    assert clip.frames.shape == (5, 64, 64, 3) and clip.human_mask.shape == (5, 64, 64)
    assert clip.frames.dtype == numpy.float32
    assert 0 <= clip.frames.min() and clip.frames.max() <= 1
    assert 0.25 < clip.human_mask.mean() < 0.85
    assert clip.human_mask[:, 45, 32].min() == 1 and clip.human_mask[:, 2, 2].max() == 0


def test_same_seed_same_person():
    assert numpy.array_equal(render_clip(7, numpy.ones(3)).frames, render_clip(7, numpy.ones(3)).frames)
    assert not numpy.allclose(render_portrait(7), render_portrait(8))
    assert draw_person(7).style == draw_person(7).style


def test_only_the_mouth_and_chin_follow_the_opening():
    shut, wide = render_clip(5, numpy.zeros(4)), render_clip(5, numpy.ones(4))
    change = numpy.abs(shut.frames - wide.frames).max(axis=(0, 3))
    y0, y1, x0, x1 = mouth_box_of(64)
    assert change[y0:y1, x0:x1].max() > 0.3
    assert change[: y0 - 4].max() == 0


def test_full_opening_is_visible_at_64_pixels():
    wide = render_clip(2, numpy.ones(1))
    y0, y1, x0, x1 = wide.mouth_box
    column = numpy.abs(wide.frames[0] - render_clip(2, numpy.zeros(1)).frames[0]).max(2)[y0:y1, (x0 + x1) // 2]
    assert (column > 0.1).sum() >= 9


def test_portrait_scales_with_size():
    large = render_portrait(4, 256).reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    assert numpy.abs(large - render_portrait(4, 64)).mean() < 0.01
