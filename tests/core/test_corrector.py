"""Retro-correction of what the model itself gave with reused residuals, under a sampler with a memory."""

import pytest
import torch

from synccache_core.corrector import MultistepCorrector
from synccache_core.samplers import response

SIGMAS = torch.linspace(1, 0, 11).tolist()
GAPS = {3, 4, 7}


def adams(velocity, x):
    """Two-step Adams-Bashforth down SIGMAS."""
    before = None
    for here, there in zip(SIGMAS, SIGMAS[1:]):
        v = velocity(x, here)
        x = x + (there - here) * (v if before is None else 1.5 * v - 0.5 * before)
        before = v
    return x


def truth(sigma: float) -> torch.Tensor:
    return torch.full((1, 1, 1, 1, 1), 2 + 3 * sigma)


def end(correct: bool) -> float:
    """Where the sampler ends with outputs on a line in sigma, and wrong ones at GAPS."""
    corrector, anchors, index = MultistepCorrector(1, 9.0, response(adams, 10), forecast=False), [], -1

    def velocity(_x, sigma):
        nonlocal index
        index += 1
        echo, given = corrector.echo(), truth(sigma)
        if index in GAPS:
            given = given + 0.7 * index
            corrector.reused(index, sigma, -0.1, given, anchors)
        else:
            if correct and corrector.open:
                given = given + corrector.close(index, sigma, -0.1, given, anchors)
            corrector.forget()
            anchors[:] = [*anchors[-1:], (sigma, truth(sigma))]
        return given if echo is None else given + echo

    return adams(velocity, torch.zeros(1, 1, 1, 1, 1)).item()


def test_what_the_gaps_moved_is_taken_back():
    true = adams(lambda _x, sigma: truth(sigma), torch.zeros(1, 1, 1, 1, 1)).item()
    assert end(correct=True) == pytest.approx(true, abs=1e-4)
    assert abs(end(correct=False) - true) > 0.5


def test_held_outputs_count_as_bytes_until_the_gap_is_closed():
    corrector = MultistepCorrector(1, 9.0, response(adams, 10), forecast=False)
    anchors = [(0.9, truth(0.9)), (0.8, truth(0.8))]
    for index, sigma in ((3, 0.7), (4, 0.6)):
        corrector.reused(index, sigma, -0.1, truth(sigma), anchors)
    assert corrector.bytes == 2 * 4
    corrector.close(5, 0.5, -0.1, truth(0.5), anchors)
    corrector.forget()
    assert corrector.bytes == 4 * 4  # its echoes at evaluations 6 to 9
