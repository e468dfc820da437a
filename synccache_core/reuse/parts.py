"""Parts of a latent that are forecast and corrected each by itself."""

from collections.abc import Sequence
from math import prod

import torch

from .live import LiveRows


class Whole:
    """A latent [B, C, T, H, W], or of any shape, as it is. fresh: parts, the first ones, that a LIVE evaluation computes."""

    count, fresh = 1, 0

    def split(self, values: torch.Tensor) -> Sequence[torch.Tensor]:
        """The parts; written to only where they were made for it."""
        return [values]

    def join(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return parts[0]

    def picture(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """The first latent, [B, C, T, H, W] where it is a video's."""
        return self.join(parts)


class Streams(Whole):
    """Several latents in one tensor [B, 1, N], such as picture and sound. shapes: theirs. beside: all but the first are
    computed at every step, and nothing else ever stands in for them."""

    def __init__(self, shapes: Sequence[Sequence[int]], beside: bool = False):
        self.count, self._shapes = 1 if beside else len(shapes), shapes

    def split(self, values: torch.Tensor) -> Sequence[torch.Tensor]:
        return values.split([prod(shape[1:]) for shape in self._shapes], dim=-1)

    def join(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Zeros for those that are not given."""
        more = [parts[0].new_zeros((len(parts[0]), 1, prod(shape[1:]))) for shape in self._shapes[len(parts) :]]
        return torch.cat([*parts, *more], dim=-1)

    def picture(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return parts[0].reshape(self._shapes[0])


class Regions(Whole):
    """The live tokens of a latent [B, C, T, H, W], which have outputs of their own at LIVE evaluations, and the others."""

    count, fresh = 2, 1

    def __init__(self, live: LiveRows):
        self._live, self._shape = live, torch.Size()
        self._places: tuple[torch.Tensor, torch.Tensor] | None = None

    def split(self, values: torch.Tensor) -> Sequence[torch.Tensor]:
        flat = values.flatten(2)
        return [flat.index_select(2, places) for places in self._of(values)]

    def join(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        out = parts[0].new_empty((*parts[0].shape[:2], sum(part.shape[2] for part in parts)))
        for part, places in zip(parts, self._places):
            out.index_copy_(2, places, part)
        return out.reshape(self._shape)

    def _of(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self._places is None or self._shape != values.shape or self._places[0].device != values.device:
            inside = self._live.latent(values.shape).flatten()
            self._places = tuple(each.nonzero().flatten().to(values.device) for each in (inside, ~inside))
            self._shape = values.shape
        return self._places


def parts_of(shapes: Sequence[Sequence[int]], live: LiveRows | None, beside: bool = False) -> Whole:
    """shapes: of the latents that one tensor holds, () = one. beside: see `Streams`."""
    return Streams(shapes, beside) if shapes else Regions(live) if live else Whole()
