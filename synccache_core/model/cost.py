"""What a step costs: floating-point operations of the heavy blocks, of the audio refreshes and of the rest."""

from dataclasses import dataclass
from math import prod

import torch

from .layout import Layout


@dataclass(frozen=True)
class CostModel:
    """FLOPs of one model call, multiply-add counted as two.

    block: one heavy block, on average where they differ. refresh: one audio refresh. other: embeddings, audio encoder, head,
    and what of a block runs at every step. probe: the blocks of segment 0, None = so many average ones. keys: what a block
    does for keys and values of all its rows, which a LIVE step makes of those that are not live.
    """

    block: float
    refresh: float
    other: float
    layout: Layout
    probe: float | None = None
    keys: float = 0.0

    @property
    def first(self) -> float:
        """The blocks of segment 0."""
        return self.layout.probe_blocks * self.block if self.probe is None else self.probe

    @property
    def full(self) -> float:
        return self.layout.blocks * self.block + len(self.layout.refresh) * self.refresh + self.other

    @property
    def reused(self) -> float:
        """A reused call: the probe, every audio refresh, the rest."""
        return self.first + len(self.layout.refresh) * self.refresh + self.other

    @property
    def reuse_share(self) -> float:
        """r = cost of a reused call / cost of a computed one."""
        return self.reused / self.full

    def share(self, level: str, groups: int, merge: str, probe: bool) -> float:
        """r of a reuse that may leave out the probe, or freeze the audio inside merged segments.

        Only audio inside the block is spared when it is frozen: what a host injects between blocks runs all the same.
        """
        if level == "output":
            return 0.0
        frozen = self.layout.storable() - groups if merge == "freeze" and self.layout.audio == "inside" else 0
        spared = frozen * self.refresh + (0 if probe else self.first)
        return (self.reused - spared) / self.full

    def live_share(self, rows: float, probe: bool) -> float:
        """c of a LIVE call, over a computed one: `rows` of the hidden state, a share, go through the blocks. probe: whether
        those of segment 0 are computed.
        """
        blocks = self.layout.blocks - (self.layout.probe_blocks if probe else 0)
        # Each operation of a block belongs to a row, its queries over all keys included; but for the text's keys.
        return 1 - (1 - rows) * blocks * (self.block - self.keys) / self.full

    def speedup(self, steps: int, computed: int, share: float | None = None) -> float:
        """Ideal speed-up S = N / (n + (N - n) r) of `steps` evaluations of which `computed` are computed.

        share: r, None = that of a reused call with probe and every refresh.
        """
        share = self.reuse_share if share is None else share
        return steps / (computed + (steps - computed) * share) if steps else 1.0

    def computed_steps(self, steps: int, speedup: float, share: float | None = None) -> int:
        """Number n of computed steps whose ideal speed-up is nearest to `speedup`, in 1..steps. share: as in `speedup`."""
        share = self.reuse_share if share is None else share
        return max(1, min(steps, round(affordable(steps, speedup, share)))) if share < 1.0 else steps


def affordable(steps: int, speedup: float, share: float) -> float:
    """Computed steps n, not rounded, with n + (steps - n) r = steps / speedup; below 0 where reused ones alone cost more.
    share: r < 1."""
    return (steps / speedup - steps * share) / (1 - share)


def numbers(weight: torch.Tensor) -> int:
    """Of a weight as the model uses it: what holds a packed one, such as of a GGUF file, has more or fewer elements."""
    return prod(weight.shape)


def parameter_cost(layout: Layout, block: int, refresh: int, other: int) -> CostModel:
    """A rough model for adapters without a FLOP formula: parameters stand in for operations per token."""
    return CostModel(float(block), float(refresh), float(other), layout)


def cache_bytes(
    residual: int, output: int, level: str, groups: int, order: int, correction: int, live: bool = False
) -> int:
    """Held by the cache at its fullest. residual: one stored residual of every branch; output: one latent, in bytes.
    groups: stored residuals per branch, that of segment 0 included where it has one.

    order + 1 anchors of what is reused. correction: outputs that it holds (`Sampler.held_for_correction`; Euler's is the
    sum of what a gap used), 0 = off; at level "residual" also those that it interpolates from, at most two. live: whether
    residuals are held at level "output" too.
    """
    if level == "output":
        return output * (order + 1 + correction) + (groups * residual * (order + 1) if live else 0)
    kept = min(order + 1, 2) + correction if correction else 0
    return groups * residual * (order + 1) + kept * output
