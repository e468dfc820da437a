"""What the probe has seen in one run: sketches per branch, the accumulated change, the change to come."""

import math
from collections import deque
from collections.abc import Hashable, Sequence

import torch

from ..model.grid import Grid, token_weights
from ..report.heat import Heat
from ..sentences import say
from .probe import token_change, weighed

RECENT = 4
STRETCH = 1.2  # above it a mask shows another crop than the video; rounding to tokens gives less


class ProbeHistory:
    """mask: human mask as `grid.token_weights` takes it, or None. human_weight, omega: of the probe.

    accumulated: E, the sum of changes since the last computed evaluation. heat: the same per token, see heat.py.
    """

    def __init__(self, mask: torch.Tensor | None, human_weight: float, omega: float | None = None):
        self.accumulated = 0.0
        self.heat = Heat()
        self._mask, self._human_weight, self._omega = mask, human_weight, omega
        self._weights: dict[Grid, torch.Tensor | None] = {}
        self._sketches: dict[Hashable, torch.Tensor] = {}
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT)

    def fit_mask(self, grid: Grid) -> str | None:
        """Fit the mask to a grid on first sight; a remark where it tells no region apart. Raises BadMask."""
        if grid in self._weights:
            return None
        weights = self._weights[grid] = None if self._mask is None else token_weights(self._mask, grid)
        if weights is not None and not 0 < weights.sum() < weights.numel():
            return say("human_mask is empty or covers everything: the probe weighs all tokens alike")
        return None if weights is None else self._stretched(grid)

    def _stretched(self, grid: Grid) -> str | None:
        height, width = self._mask.shape[-2:]
        factor = height * grid.width / (width * grid.height)
        if 1 / STRETCH <= factor <= STRETCH:
            return None
        return say(
            "human_mask is {width} x {height}, another shape than the video's {across} x {down} tokens: it is "
            "stretched and may miss the person; make it from the picture as the video crops it",
            width=width, height=height, across=grid.width, down=grid.height,
        )  # fmt: skip

    def weights(self, grid: Grid) -> torch.Tensor | None:
        """Human weights of a grid that was met, [L] in 0..1 in host memory; None where they tell no region apart."""
        weights = self._weights.get(grid)
        return weights.cpu() if weights is not None and 0 < weights.sum() < weights.numel() else None

    def changes(self, keys: Sequence[Hashable], grid: Grid, sampled: torch.Tensor) -> list[torch.Tensor | None]:
        """Probe change of each chunk of a batch, None where there is no earlier probe of the same shape."""
        weights = self._weights[grid]
        if weights is not None:
            weights = self._weights[grid] = weights.to(sampled.device)
        changes = []
        for key, now in zip(keys, sampled.chunk(len(keys))):
            before = self._sketches.get(key)
            same = before is not None and before.shape == now.shape and before.device == now.device
            moved = token_change(now, before) if same else None
            changes.append(weighed(*moved, weights, self._human_weight, self._omega) if moved else None)
            if moved and key == keys[0]:
                self.heat.see(*moved, grid)
            self._sketches[key] = now
        return changes

    def add(self, sigma: float, change: float | None) -> None:
        """Count the change of an evaluation at `sigma`; NaN and inf make E meaningless until the next `restart`."""
        if change is None:
            return
        self.heat.add()
        self.accumulated += change
        if math.isfinite(change):
            self._recent.append((sigma, change))

    def restart(self, reused: bool) -> None:
        """After a computed evaluation. reused: whether reused ones went before it."""
        self.heat.restart(reused)
        self.accumulated = 0.0

    def ahead(self, sigma_left: float, evaluations_left: int) -> float:
        """Predicted sum of changes still to come: the recent change per unit of sigma, times the sigma left.

        Where sigma did not move (repeated evaluations), the recent change per evaluation times those left.
        """
        if len(self._recent) < 2:
            return 0.0
        span = self._recent[0][0] - self._recent[-1][0]
        moved = sum(change for _, change in list(self._recent)[1:])
        if span <= 0:
            return moved * evaluations_left / (len(self._recent) - 1)
        return moved / span * sigma_left

    def clear(self) -> None:
        self._mask = None
        self.heat = Heat()
        self._weights.clear()
        self._sketches.clear()
