"""Trajectories of quantities too large to keep: a fixed random subset of positions, whose Gram matrix is unbiased.

G[s, t] = sum_i w_i <y_s,i, y_t,i> over all positions i. Of a stratum of N positions n are drawn once, without replacement,
and each counts N / n times: the expectation over draws is G itself, and equal to it where every position is drawn.
"""

from dataclasses import dataclass

import numpy as np
import torch

PIECE = 1 << 20  # numbers of a track that are turned into float64 at a time


@dataclass(frozen=True)
class Subset:
    """indices: positions [n], rising. counts: how many positions each stands for, [n]. human: in 0..1, [n], or None."""

    indices: torch.Tensor
    counts: torch.Tensor
    human: torch.Tensor | None

    @classmethod
    def draw(cls, total: int, most: int, human: torch.Tensor | None = None, seed: int = 0) -> "Subset":
        """At most `most` of `total` positions; with human weights [total], half of them where those are above 0."""
        generator = torch.Generator().manual_seed(seed)
        inside = torch.zeros(total, dtype=torch.bool) if human is None else human > 0
        strata = [torch.nonzero(inside)[:, 0], torch.nonzero(~inside)[:, 0]]
        few = min(len(strata[1]), max(most - len(strata[0]), most - most // 2))
        drawn, counts = [], []
        for stratum, wanted in zip(strata, (most - few, few)):
            picked = stratum[torch.randperm(len(stratum), generator=generator)[:wanted]]
            drawn.append(picked)
            counts.append(torch.full((len(picked),), len(stratum) / max(1, len(picked)), dtype=torch.float64))
        indices, order = torch.cat(drawn).sort()
        return cls(indices, torch.cat(counts)[order], None if human is None else human[indices].double())

    def weights(self, region: str) -> torch.Tensor:
        """[n], of each drawn position in a sum over the region, "whole" or "human"."""
        return self.counts if region == "whole" or self.human is None else self.counts * self.human

    def rows(self, values: torch.Tensor) -> torch.Tensor:
        """[B, P, C] -> [B, n, C], a float32 copy in host memory."""
        return values.detach().index_select(1, self.indices.to(values.device)).float().cpu()


class Track:
    """One quantity at every step of a run: float32 [T, B, n, C] in host memory, allocated at first sight."""

    def __init__(self, steps: int, subset: Subset):
        self.subset = subset
        self._seen = [False] * steps
        self._values: torch.Tensor | None = None

    @property
    def complete(self) -> bool:
        return all(self._seen)

    def put(self, step: int, rows: torch.Tensor) -> None:
        """rows: [B, n, C], alike at every step."""
        if self._values is None:
            self._values = torch.empty(len(self._seen), *rows.shape)
        self._values[step] = rows
        self._seen[step] = True

    def gram(self, region: str) -> np.ndarray:
        """[T, T] in float64, over the region. O(T^2) per number of a step."""
        steps, batch, count, channels = self._values.shape
        weights = self.subset.weights(region).sqrt()[:, None]
        total = torch.zeros(steps, steps, dtype=torch.float64)
        width = max(1, PIECE // (steps * batch * channels))
        for first in range(0, count, width):
            piece = slice(first, first + width)
            flat = (self._values[:, :, piece].double() * weights[piece]).reshape(steps, -1)
            total += flat @ flat.T
        return total.numpy()
