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
