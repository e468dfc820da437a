"""The residuals of one run: which segments share one, what is stored for every branch, what the byte budget leaves."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch

from ..config import MAX_ORDER, Config
from ..errors import BadConfig
from ..model.layout import Layout, even_groups, groups_for_ratio
from ..sentences import say
from ..units import readable
from .backtest import Backtest
from .depths import Depths
from .store import ResidualStore, fit


def wanted_groups(config: Config, layout: Layout) -> tuple[tuple[int, ...], ...]:
    """Groups that the settings ask for. Raises BadConfig where they, or probe, do not suit the layout."""
    if not config.stores:
        return ()
    if layout.unknown:
        raise BadConfig(f"level must be 'output' for a model whose blocks are not known, got {config.level!r}")
    if not config.probe and layout.audio == "inside":
        raise BadConfig("probe must be True for audio inside the blocks, whose refresh arguments it sees; got False")
    groups = config.groups or even_groups(layout, groups_for_ratio(layout, config.cache_ratio))
    if (stored := sum(map(len, groups))) != layout.storable():
        raise BadConfig(f"groups must hold the {layout.storable()} segments of this model, got {stored}: {groups!r}")
    return groups if config.runs_probe else ((0,), *groups)


@dataclass(frozen=True)
class Group:
    """Segments `first` to `last`, which share one stored residual per branch. freezes: it holds the audio between them."""

    number: int
    first: int
    last: int
    freezes: bool

    def froze(self, segment: int) -> bool:
        """Whether the refresh behind this segment is part of the residual."""
        return self.freezes and segment != self.last


class Residuals:
    """groups: tuples of segments, each with one stored residual per branch; fewer once a byte budget cuts them.

    Without a byte budget every group fits; with one, `settle` decides after the first evaluation, when sizes are known, and
    once more where these outgrow it. What the residuals leave of it is for the depths.
    first_order: of the forecast, until a backtest knows better. beside: what `Call.remember` keeps with them, small.
    depths: where the video stands inside segments, for rows beside it that go through the blocks.
    """

    def __init__(self, config: Config, layout: Layout, first_order: int = MAX_ORDER):
        self.groups = wanted_groups(config, layout)
        self.settled = config.memory_budget is None
        self.sizes: dict[Hashable, int] = {}
        self._config, self._layout = config, layout
        device = "cpu" if config.cache_device == "cpu" else None
        self._store = ResidualStore(config.forecast_order, config.memory_budget, device, config.max_gain)
        self._magnitudes: list[torch.Tensor] = []
        self.beside: dict[Hashable, torch.Tensor] = {}
        self.depths = Depths(config.cache_device)
        self._room, self._peak = config.memory_budget, 0  # bytes for residuals and depths; held before that was shared anew
        self._backtest = Backtest(config.forecast_order, first_order, config.max_gain, config.backtest)

    @property
    def empty(self) -> bool:
        return not self._store.bytes

    @property
    def peak(self) -> int:
        return max(self._peak, self._store.peak + self.depths.peak)

    @property
    def order(self) -> int:
        return self._store.order

    def group(self, segment: int) -> "Group | None":
        """The group that holds this segment; None where nothing is stored for it."""
        for number, members in enumerate(self.groups):
            if segment in members:
                return Group(number, members[0], members[-1], self._config.merge == "freeze")
        return None

    def missing(self, keys: Sequence[Hashable], shape: tuple, dtype: torch.dtype) -> str | None:
        """Why these branches cannot be served, None where they can."""
        if not self.groups:
            return say("nothing cached")
        reasons = (self._store.missing(key, range(len(self.groups)), shape, dtype) for key in keys)
        return next(filter(None, reasons), None)

    def make_room(self, keys: Sequence[Hashable], group: int, position: float) -> None:
        """Before a residual is made that will be kept at this place."""
        for key in keys:
            self._store.make_room(key, group, position)

    def keep(self, key: Hashable, group: int, position: float, residual: torch.Tensor) -> None:
        """Store a residual [B, tokens, C] that nobody else holds; its magnitude is checked before it is ever used. Raises
        BadConfig where the byte budget is outgrown.
        """
        self._magnitudes.append(residual.abs().amax().float())
        self._backtest.see((key, group), position, residual)
        if not self._store.put(key, group, position, residual):
            raise BadConfig(say("memory_budget {budget} was outgrown", budget=readable(self._config.memory_budget)))

    def forecast(self, key: Hashable, group: int, position: float, device: torch.device) -> torch.Tensor:
        """A new tensor [B, tokens, C] on the device, of the order that the backtest chose; something must be stored."""
        return self._store.forecast(key, group, position, device, min(self._backtest.order, self._store.order))

    def trust(self, share: float) -> None:
        """How much of an extrapolation the next gap takes, see `forecast.stable_trust`."""
        self._store.trust = share

    def read_and_vet(self, extra: torch.Tensor | None) -> tuple[float | None, bool]:
        """(`extra` [] as a number, whether all that was stored since is finite), read from the device in one go.

        Where it is not, everything stored is forgotten, before it was ever used.
        """
        compared = self._backtest.waiting()
        waiting = self._magnitudes + compared + ([extra] if extra is not None else [])
        numbers = torch.stack(waiting).tolist() if waiting else []
        value = numbers.pop() if extra is not None else None
        magnitudes, errors = numbers[: len(self._magnitudes)], numbers[len(self._magnitudes) :]
        self._magnitudes.clear()
        self._backtest.decide(errors)
        sound = all(number < float("inf") for number in magnitudes)  # NaN compares false
        if not sound:
            self._store.clear()
        return value, sound

    def measure(self, keys: Sequence[Hashable], size: int) -> None:
        """A residual of each of these branches takes so many bytes. Where that outgrows the byte budget all is forgotten,
        and is to be settled anew.
        """
        before = sum(self.sizes.values())
        self.sizes.update(dict.fromkeys(keys, size))
        if not self.settled or self._room is None or sum(self.sizes.values()) == before:
            return
        if self._needed > self._room:
            self.clear()
            self.groups, self.settled = wanted_groups(self._config, self._layout), False
            self._store.order = self._config.forecast_order
        self._share()

    @property
    def _needed(self) -> int:
        """Bytes of all anchors of all groups."""
        return len(self.groups) * (self._store.order + 1) * sum(self.sizes.values())

    def settle(self, taken: int = 0) -> str | None:
        """Choose groups and order that the byte budget allows; a remark where they are not what was wanted. taken: bytes of
        the budget that whole outputs need.
        """
        self.settled = True
        self._room = self._store.limit = max(0, self._config.memory_budget - taken)
        per_group, wanted, order = sum(self.sizes.values()), len(self.groups), self._store.order
        count, self._store.order = fit(self._room, per_group, wanted, order)
        have = readable(self._config.memory_budget)
        if count < wanted:
            self.groups = self._fewer(count)
        self._share()
        if not self.groups:
            return say(
                "memory_budget {budget} is too small: one residual needs {need}; nothing is cached",
                budget=have, need=readable(per_group),
            )  # fmt: skip
        if (count, self._store.order) != (wanted, order):
            return say(
                "memory_budget {budget} instead of the {need} wanted: {fit} of {wanted} residuals, forecast order {now} of "
                "{order}",
                budget=have, need=readable(per_group * wanted * (order + 1)), fit=len(self.groups), wanted=wanted,
                now=self._store.order, order=order,
            )  # fmt: skip
        return None

    def clear(self) -> None:
        self._store.clear()
        self._magnitudes.clear()
        self.beside.clear()
        self.depths.clear()
        self._backtest.clear()

    def _share(self) -> None:
        """Leave to the depths what the residuals do not need."""
        self.depths.bound(max(0, self._room - self._needed))
        # The two were not at their most together where one makes room for the other.
        self._peak, self._store.peak, self.depths.peak = self.peak, self._store.bytes, self.depths.bytes

    def _fewer(self, count: int) -> tuple[tuple[int, ...], ...]:
        """Even groups, `count` with that of segment 0 where it has one; none where that leaves nothing for the others."""
        if self._config.runs_probe:
            return even_groups(self._layout, count)
        return ((0,), *even_groups(self._layout, count - 1)) if count > 1 else ()
