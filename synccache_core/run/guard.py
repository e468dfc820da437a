"""Where our own bookkeeping fails, a run goes on uncached, with one warning."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch

from ..errors import SyncCacheError
from ..sentences import say

T = TypeVar("T")


@dataclass
class Guard:
    """Runs steps of our own; the model's code is never among them, so its exceptions and the host's interrupt pass.

    activity: what stops where one fails, and failed(reason) is told. broken: the reason, None = it goes well. aside: a
    context around steps, for hosts that watch allocations.
    """

    activity: str
    failed: Callable[[str], None]
    broken: str | None = None
    aside: Callable[[], AbstractContextManager] = nullcontext

    def run(self, step: Callable[..., T], *args, anyway: bool = False) -> T | None:
        """step(*args), None where it fails or, unless it is to be done anyway, one has failed before."""
        if self.broken and not anyway:
            return None
        try:
            with self.aside(), torch.no_grad():  # some samplers leave gradients on: what is stored would hold their graph
                return step(*args)
        except Exception as error:  # noqa: BLE001 - one of the two named boundary spots
            # Of our own errors the sentence itself, since str() would forget what it was made of.
            self.stop(error.args[0] if isinstance(error, SyncCacheError) else f"{type(error).__name__}: {error}")

    def stop(self, why: str) -> None:
        self.broken = say("{activity} stopped: {reason}", activity=self.activity, reason=why)
        logging.getLogger("synccache").warning("SyncCache: %s", self.broken)
        self.failed(self.broken)
