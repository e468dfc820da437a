"""Another cache that works on the same run, and samplers of several latents."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..model.tick import Tick
from ..sentences import say
from .call import Call

SKETCH, ALIKE = 4096, 0.9  # numbers that are looked at; cosine of what a sampler would ask of one latent twice
APART = say("the sampler asks for several latents at every step, such as tiles")


class Others:
    """Recognises another cache by what it does: a computed evaluation calls every block of the model, or was none.

    most: blocks that a pass has called so far; a model that always runs without some is no cache. unknown: the model is one
    whose blocks are not known, and stands for one block.
    """

    def __init__(self, unknown: bool = False):
        self.most, self._unknown = 0, unknown
        self._first: tuple[float, torch.Size, torch.Tensor] | None = None
        self._passes = self._altered = 0

    def apart(self, tick: Tick, x: torch.Tensor | None) -> bool:
        """Whether a sampler's second evaluation, at the sigma of its first, is of another latent x."""
        if x is None or tick.index > 1:
            return False
        few = x.detach().flatten()[:: max(1, x.numel() // SKETCH)].float().clone()
        before, self._first = self._first, None if tick.index else (tick.sigma, x.shape, few)
        if before is None or before[0] != tick.sigma:
            return False
        return before[1] != x.shape or F.cosine_similarity(before[2], few, dim=0).item() < ALIKE

    def skipped(self, calls: Sequence[Call]) -> int:
        """Blocks that were not called in some pass of an evaluation without reuse; all of them where there was no pass.

        Passes that another extension altered on purpose (skip-layer guidance) are no measure.
        """
        counts = [call.ran for call in calls if not call.foreign]
        if calls and not counts:
            return 0
        self.most = max([self.most, *counts])
        return self.most - min(counts, default=0)

    def altered(self, calls: Sequence[Call]) -> float:
        """Share of the run's passes, one per branch, that another extension altered on purpose. calls: the newest ones."""
        self._passes += sum(len(call.keys) for call in calls)
        self._altered += sum(len(call.keys) for call in calls if call.foreign)
        return self._altered / self._passes if self._passes else 0.0

    def told(self, skipped: int) -> str:
        """What a person should do about blocks that were skipped."""
        what = say("{skipped} of {most} blocks", skipped=skipped, most=self.most)
        return say(
            "another extension skipped {what} at a step that was to be computed: it is a cache as well, remove it, or "
            "remove SyncCache",
            what=say("the model") if self._unknown else what,
        )
