"""Replays: plans that are sampled right after their calibration, so that a plan is chosen for what it really did.

Predictions take the recorded trajectory as given, but a reused step changes what comes after it: some models forget such
errors, others do not. What replays measured decides between kinds of plans, see `recipes.rounds`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt

import torch

from ..report.report import RunReport
from ..run.session import Session
from .plan import Plan, Scores


@dataclass(frozen=True)
class Yardstick:
    """Where the uncached run ended, and what counts how much.

    end: x after the last step, any shape, in host memory. positions: of such a tensor, [B, P, C]. regions: name -> (share
    of the error that counts, weights [P] or None = 1, displacement of the region, in units of x).
    """

    end: torch.Tensor
    positions: Callable[[torch.Tensor], torch.Tensor]
    regions: dict[str, tuple[float, torch.Tensor | None, float]]

    def error(self, end: torch.Tensor) -> float:
        """Relative L2 of another result of the same run, of the same shape, weighed as `Recording.trajectory` weighs it."""
        apart, total = self.positions((end.float().cpu() - self.end).double()).square().sum((0, 2)), 0.0
        for share, weights, moved in self.regions.values():
            total += share * float((apart if weights is None else apart * weights).sum()) / moved**2
        return sqrt(total)


class ReplaySession(Session):
    """A Session that remembers where the run ended. end: x after the last step, None until then, or without x."""

    end: torch.Tensor | None = None

    def predict(
        self, sigma: float, compute: Callable[[], torch.Tensor], x: torch.Tensor | None = None, told: float | None = None
    ) -> torch.Tensor:
        out = super().predict(sigma, compute, x, told)
        if len(self.report.steps) == self.clock.steps and x is not None:
            self.end = landing(x, out, self.clock.sigmas[-2], self.clock.sigmas[-1])
        return out


def landing(x: torch.Tensor, denoised: torch.Tensor, sigma: float, after: float) -> torch.Tensor:
    """x, of any shape, after an Euler step from sigma to `after`, float32 in host memory."""
    return torch.lerp(denoised.float(), x.float(), after / sigma).cpu()


def replayed(plan: Plan, report: RunReport, error: float) -> Plan:
    """The plan with what its run measured. error: from a `Yardstick`, or any relative L2 of the final latent."""
    return replace(plan, measured=Scores(error, report.speedup_measured or report.speedup_ideal, report.bytes_held))
