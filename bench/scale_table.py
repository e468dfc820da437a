"""What the operation count and the bytes that are moved say about a size, where nothing can be measured."""

from dataclasses import dataclass

from synccache_core import CostModel

from .scale_model import Shape, Size
from .scale_run import BRANCHES, COMPUTED, GIB, HERE, MIB, ORDER, PINNED, STEPS, rounded

# Residuals read and written per stored residual and branch. Reuse: each anchor is weighed into a new sum (2, then 3 each),
# the hidden state is copied (2), the sum is added to it (3). Storing: the start of the segment is copied (2), subtracted
# from its end (3), and the magnitude of the difference is taken (3).
REUSE_MOVES, STORE_MOVES = 2 + 3 * ORDER + 2 + 3, 2 + 3 + 3


@dataclass(frozen=True)
class Rates:
    """Of an accelerator, assumed: operations per second, bytes per second of its memory and of its bus to the host."""

    operations: float
    memory: float
    bus: float

    def __str__(self) -> str:
        operations, memory, bus = self.operations / 1e12, self.memory / 1e9, self.bus / 1e9
        return f"{operations:g} TFLOP/s, {memory:g} GB/s in its memory, {bus:g} GB/s to the host"


def operations(shape: Shape, size: Size, cost: CostModel) -> dict:
    """Of one branch at one size; multiply-add counted as two."""
    residual = shape.hidden_bytes(size.grid.tokens)
    light = cost.full - cost.layout.blocks * cost.block
    return {
        "size": str(size), "blocks": shape.blocks, "width": shape.dim, "tokens": size.tokens,
        "weights_gib": shape.weight_bytes / GIB, "block_tflop": cost.block / 1e12, "injector_tflop": cost.refresh / 1e12,
        "call_tflop": cost.full / 1e12, "light_percent": 100 * light / cost.full,
        "reused_percent": 100 * cost.reuse_share, "ideal_speedup_10_of_40": cost.speedup(STEPS, COMPUTED),
        "residual_mib": residual / MIB, "residual_pinned_mib": rounded(shape, size, residual) / MIB,
    }  # fmt: skip


def modelled(shape: Shape, size: Size, cost: CostModel, place: str, rates: Rates) -> dict:
    """Seconds of steps of two branches with every residual kept, operations and transfers one after the other."""
    stored = BRANCHES * cost.layout.storable() * shape.hidden_bytes(size.grid.tokens)
    to_host, from_host = (stored, stored * (ORDER + 1)) if place == PINNED else (0, 0)
    plain = BRANCHES * cost.full / rates.operations
    computed = plain + stored * STORE_MOVES / rates.memory + to_host / rates.bus
    reused = BRANCHES * cost.reused / rates.operations + stored * REUSE_MOVES / rates.memory + from_host / rates.bus
    ideal = cost.speedup(STEPS, COMPUTED)
    speedup = STEPS * plain / (COMPUTED * computed + (STEPS - COMPUTED) * reused)
    return {
        "size": str(size), "cache_at": place, "plain_modelled_seconds": plain, "computed_modelled_seconds": computed,
        "reused_modelled_seconds": reused, "moved_per_reuse_gib": stored * REUSE_MOVES / GIB,
        "over_the_bus_per_reuse_gib": from_host / GIB, "ideal_speedup": ideal, "modelled_speedup": speedup,
        "modelled_over_ideal": speedup / ideal,
    }  # fmt: skip


def modelled_rows(shape: Shape, size: Size, cost: CostModel, rates: Rates) -> list[dict]:
    return [modelled(shape, size, cost, place, rates) for place in (HERE, PINNED)]
