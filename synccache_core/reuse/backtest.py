"""Which order a forecast should have: what each would have said of the newest value, from the older ones."""

from collections.abc import Hashable, Sequence

import torch

from .forecast import bounded_weights, extrapolate

MARGIN = 0.5  # of the first order's error: another must be clearly better, or chance decides
SAMPLE = 4096  # numbers of a value that stand for it


class Backtest:
    """At a computed evaluation every order's forecast from the older anchors is compared with what came, on a sample of it;
    the order of least error, summed over all values of the evaluation, serves the next gap where its error is less than
    MARGIN times that of the first order, which serves it otherwise. The formula is ours.

    most: the highest order. first: the order until two have been compared. trying: False keeps to `most`.
    """

    def __init__(self, most: int, first: int, max_gain: float, trying: bool = True):
        self.most, self.first = most, min(first, most) if trying else most
        self.order = self.first
        self.trying = trying and most > 0
        self._max_gain = max_gain
        self._samples: dict[Hashable, list[tuple[float, torch.Tensor]]] = {}
        self._errors: list[torch.Tensor] = []

    def see(self, name: Hashable, position: float, value: torch.Tensor) -> None:
        """A computed value of any shape, which stays the same, at a `Tick.position`. name: of the anchors that it joins."""
        if not self.trying:
            return
        flat = value.reshape(-1)
        now = flat[:: max(1, flat.numel() // SAMPLE)].float().clone()
        before = self._samples.setdefault(name, [])
        if before and (before[-1][1].shape != now.shape or before[-1][0] >= position):
            before.clear()
        if len(before) > 1:
            self._errors.append(torch.stack([self._error(before, position, now, order) for order in range(self.most + 1)]))
        before.append((position, now))
        del before[: -self.most - 1]

    def waiting(self) -> list[torch.Tensor]:
        """[most + 1] numbers, on the device, that `decide` wants read; none where nothing was compared."""
        return list(torch.stack(self._errors).sum(0)) if self._errors else []

    def decide(self, errors: Sequence[float]) -> None:
        """The order for the next gap, the lowest of equals. errors: what `waiting` gave, read."""
        self._errors.clear()
        if errors and all(error < float("inf") for error in errors):  # NaN compares false
            best = min(range(len(errors)), key=errors.__getitem__)
            self.order = best if errors[best] < MARGIN * errors[self.first] else self.first

    def clear(self) -> None:
        self._samples.clear()
        self._errors.clear()

    def _error(self, before: Sequence[tuple[float, torch.Tensor]], position: float, now: torch.Tensor, order: int):
        used = before[-order - 1 :]
        weights = bounded_weights([at for at, _ in used], position, self._max_gain)
        return (extrapolate([value for _, value in used[-len(weights) :]], weights) - now).abs().sum()
