"""The pictures of a run: of one size, within their frame, for every odd run."""

import numpy as np
import pytest
from PIL import Image


def a_run(pictures, steps=40, **changes):
    computed = tuple(t % 4 == 0 for t in range(steps))
    given = {
        "title": "Wan2.2-S2V: 40 blocks, 12 audio refreshes", "headline": "10 of 40 steps computed", "computed": computed,
        "sigmas": tuple(np.linspace(1.0, 0.02, steps).tolist()), "seconds": tuple(1.0 if c else 0.1 for c in computed),
        "accumulated": tuple(0.05 * (t % 4) for t in range(steps)), "threshold": (0.12,) * steps, "held": 1000,
        "room": 4000, "held_label": "1000 bytes held", "room_label": "limit: 4000 bytes",
        "notes": ("a sentence that is much longer than the panel is wide and has to be broken",) * 3,
    }  # fmt: skip
    return pictures("timeline").Run(**{**given, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"steps": 1}, {"steps": 300}, {"accumulated": (float("nan"),) * 40}, {"accumulated": (0.0,) * 40},
        {"threshold": (None,) * 40}, {"threshold": (1e9,) * 40}, {"seconds": (0.0,) * 40}, {"room": 0}, {"room": 10},
        {"title": "名前", "notes": ("word " * 400,)},
    ],
    ids=str,
)  # fmt: skip
def test_odd_runs_are_drawn(pictures, changes):
    timeline, drawing = pictures("timeline"), pictures("drawing")
    picture = np.asarray(timeline.draw(a_run(pictures, **changes)))
    assert picture.shape == (timeline.HEIGHT, drawing.WIDTH, 3)
    margins = picture[:, :20], picture[:, -20:], picture[-8:]
    assert all((m == drawing.BACK).all() for m in margins), "something was drawn over the edge"


def test_the_map_is_hot_where_the_error_is(pictures):
    heat, drawing = pictures("heat"), pictures("drawing")
    rows = np.zeros((6, 6))
    rows[1, 4] = 0.3
    portrait = Image.new("RGB", (60, 90), (200, 200, 200))
    for below in (None, portrait):
        picture = np.asarray(heat.draw(rows, below, "t", ("a", "b"))).astype(int)
        shown = picture[int(heat.MAP.y0) : int(heat.MAP.y1), int(heat.MAP.x0) : int(heat.MAP.x1)]
        warm = (shown[..., 0] - shown[..., 2]).reshape(shown.shape[:2])
        y, x = np.unravel_index(warm.argmax(), warm.shape)
        assert (6 * (y / shown.shape[0]), 6 * ((x - 48) / 512)) == pytest.approx((1.5, 4.5), abs=0.6)
    assert picture.shape == (heat.HEIGHT, drawing.WIDTH, 3)
    assert np.asarray(heat.draw(np.zeros((2, 3)), None, "t", ())).max() > 0  # nothing was off anywhere


def test_a_sentence_stands_in_for_a_picture(pictures):
    assert np.asarray(pictures("timeline").blank("no run yet: connect samples")).max() > 100


def a_column(pictures, number, height, width, box, worst=False, apart=0.1):
    plain = np.full((height, width, 3), 0.5)
    return pictures("compare").Column(number, plain, plain + apart, box, worst)


@pytest.mark.parametrize("height, width", [(96, 96), (480, 832), (832, 480), (1, 1)])
def test_a_strip_of_any_shape_stays_in_its_frame(pictures, height, width):
    compare, drawing = pictures("compare"), pictures("drawing")
    box = (height // 2, height, width // 4, width)
    columns = [a_column(pictures, n, height, width, box, n == 2, 0.01 * n) for n in range(4)]
    picture = np.asarray(compare.strip(columns, "whole 40.0 dB"))
    assert picture.shape[1] == drawing.WIDTH and picture.shape[0] < 1100
    assert all((m == drawing.BACK).all() for m in (picture[:, :20], picture[:, -20:], picture[-8:]))
    assert np.asarray(compare.strip(columns[:1], "identical")).shape[1] == drawing.WIDTH


def test_differences_are_brightened_as_far_as_they_go(pictures):
    gain = pictures("compare").gain_of
    assert [gain([np.full((4, 4), level)]) for level in (0.0, 0.01, 0.1, 0.9)] == [64, 64, 8, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"loudness": None}, {"floor": None}, {"whole": np.full(9, np.inf), "mouth": np.full(9, np.inf)},
        {"mouth": np.array([np.nan, 30.0, np.inf, 20.0] + [np.nan] * 5)}, {"plain": np.zeros(9), "accelerated": np.zeros(9)},
        dict.fromkeys(("plain", "accelerated", "loudness", "whole", "mouth"), np.array([0.5])),
    ],
    ids=str,
)  # fmt: skip
def test_odd_curves_are_drawn(pictures, changes):
    compare, drawing = pictures("compare"), pictures("drawing")
    given = {
        "plain": np.linspace(0, 1, 9), "accelerated": np.linspace(1, 0, 9), "loudness": np.linspace(0, 1, 9),
        "whole": np.linspace(30, 40, 9), "mouth": np.linspace(20, 30, 9), "floor": 18.0, "lines": ("a line",) * 3,
    }  # fmt: skip
    picture = np.asarray(compare.curves(compare.Curves(**{**given, **changes}), "whole 40.0 dB"))
    assert picture.shape == (compare.HEIGHT, drawing.WIDTH, 3)
    assert all((m == drawing.BACK).all() for m in (picture[:, :20], picture[:, -20:], picture[-8:]))
