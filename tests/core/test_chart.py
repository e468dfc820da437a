"""The chart without a host: it has one size, stays in its texts' frames, and survives every odd plan."""

from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture(scope="module")
def chart(pictures):
    """The chart's module and what it draws with."""
    module = pictures("chart")
    drawing = vars(pictures("drawing")) | vars(module)
    return SimpleNamespace(**{name: value for name, value in drawing.items() if not name.startswith("__")})


def facts(chart, steps=40, every=4, size=0.01, **changes):
    computed = tuple(t % every == 0 for t in range(steps))
    front = tuple(chart.Point(s, 0.001 * s**2, 1000 * k) for s in (1.5, 2.0, 3.0, 4.0, 9.0) for k in (1, 2))
    given = {
        "title": "Anna", "headline": "10 of 40 steps computed", "computed": computed,
        "sigmas": tuple(np.linspace(1.0, 0.0, steps + 1).tolist()), "gaps": (size,) * sum(computed),
        "chosen": chart.Point(3.0, 0.01, 1000), "front": front, "target": 3.2, "room": 4000,
        "used_label": "1000 bytes used", "room_label": "limit: 4000 bytes", "details": ("one", "two"),
    }  # fmt: skip
    return chart.Chart(**{**given, **changes})


def pixels(chart, given):
    picture = chart.draw(given)
    assert picture.mode == "RGB" and picture.size == (chart.WIDTH, chart.HEIGHT)
    return np.asarray(picture)


def share(picture, colour, box):
    """Of the pixels in a box, those of a colour."""
    x0, y0, x1, y1 = box
    return (np.abs(picture[y0:y1, x0:x1].astype(int) - colour).max(-1) <= 2).mean()


def test_what_is_drawn_is_what_was_planned(chart):
    picture = pixels(chart, facts(chart))
    row = (np.abs(picture[127, chart.LEFT : chart.RIGHT].astype(int) - chart.BLUE).max(-1) <= 2).astype(int)
    assert (np.diff(row) == 1).sum() + row[0] == 10  # ten computed cells reach above the reused ones
    bar = (680, 386, 992, 404)
    assert share(picture, chart.BLUE, bar) == pytest.approx(0.25, abs=0.03)
    assert share(pixels(chart, facts(chart, room=0)), chart.BLUE, bar) == 0
    assert share(pixels(chart, facts(chart, room=10)), chart.BLUE, bar) > 0.95


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 1}, {"steps": 200}, {"every": 1, "size": 0.0}, {"size": 1e-9}, {"size": 50.0}, {"front": ()},
        {"target": 1.0}, {"target": 8.0}, {"title": ""}, {"title": "Прив\u0000\n"}, {"details": ("x" * 200,) * 30},
        {"steps": 3, "computed": (True, False, False), "gaps": (0.1,)},
    ],
    ids=str,
)  # fmt: skip
def test_odd_plans_are_drawn(chart, changes):
    for error in (0.0, 1e-12, 0.02, 30.0):
        for speedup in (1.0, 3.0, 1e9):
            picture = pixels(chart, facts(chart, **{"chosen": chart.Point(speedup, error, 1000), **changes}))
            margins = picture[:, :20], picture[:, -20:], picture[-8:]
            assert all((m == chart.BACK).all() for m in margins), "something was drawn over the edge"


def test_the_envelope_keeps_what_is_better_or_faster(chart):
    points = [chart.Point(s, e, 0) for s, e in ((2, 0.2), (3, 0.3), (2.5, 0.4), (1, 0.1), (2, 0.15), (1.5, 0.15))]
    assert [(p.speedup, p.error) for p in chart.envelope(points)] == [(1, 0.1), (2, 0.15), (3, 0.3)]
    assert chart.envelope([]) == []


def test_texts_keep_to_the_font(chart):
    assert chart.drawable("Zoë — \u202e名前 3×\n") == "Zoe - 3x"
    assert chart.drawable("名前") == ""
    given = {0.0: "0 %", 1e-9: "0 %", 1e-5: "0.001 %", 0.0123: "1.2 %", 0.5: "50 %", 3.0: "300 %"}
    assert {error: chart.percent(error) for error in given} == given


def test_the_colours_are_told_apart_without_hue(chart):
    """Relative luminance, WCAG: texts 4.5 to 1 on the background, neighbouring marks 1.5 to 1."""

    def light(colour):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one, two):
        low, high = sorted((light(one), light(two)))
        return (high + 0.05) / (low + 0.05)

    assert all(contrast(c, chart.BACK) >= 4.5 for c in (chart.TEXT, chart.QUIET, chart.AMBER))
    assert contrast(chart.TEXT, chart.PANEL) >= 4.5
    assert all(contrast(chart.BLUE, c) >= 1.5 for c in (chart.AMBER, chart.MID_BLUE, chart.PALE_BLUE))
