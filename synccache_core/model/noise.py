"""Noise levels: the core knows flow models, whose x = (1 - sigma) data + sigma noise, with sigma from 1 to 0.

Other models (Stable Diffusion's and all that count noise as it does) are sampled with x = data + sigma noise. Such an x over
1 + sigma is a flow model's at the level sigma / (1 + sigma): the same data in as much noise. A result is a result in both,
and an Euler step in one is an Euler step in the other. So nothing else in the core needs to know of them: schedules,
forecasts, corrections and errors mean the same.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Noise:
    """How a model's sampler counts noise. flow: as the core does, so that nothing is changed."""

    flow: bool = True

    def level(self, sigma: float) -> float:
        """Noise level of the core at the sampler's sigma, which may be infinite."""
        return sigma if self.flow else 1.0 - 1.0 / (1.0 + sigma)

    def scaled(self, x: torch.Tensor, sigma: float | torch.Tensor) -> torch.Tensor:
        """The core's x for the sampler's, of any shape; a flow model's is the same tensor."""
        return x if self.flow else x / (1.0 + sigma)


FLOW, DIFFUSION = Noise(True), Noise(False)
