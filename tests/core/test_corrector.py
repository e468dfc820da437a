"""Retro-correction of what the model itself gave with reused residuals, under a sampler with a memory."""

import pytest
import torch

from synccache_core.model.samplers import response
from synccache_core.model.tick import Tick
from synccache_core.reuse.corrector import SPREAD, EulerCorrector, MultistepCorrector, followed

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
        tick, echo, given = Tick(index, sigma, index, move=-0.1), corrector.echo(), truth(sigma)
        if index in GAPS:
            given = given + 0.7 * index
            corrector.reused(tick, given, anchors)
        else:
            if correct and corrector.open:
                given = given + corrector.close(tick, given, anchors)
            corrector.forget()
            anchors[:] = [*anchors[-1:], (index, truth(sigma))]
        return given if echo is None else given + echo

    return adams(velocity, torch.zeros(1, 1, 1, 1, 1)).item()


def test_what_the_gaps_moved_is_taken_back(blind):
    true = adams(lambda _x, sigma: truth(sigma), torch.zeros(1, 1, 1, 1, 1)).item()
    assert end(correct=True) == pytest.approx(true, abs=1e-4)
    assert abs(end(correct=False) - true) > 0.5


def test_held_outputs_count_as_bytes_until_the_gap_is_closed():
    corrector = MultistepCorrector(1, 9.0, response(adams, 10), forecast=False)
    anchors = [(1, truth(0.9)), (2, truth(0.8))]
    for index, sigma in ((3, 0.7), (4, 0.6)):
        corrector.reused(Tick(index, sigma, index, move=-0.1), truth(sigma), anchors)
    assert corrector.bytes == 2 * 4
    corrector.close(Tick(5, 0.5, 5, move=-0.1), truth(0.5), anchors)
    corrector.forget()
    assert corrector.bytes == 4 * 4  # its echoes at evaluations 6 to 9


def test_how_far_a_denoised_result_follows_an_error():
    # a Gaussian of deviation s: J = (1 - sigma) s^2 / ((1 - sigma)^2 s^2 + sigma^2)
    assert SPREAD == 0.5 and followed(0.8) == pytest.approx(0.2 * 0.25 / (0.04 * 0.25 + 0.64))
    assert followed(1.0) == 0.0 and followed(0.15) == 1.0  # no more than the error itself
    values = [followed(sigma / 100) for sigma in range(1, 101)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("multistep", [False, True])
def test_the_part_that_the_model_takes_back_itself_is_not_given_twice(multistep):
    """A model that always wants to get to 5, v = (x - 5) / sigma, left off its way by a wrong output, is on it at the end of
    the step that closes the gap, and v is what it was. By hand: x = 1 - 0.2 (-4 + 0.4) = 1.72 at 0.8 where 1.8 was due.
    """
    sigmas = [1.0, 0.8, 0.6, 0.4]
    made = tuple(tuple(-0.2 if step < row else 0.0 for step in range(3)) for row in range(4))  # Euler's response
    corrector = MultistepCorrector(1, 9.0, made) if multistep else EulerCorrector(1, 9.0)

    def velocity(x, sigma):
        return torch.full((1,), (x - 5) / sigma)

    first = velocity(1.0, sigmas[0])
    # the anchor is what the gap used, wrong by 0.4: p is the line from it to what is found at 0.6
    wrong = first + 0.4
    x = 1.0 - 0.2 * first.item()
    corrector.reused(Tick(1, 0.8, 1, move=-0.2), wrong, [(0, wrong)])
    x -= 0.2 * wrong.item()
    newest = velocity(x, 0.6)
    added = corrector.close(Tick(2, 0.6, 2, move=-0.2), newest, [(0, wrong)])
    k = (1 - followed(0.6)) / 0.6
    error = -0.2 * 0.5 * (newest - wrong).item() / (1 + 0.1 * k)  # half of the way from the anchor to the newest
    assert added.item() == pytest.approx(error / -0.2 + k * error) and corrector.shift.item() == pytest.approx(k * error)
