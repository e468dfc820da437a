"""The residual store: what was computed, per branch and group, with the positions it belongs to."""

from collections.abc import Hashable, Iterable

import torch

from ..config import MAX_GAIN
from ..sentences import say
from .forecast import bounded_weights, extrapolate
from .pinned import Pinned


class ResidualStore:
    """Anchors (position on the schedule, residual [B, tokens, C] or of any shape) per (branch, group), newest last, at most
    order + 1 of them.

    trust: share of an extrapolation that a forecast takes, see `forecast.stable_trust`.
    limit: bytes that may be held, None = no limit. device: where residuals rest, None = where they were made; "cpu" is
    pinned memory when they come from a GPU. The store owns what it is given: `put` takes a tensor that nobody else holds.
    """

    def __init__(
        self, order: int = 0, limit: int | None = None, device: str | None = None, max_gain: float = MAX_GAIN
    ):
        self.order = order
        self.max_gain = max_gain
        self.limit = limit
        self.device = device
        self.trust = 1.0
        self.bytes = 0
        self.peak = 0
        self._anchors: dict[tuple[Hashable, int], list[tuple[float, torch.Tensor | Pinned]]] = {}

    def make_room(self, branch: Hashable, group: int, position: float) -> None:
        """Forget what a residual at `position` will replace: the oldest anchor, or the one at this very place, since two at
        one place have no slope. Called before the residual is made, so that the two are never held together.
        """
        anchors = self._anchors.get((branch, group), [])
        same = [i for i, (at, _) in enumerate(anchors) if at == position]
        stale = same or ([0] if len(anchors) > self.order else [])
        for index in stale:
            _, old = anchors.pop(index)
            self.bytes -= old.nbytes

    def put(self, branch: Hashable, group: int, position: float, residual: torch.Tensor) -> bool:
        """Keep a residual; False, and nothing of the branch's group left, where the limit does not allow it."""
        key = (branch, group)
        anchors = self._anchors.setdefault(key, [])
        if anchors and not _alike(anchors[-1][1], residual):
            self._drop(key)
            anchors = self._anchors.setdefault(key, [])
        self.make_room(branch, group, position)
        size = residual.nbytes
        if self.limit is not None and self.bytes + size > self.limit:
            self._drop(key)
            return False
        anchors.append((position, self._rest(residual)))
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        return True

    def forecast(
        self, branch: Hashable, group: int, position: float, device: torch.device, order: int | None = None
    ) -> torch.Tensor:
        """R-hat at `position`, a new tensor on `device`, of the highest order that the anchors, and `order`, allow."""
        anchors = self.anchors(branch, group, order)
        weights = bounded_weights([at for at, _ in anchors], position, self.max_gain, self.trust)
        used = anchors[-len(weights) :]
        return extrapolate([value.to(device, non_blocking=True) for _, value in used], weights)

    def anchors(
        self, branch: Hashable, group: int, order: int | None = None
    ) -> list[tuple[float, torch.Tensor | Pinned]]:
        """(position, residual), newest last, those that a forecast of `order` takes; not to be written into."""
        return self._anchors.get((branch, group), [])[-(self.order if order is None else order) - 1 :]

    def missing(self, branch: Hashable, groups: Iterable[int], shape, dtype: torch.dtype) -> str | None:
        """None where every group of the branch holds a residual of exactly this shape and dtype, else the reason."""
        for group in groups:
            anchors = self._anchors.get((branch, group))
            if not anchors:
                return say("nothing cached")
            if anchors[-1][1].shape != torch.Size(shape) or anchors[-1][1].dtype != dtype:
                return say("shape changed")
        return None

    def clear(self) -> None:
        self._anchors.clear()
        self.bytes = 0

    def _drop(self, key) -> None:
        for _, old in self._anchors.pop(key, []):
            self.bytes -= old.nbytes

    def _rest(self, residual: torch.Tensor) -> torch.Tensor | Pinned:
        if self.device is None or torch.device(self.device).type == residual.device.type:
            return residual
        return Pinned(residual) if residual.device.type == "cuda" else residual.to(self.device)


def _alike(a: torch.Tensor | Pinned, b: torch.Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype


def fit(limit: int | None, bytes_per_group: int, groups: int, order: int) -> tuple[int, int]:
    """Largest (groups, order) within `groups` and `order` whose anchors fit the limit; (0, 0) where none does.

    bytes_per_group: one residual for every branch together. A lower order is given up before a group is: fewer groups
    cost accuracy in space, a lower order only in time.
    """
    if limit is None:
        return groups, order
    for lower in range(order, -1, -1):
        if groups * (lower + 1) * bytes_per_group <= limit:
            return groups, lower
    return min(groups, limit // max(1, bytes_per_group)), 0
