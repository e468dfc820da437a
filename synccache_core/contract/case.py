"""A model under contract, and how it is run."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from ..attach import attach
from ..config import Config
from ..model.adapters import Adapter, Bound
from ..model.grid import Grid
from ..run.call import Call

SIGMAS = tuple(1.0 - i / 12 for i in range(13))


@dataclass
class Case:
    """One model under contract. call(model, x, sigma, audio) -> output; x and audio are random tensors of these shapes.

    grid: video tokens. x_shape, audio_shape: with batch 1. video(output): its part, where an output holds more, such as
    sound, that reuse may only approximate. install: the door, see `Install`. mask: human mask of the run in progress.
    """

    make: Callable[[], nn.Module]
    adapter: Adapter
    grid: Grid
    x_shape: tuple[int, ...]
    audio_shape: tuple[int, ...]
    call: Callable = lambda model, x, sigma, audio: model(x, sigma, audio)
    tolerance: float = 1e-5
    sigmas: tuple[float, ...] = SIGMAS
    video: Callable = lambda output: output
    install: "Install" = lambda case, config: attach(
        case.model, config, case.sigmas, case.grid, case.mask, case.adapter
    )
    mask: torch.Tensor | None = field(default=None, init=False)
    model: nn.Module = field(init=False)

    def __post_init__(self):
        self.model = self.make()

    @property
    def bound(self) -> Bound:
        return Bound(self.adapter, self.model)

    def tensors(self, seed: int, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(batch, *self.x_shape[1:], generator=generator)
        return x, torch.randn(batch, *self.audio_shape[1:], generator=generator)


# A context in which the model of a case goes through a session, with what `attach` gives: evaluation, branch and report.
Install = Callable[[Case, Config], AbstractContextManager]


@contextmanager
def running(case: Case, mask: torch.Tensor | None = None, **settings) -> Iterator:
    config = Config(**{"forecast_order": 0, **settings})
    case.mask = mask
    try:
        with case.install(case, config) as session:
            yield session
    finally:
        case.mask = None


@contextmanager
def watched(look: Callable) -> Iterator[None]:
    """look(call, block, state, *ways to run it) before each block, which returns what is called with what came of it, or
    None.
    """
    original = Call.block

    def block(call, index, hidden, *ways):
        then = look(call, index, hidden, *ways)
        out = original(call, index, hidden, *ways)
        if then is not None:
            then(out)
        return out

    Call.block = block
    try:
        yield
    finally:
        Call.block = original


def sample(case: Case, session=None, seed: int = 0, audio_seed: int | None = None, steps: int | None = None) -> list:
    """The outputs of an Euler-like run whose input drifts with sigma; under `session` where one is given."""
    x, audio = case.tensors(seed)
    if audio_seed is not None:
        _, audio = case.tensors(audio_seed)
    outputs = []
    for sigma in case.sigmas[:-1][:steps]:
        if session is None:
            outputs.append(case.call(case.model, x + sigma, sigma, audio))
            continue
        with session.evaluation(sigma):
            outputs.append(case.call(case.model, x + sigma, sigma, audio))
    return outputs


def assert_close(got: torch.Tensor, want: torch.Tensor, tolerance: float, what: str = "") -> None:
    error = (got - want).norm() / want.norm()
    assert error <= tolerance, f"{what or 'output'}: relative error {error:.2e} exceeds {tolerance:.0e}"
