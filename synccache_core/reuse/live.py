"""Which rows of a hidden state go through the blocks at a LIVE step, and in which states the others are meanwhile."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F

from ..config import Config
from ..errors import BadMask
from ..model.grid import Grid, token_weights
from ..model.layout import Layout
from ..model.live import Rows
from ..model.view import View
from ..sentences import say

EDGE = 0.05  # a token that the mask covers by so much is the person's: soft edges are rounded up


def live_tokens(mask: torch.Tensor, grid: Grid, reach: int = 1) -> torch.Tensor:
    """bool [T, height, width]: the tokens of a human mask, as `token_weights` takes it, and those within `reach` of them.

    Raises BadMask where the mask does not fit the grid.
    """
    weights = token_weights(mask, grid).reshape(grid.frames, 1, grid.height, grid.width)
    near = F.max_pool2d((weights > EDGE).float(), 2 * reach + 1, stride=1, padding=reach)
    return near[:, 0] > 0


def beside(view: View, hidden: torch.Tensor) -> tuple[Rows, Rows]:
    """(what stands beside the video, the video) of a state [B, L, C] that the view is of."""
    video = torch.zeros(hidden.shape[1], dtype=torch.bool)
    video[view.front : view.front + view.count] = True
    others, own = (chosen.nonzero().flatten().to(hidden.device) for chosen in (~video, video))
    return Rows(others, 0), Rows(own, len(own))


def why_not(layout: Layout, mask: torch.Tensor | None, parts: Sequence[Sequence[int]] = ()) -> str:
    """Why a run has no LIVE evaluations, "" where it can. parts: see `LiveRows.of`."""
    if mask is None:
        reason = say("it needs a human_mask")
    elif parts or layout.unknown or layout.audio != "after":
        reason = say("this model's audio is not between its blocks")
    else:
        return ""
    return say("live has no effect: {reason}", reason=reason)


class LiveRows:
    """The rows of one run. mask: human mask. reach: see `live_tokens`.

    What stands beside the video, such as the reference, is always live: nothing is stored of it.
    """

    def __init__(self, mask: torch.Tensor, reach: int = 1):
        self.grid: Grid | None = None  # of the newest pass
        self._mask, self._reach = mask, reach
        self._tokens: dict[Grid, torch.Tensor] = {}
        self._rows: dict[tuple, tuple[Rows, Rows]] = {}

    def tokens(self, grid: Grid) -> torch.Tensor:
        """bool [tokens]: which of the video's are live."""
        if grid not in self._tokens:
            self._tokens[grid] = live_tokens(self._mask, grid, self._reach).flatten()
        return self._tokens[grid]

    @classmethod
    def of(
        cls, config: Config, layout: Layout, mask: torch.Tensor | None, parts: Sequence[Sequence[int]] = ()
    ) -> tuple[Config, "LiveRows | None", list[str]]:
        """The config, without what cannot be; rows where it has LIVE evaluations; what a person should know. mask: as
        `token_weights` takes it. parts: shapes of latents that are sampled together, () = one.
        """
        if not config.live or config.off:
            return config, None, []
        said = why_not(layout, mask, parts)
        if said:
            return replace(config, live=False), None, [said]
        return config, cls(mask, config.live_reach), []

    def fit_mask(self, grid: Grid) -> None:
        """A pass on this grid begins. Raises BadMask where the mask does not fit it."""
        self.grid = grid
        self.tokens(grid)

    @property
    def any(self) -> bool:
        """Whether there are live tokens at all: without, a LIVE step would be a reused one."""
        return self.grid is not None and bool(self.tokens(self.grid).any())

    def rows(self, grid: Grid, view: View, hidden: torch.Tensor) -> tuple[Rows, Rows]:
        """(live, the rest) of a state [B, L, C] that the view is of; the rest are the video's."""
        place = grid, view.front, hidden.shape[1], hidden.device
        if place not in self._rows:
            live = torch.ones(hidden.shape[1], dtype=torch.bool)
            live[view.front : view.front + view.count] = self.tokens(grid)
            beside = hidden.shape[1] - view.count
            found = (chosen.nonzero().flatten().to(hidden.device) for chosen in (live, ~live))
            self._rows[place] = Rows(one := next(found), len(one) - beside), Rows(other := next(found), len(other))
        return self._rows[place]

    def latent(self, shape: torch.Size) -> torch.Tensor:
        """bool [T, H, W] of a latent [B, C, T, H, W]: what the live tokens of the newest grid cover. Raises BadMask where
        the grid is of a part of the latent only.
        """
        if self.grid is None or shape[2:3] != (self.grid.frames,):
            frames = self.grid.frames if self.grid else 0
            raise BadMask(say("live needs passes over the whole latent of {whole} frames, these have {frames}",
                              whole=shape[2] if len(shape) > 2 else 0, frames=frames))  # fmt: skip
        (height, width), grid = shape[-2:], self.grid
        known = self.tokens(grid).reshape(grid.frames, grid.height, grid.width)
        for dim, (size, tokens) in enumerate(((height, grid.height), (width, grid.width)), 1):
            known = known.repeat_interleave(-(-size // tokens), dim).narrow(dim, 0, size)
        return known

    def share(self, grid: Grid, length: int) -> float:
        """Of all rows of a hidden state of this length, those that are live."""
        return 1 - int((~self.tokens(grid)).sum()) / length

    def clear(self) -> None:
        self._mask = None
        self._tokens.clear()
        self._rows.clear()
