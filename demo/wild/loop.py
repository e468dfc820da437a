"""A training loop that ends when the clock says so: rates over time, averaged weights, lines to read."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext

import torch

from ..training.progress import Ema

REPORT_SECONDS = 5.0
WARM_UP = 60


class Clock:
    """The budget of all phases, in seconds since `started`."""

    def __init__(self, seconds: float, started: float | None = None):
        self.seconds, self.started = seconds, time.monotonic() if started is None else started

    @property
    def spent(self) -> float:
        return time.monotonic() - self.started

    def at(self, share: float, spare: float = 0.0) -> float:
        """The moment when a share of the budget is spent, or `spare` seconds before that."""
        return self.started + share * self.seconds - spare


def say(text: str, clock: Clock) -> None:
    print(f"[{clock.spent:6.1f}s] {text}", flush=True)


def precision(device: torch.device, half: bool) -> object:
    """Autocast to bfloat16 where asked for."""
    return torch.autocast(device.type, torch.bfloat16) if half else nullcontext()


@torch.no_grad()
def guard(parameters: list[torch.nn.Parameter], most: float = 1.0) -> None:
    """Shrink gradients whose norm is above `most`; zeros in place of gradients that are not finite.

    All at once in one piece of memory: some hundred small kernels would take longer than their arithmetic.
    """
    flat = torch.cat([parameter.grad.reshape(-1) for parameter in parameters])
    norm = flat.norm()
    flat = torch.where(torch.isfinite(norm), flat * (most / (norm + 1e-6)).clamp(max=1), 0)
    for parameter, grad in zip(parameters, flat.split([parameter.numel() for parameter in parameters])):
        grad = grad.view_as(parameter)
        same = grad.stride() == parameter.stride()  # optimisers are slow, or refuse, where memory is laid out otherwise
        parameter.grad = grad if same else torch.empty_like(parameter).copy_(grad)


class Loop:
    """Steps until a moment; rates warm up, then fall along a cosine over the time that is left."""

    def __init__(self, name: str, model: torch.nn.Module, optimisers: list[torch.optim.Optimizer], until: float,
                 clock: Clock, decay: float = 0.998):
        self.name, self.model, self.optimisers, self.clock = name, model, optimisers, clock
        self.rates = [optimiser.param_groups[0]["lr"] for optimiser in optimisers]
        self.start, self.until, self.step = time.monotonic(), until, 0
        self.ema, self.said, self.losses = Ema(model, decay), time.monotonic(), []
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    @property
    def progress(self) -> float:
        return min(1.0, (time.monotonic() - self.start) / max(1e-3, self.until - self.start))

    def steps(self) -> Iterator[int]:
        """Step numbers until the time is up; one at least, however slow the machine is."""
        while self.step == 0 or time.monotonic() < self.until:
            yield self.step

    def advance(self, loss: torch.Tensor, extra: str = "") -> None:
        """Back-propagate, step, average; a step whose gradients are not finite changes nothing."""
        share = min(1, (self.step + 1) / WARM_UP) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress)))
        for optimiser, rate in zip(self.optimisers, self.rates):
            optimiser.param_groups[0]["lr"] = rate * share
        if loss.requires_grad:  # else the gradients are there already
            loss.backward()
        guard([parameter for parameter in self.parameters if parameter.grad is not None])
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.ema.update(self.step)
        self.step += 1
        self.losses.append(loss.detach())
        if time.monotonic() - self.said > REPORT_SECONDS:
            self.report(extra)

    def report(self, extra: str = "") -> None:
        if not self.losses:
            return
        mean = torch.stack(self.losses).mean().item()
        rate = len(self.losses) / max(1e-3, time.monotonic() - self.said)
        say(f"{self.name} step {self.step} loss {mean:.4f} {rate:.1f} steps/s {extra}", self.clock)
        self.losses, self.said = [], time.monotonic()

    def averaged(self, model: torch.nn.Module) -> torch.nn.Module:
        """Load the averaged weights into another instance of the model."""
        model.load_state_dict(self.ema.shadow)
        return model.train(False).requires_grad_(False)
