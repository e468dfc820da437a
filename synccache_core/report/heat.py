"""Where a run went wrong most, per place in the picture: a map to look at, not a measure to decide by."""

import torch

from ..model.grid import Grid

DIGITS = 4
Rows = tuple[tuple[float, ...], ...]


class Heat:
    """Relative change of the probe per token, summed over the newest stretch of reused evaluations.

    heat_i = sum_t |p_t,i - p_{t-1},i| / mean_i |p_{t-1},i|, of the first branch; its mean over tokens is E, see probe.py.
    """

    def __init__(self):
        self._newest: torch.Tensor | None = None
        self._gap: torch.Tensor | None = None
        self._last: torch.Tensor | None = None
        self._grid: Grid | None = None

    def see(self, moved: torch.Tensor, size: torch.Tensor, grid: Grid) -> None:
        """What one pass showed, [L] each as `probe.token_change` gives them; counted by `add`, once per evaluation."""
        if grid != self._grid:
            self._gap = self._last = None
        self._newest, self._grid = moved / size.mean(), grid

    def add(self) -> None:
        if self._newest is not None:
            self._gap = self._newest if self._gap is None else self._gap + self._newest
            self._newest = None

    def restart(self, reused: bool) -> None:
        """A computed evaluation ends the stretch."""
        if reused and self._gap is not None:
            self._last = self._gap
        self._gap = None

    def rows(self) -> Rows:
        """The map of the newest stretch that ended, means over frames, [height][width]; empty where there was none."""
        if self._last is None:
            return ()
        grid = self._grid
        return as_rows(self._last.reshape(grid.frames, grid.height, grid.width))


def forecast_error(forecast: torch.Tensor, truth: torch.Tensor) -> Rows:
    """|forecast - truth| over the mean of |truth|, means over all but the last two axes of [B, C, T, H, W], or of
    [B, C, H, W]; else empty.
    """
    if truth.ndim not in (4, 5):
        return ()
    apart = (forecast - truth).abs().mean(dim=(0, 1)) / truth.abs().mean()
    return as_rows(apart if truth.ndim == 5 else apart[None])


def as_rows(values: torch.Tensor) -> Rows:
    """[T, H, W] -> means over T as plain numbers; what is not finite counts as 0."""
    mean = values.float().mean(dim=0).nan_to_num(0.0, 0.0, 0.0).tolist()
    return tuple(tuple(float(f"{value:.{DIGITS}g}") for value in row) for row in mean)
