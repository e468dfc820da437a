"""Where our own bookkeeping fails, a run goes on uncached, with one warning."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch

from ..errors import SyncCacheError
from ..sentences import say

T = TypeVar("T")
log = logging.getLogger("synccache")


class Guard:
    """Runs steps of our own. The model's code is never among them, so its exceptions and the host's interrupt pass.

    activity: what stops where one fails, and failed(reason) is told. broken: the reason, None = it goes well.
    """

    def __init__(self, activity: str, failed: Callable[[str], None]):
        self.activity = activity
        self.broken: str | None = None
        self.aside: Callable[[], AbstractContextManager] = nullcontext  # around steps: of hosts that watch allocations
        self._failed = failed

    def run(self, step: Callable[..., T], *args, anyway: bool = False) -> T | None:
        """step(*args), None where it fails or, unless it is to be done anyway, one has failed before."""
        if self.broken and not anyway:
            return None
        try:
            with self.aside(), torch.no_grad():  # some samplers leave gradients on: what is stored would hold their graph
                return step(*args)
        except SyncCacheError as error:
            self.stop(error.args[0])  # str() would forget what the sentence was made of
        except Exception as error:  # noqa: BLE001 - one of the two named boundary spots
            self.stop(f"{type(error).__name__}: {error}")
        return None

    def stop(self, why: str) -> None:
        self.broken = say("{activity} stopped: {reason}", activity=self.activity, reason=why)
        log.warning("SyncCache: %s", self.broken)
        self._failed(self.broken)
