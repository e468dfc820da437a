"""The paper's preset, by hand."""

from synccache_core import Config, Layout
from synccache_core.decide.paper import paper_config, stored

S2V = Layout(40, (0, 4, 8, 12, 16, 20, 24, 27, 30, 33, 36, 39))


def test_a_ratio_of_two_fifths_keeps_four_of_twelve_and_never_none():
    assert stored(S2V) == 4  # floor(0.4 * 12) = 4
    assert stored(Layout(20, tuple(range(1, 20, 2)))) == 4  # HunyuanVideo-Avatar: floor(0.4 * 10)
    assert stored(Layout(4, (0, 2))) == 1


def test_the_settings_are_the_papers():
    made = paper_config(Config(target_speedup=3.75, forecast_order=2, backtest=True, correction=True, level="output"), S2V)
    assert (made.choose, made.omega, made.level, made.forecast_order, made.merge) == ("probe", 2.0, "residual", 0, "freeze")
    assert not made.backtest and not made.correction and made.threshold is None
    assert [len(group) for group in made.groups] == [2, 3, 3, 3]
    assert paper_config(Config(choose="probe", threshold=0.3), S2V).threshold == 0.3


def test_boundaries_of_a_calibration_replace_the_even_ones():
    cut = ((1,), (2, 3), (4, 5, 6, 7), (8, 9, 10, 11))
    assert paper_config(Config(), S2V, cut).groups == cut
