"""What a step costs: floating-point operations of the heavy blocks, of the audio refreshes and of the rest."""

from dataclasses import dataclass

from .layout import Layout


@dataclass(frozen=True)
class CostModel:
    """FLOPs of one model call, multiply-add counted as two.

    block: one heavy block. refresh: one audio refresh. other: embeddings, audio encoder, head.
    """

    block: float
    refresh: float
    other: float
    layout: Layout

    @property
    def full(self) -> float:
        return self.layout.blocks * self.block + len(self.layout.refresh) * self.refresh + self.other

    @property
    def reused(self) -> float:
        """A reused call: the probe, every audio refresh, the rest."""
        return self.layout.probe_blocks * self.block + len(self.layout.refresh) * self.refresh + self.other

    @property
    def reuse_share(self) -> float:
        """r = cost of a reused call / cost of a computed one."""
        return self.reused / self.full

    def speedup(self, steps: int, computed: int) -> float:
        """Ideal speed-up S = N / (n + (N - n) r) of `steps` evaluations of which `computed` are computed."""
        return steps / (computed + (steps - computed) * self.reuse_share) if steps else 1.0

    def budget(self, steps: int, speedup: float) -> int:
        """Number n of computed steps whose ideal speed-up is nearest to `speedup`, in 1..steps."""
        share = self.reuse_share
        if share >= 1.0:
            return steps
        return max(1, min(steps, round((steps / speedup - steps * share) / (1 - share))))


def parameter_cost(layout: Layout, block: int, refresh: int, other: int) -> CostModel:
    """A rough model for adapters without a FLOP formula: parameters stand in for operations per token."""
    return CostModel(float(block), float(refresh), float(other), layout)
