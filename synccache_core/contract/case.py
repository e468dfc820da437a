"""A model under contract, and how it is run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from ..attach import attach
from ..config import Config
from ..model.adapters import Adapter, Bound
from ..model.grid import Grid
from ..run.call import Call
from .live_toy import ToyAttentionDiT, ToyPackedDiT, toy_live, toy_packed
from .toys import ToyAudioVideo, ToyDiT, toy_adapter, toy_audio_video

SIGMAS = tuple(1.0 - i / 12 for i in range(13))


@dataclass
class Case:
    """One model under contract. call(model, x, sigma, audio) -> output; x and audio are random tensors of these shapes.

    grid: video tokens. x_shape, audio_shape: with batch 1. video(output): its part, where an output holds more, such as
    sound, that reuse may only approximate. door(case, config): a context in which the model goes through a session, with
    what `attach` gives: evaluation, branch and report of a `Session`. mask: human mask of the run in progress.
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
    door: Callable = lambda case, config: attach(
        case.model, config, case.sigmas, case.grid, case.mask, case.adapter
    )
    mask: torch.Tensor | None = field(default=None, init=False)
    model: nn.Module = field(init=False)

    def __post_init__(self):
        self.model = self.make()

    @property
    def bound(self) -> Bound:
        return self.adapter.bind(self.model)

    def tensors(self, seed: int, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(batch, *self.x_shape[1:], generator=generator)
        return x, torch.randn(batch, *self.audio_shape[1:], generator=generator)


def toy_case(kind: str = "after", inplace: bool = False, front: int = 0, text: tuple[int, int] = (0, 0)) -> Case:
    """Six tokens of video, two behind them, `front` in front of them, and, see `ToyDiT`, text."""
    make = partial(ToyDiT, kind, inplace, front=front, text=text)
    return Case(make, toy_adapter(kind), Grid(1, 2, 3), (1, 8 + front, 8), (1, 8))


def toy_audio_video_case() -> Case:
    return Case(ToyAudioVideo, toy_audio_video(), Grid(1, 2, 3), (1, 8, 8), (1, 8), video=lambda output: output[:, :6])


def toy_live_case() -> Case:
    return Case(ToyAttentionDiT, toy_live(), Grid(1, 2, 3), (1, 8, 8), (1, 8))


def toy_packed_case() -> Case:
    return Case(ToyPackedDiT, toy_packed(), Grid(1, 2, 3), (1, 8, 8), (1, 8), video=lambda output: output[:, 2:])


@contextmanager
def running(case: Case, mask: torch.Tensor | None = None, **settings) -> Iterator:
    config = Config(**{"forecast_order": 0, **settings})
    case.mask = mask
    try:
        with case.door(case, config) as session:
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
