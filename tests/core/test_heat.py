"""Where reuse went wrong most, by hand."""

import torch

from synccache_core.model.grid import Grid
from synccache_core.report.heat import Heat, forecast_error

GRID = Grid(2, 1, 2)  # two frames of one by two tokens
SIZE = torch.full((4,), 2.0)


def test_the_map_adds_up_over_a_gap_and_averages_over_frames():
    heat = Heat()
    heat.see(torch.tensor([8.0, 8.0, 8.0, 8.0]), SIZE, GRID)
    heat.add()
    heat.restart(reused=False)  # two computed steps in a row: no gap
    assert heat.rows() == ()
    for moved in ([1.0, 2.0, 3.0, 0.0], [1.0, 0.0, 1.0, 2.0]):
        heat.see(torch.tensor(moved), SIZE, GRID)
        heat.add()
        heat.add()  # a second branch of the same evaluation adds nothing
    heat.restart(reused=True)
    # [2, 2, 4, 2] / 2 = [1, 1, 2, 1]; frames (1, 1) and (2, 1)
    assert heat.rows() == ((1.5, 1.0),)
    heat.see(torch.full((4,), 100.0), SIZE, GRID)
    heat.add()
    assert heat.rows() == ((1.5, 1.0),)  # a gap that has not ended is not shown


def test_another_size_starts_anew_and_nonsense_is_cold():
    heat = Heat()
    heat.see(torch.ones(4), SIZE, GRID)
    heat.add()
    heat.restart(reused=True)
    heat.see(torch.tensor([float("nan"), 2.0]), torch.ones(2), Grid(1, 1, 2))
    heat.add()
    assert heat.rows() == ()
    heat.restart(reused=True)
    assert heat.rows() == ((0.0, 2.0),)


def test_the_error_of_a_forecast_is_relative_to_the_truth():
    truth = torch.full((1, 2, 2, 1, 2), 4.0)
    forecast = truth.clone()
    forecast[0, 0, 0, 0, 1] = 12.0  # one of four values at this place is 8 off: mean 2, of 4
    assert forecast_error(forecast, truth) == ((0.0, 0.5),)
    assert forecast_error(torch.zeros(1, 3, 4), torch.ones(1, 3, 4)) == ()  # tokens have no place in a picture
