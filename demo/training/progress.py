"""Small tools of the training loops: averaged weights, time-based schedules, checkpoints, curves."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy
import torch
from PIL import Image, ImageDraw

from .dataset import save_whole
from .muon import Muon


class Ema:
    """Exponential moving average of a model's parameters, warmed up over the first steps."""

    def __init__(self, model: torch.nn.Module, decay: float):
        self.decay = decay
        self.values = [value.detach() for value in model.state_dict().values()]  # they share the model's memory
        self.shadow = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        keep = min(self.decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(self.shadow.values()), self.values, 1 - keep)


def device() -> torch.device:
    """Where training runs: a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def average_over_workers(model: torch.nn.Module, seconds: float) -> float:
    """Average gradients over the training processes in place; returns their mean of `seconds`."""
    if not torch.distributed.is_initialized():
        return seconds
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([grad.flatten() for grad in grads] + [torch.tensor([seconds])])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for grad, mean in zip(grads, flat[:-1].split([grad.numel() for grad in grads])):
        grad.copy_(mean.view_as(grad))
    return flat[-1].item()


def worker() -> int:
    """Number of this training process; number 0 does the writing."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def join_workers(number: int, count: int, folder: Path) -> None:
    """Meet the other training processes through a file in the work folder."""
    if count > 1:
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=number,
                                             world_size=count)


def optimisers_for(model: torch.nn.Module, hidden: Callable[[str, torch.Tensor], bool], muon_rate: float,
                   rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the weights that `hidden(name, value)` picks, AdamW for all others."""
    picked = {name: value for name, value in model.named_parameters() if value.requires_grad}
    inner = [value for name, value in picked.items() if hidden(name, value)]
    outer = [value for name, value in picked.items() if not hidden(name, value)]
    return [Muon(inner, muon_rate, weight_decay=0.01),
            torch.optim.AdamW(outer, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)]


class Run:
    """One resumable training run: model, optimisers, averaged weights, spent seconds and loss rows."""

    def __init__(self, model: torch.nn.Module, path: Path, optimisers: list[torch.optim.Optimizer], seconds: float,
                 decay: float = 0.995):
        self.model, self.path, self.seconds, self.optimisers = model, path, seconds, optimisers
        self.rates = [optimiser.param_groups[0]["lr"] for optimiser in optimisers]
        self.ema, self.step, self.spent, self.rows = Ema(model, decay), 0, 0.0, []
        self.clock = self.saved = time.monotonic()
        if path.exists():
            self.resume()

    def resume(self) -> None:
        state = torch.load(self.path, weights_only=True, map_location=device())
        self.model.load_state_dict(state["model"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"]):
            optimiser.load_state_dict(saved)
        self.ema.shadow = state["ema"]
        self.step, self.spent, self.rows = state["step"], state["spent"], state["rows"]

    def save(self) -> None:
        if not worker():
            save_whole({"model": self.model.state_dict(), "ema": self.ema.shadow, "step": self.step,
                        "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
                        "spent": self.spent, "rows": self.rows}, self.path)
        self.saved = time.monotonic()

    @property
    def progress(self) -> float:
        """Share 0..1 of the time budget that is spent."""
        return min(1.0, self.spent / self.seconds)

    def rate(self, warm_up: int = 50) -> float:
        """Share of the learning rates: linear warm-up over steps, then a cosine over the time budget to 2 %."""
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress))
        return min(1, (self.step + 1) / warm_up) * (0.02 + 0.98 * cosine)

    def advance(self, loss: torch.Tensor, **extra: float) -> None:
        """Back-propagate one loss, step, average, log."""
        for optimiser, rate in zip(self.optimisers, self.rates):
            optimiser.param_groups[0]["lr"] = rate * self.rate()
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        now = time.monotonic()
        self.spent, self.clock = average_over_workers(self.model, self.spent + now - self.clock), now
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.ema.update(self.step)
        self.step += 1
        self.rows.append({"step": self.step, "seconds": round(self.spent, 1), "loss": loss.item(),
                          "norm": norm.item(), **extra})

    def averaged(self, model: torch.nn.Module) -> torch.nn.Module:
        """Load the averaged weights into another instance of the model."""
        model.load_state_dict(self.ema.shadow)
        return model.train(False).requires_grad_(False)


def write_curve(rows: list[dict[str, float]], path: Path) -> None:
    """Write the loss rows as CSV and draw them smoothed, on logarithmic height, as PNG."""
    with open(path.with_suffix(".csv"), "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    losses = numpy.array([row["loss"] for row in rows])
    width = max(1, len(losses) // 200)
    smooth = numpy.log10(losses[: len(losses) // width * width].reshape(-1, width).mean(1))
    low, high, step = smooth.min(), smooth.max() + 1e-9, 580 / max(1, len(smooth) - 1)
    image = Image.new("RGB", (640, 320), "white")
    draw = ImageDraw.Draw(image)
    points = [(40 + step * i, 290 - 260 * (value - low) / (high - low)) for i, value in enumerate(smooth)]
    draw.line(points, fill=(30, 80, 180), width=2)
    draw.text((44, 14), f"loss {10**high:.4f} .. {10**low:.4f} over {rows[-1]['step']} steps", fill="black")
    image.save(path.with_suffix(".png"))


def psnr(first: torch.Tensor, second: torch.Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in -1..1."""
    error = (first.clamp(-1, 1) - second.clamp(-1, 1)).square().mean().item()
    return 10 * math.log10(4 / max(error, 1e-10))
