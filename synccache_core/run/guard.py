"""What keeps a run sound: failures of our own, blocks that another cache skips, conditioning that begins or ends."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from ..config import Config
from ..errors import SyncCacheError
from ..model.samplers import Sampler
from ..report.report import RunReport
from ..sentences import say
from .call import Call
from .evaluation import Evaluation

log = logging.getLogger("synccache")


class Guarded:
    """Where our own bookkeeping fails, the run goes on uncached, with one warning. broken: why, None = it goes well.

    The model's own code never runs in a guarded step, so its exceptions and the host's interrupt are never touched.
    """

    activity = say("caching")
    aside: Callable[[], AbstractContextManager] = nullcontext  # around bookkeeping: of hosts that watch what is allocated
    broken: str | None = None
    config: Config
    report: RunReport
    sampler: Sampler

    def note(self, sentence: str | None) -> None:
        """Add a sentence that a person should read, once; None = nothing to say."""
        if sentence and sentence not in self.report.notes:
            self.report.notes.append(sentence)

    def guard(self, step: Callable, *args):
        """step(*args), None where it fails or has failed before."""
        return None if self.broken else self._attempt(step, *args)

    def _attempt(self, step: Callable, *args):
        try:
            with self.aside(), torch.no_grad():  # some samplers leave gradients on: what is stored would hold their graph
                return step(*args)
        except SyncCacheError as error:
            self._break(str(error))
        except Exception as error:  # noqa: BLE001 - one of the two named boundary spots
            self._break(f"{type(error).__name__}: {error}")
        return None

    def _break(self, reason: str) -> None:
        self.broken = say("{activity} stopped: {reason}", activity=self.activity, reason=reason)
        self._drop()
        self.note(self.broken)
        log.warning("SyncCache: %s", self.broken)

    def _drop(self) -> None:
        """Free what is stored, and end the caching of passes in progress."""

    def _why_plain(self) -> str:
        """Why nothing was decided at an evaluation."""
        if self.config.off:
            return say("off")
        stopped = say("another extension altered the pass")
        if self.broken:
            stopped = say("{activity} stopped", activity=self.activity)
        return self.sampler.why_idle or stopped


class Others:
    """Recognises another cache by what it does: a computed evaluation calls every block of the model, or was none.

    most: blocks that a pass has called so far; a model that always runs without some is no cache. unknown: the model is one
    whose blocks are not known, and stands for one block.
    """

    def __init__(self, unknown: bool = False):
        self.most, self._unknown = 0, unknown

    def skipped(self, calls: Sequence[Call]) -> int:
        """Blocks that were not called in some pass of an evaluation without reuse; all of them where there was no pass.

        Passes that another extension altered on purpose (skip-layer guidance) are no measure.
        """
        counts = [call.ran for call in calls if not call.foreign]
        if calls and not counts:
            return 0
        self.most = max([self.most, *counts])
        return self.most - min(counts, default=0)

    def look(self, evaluation: Evaluation) -> str:
        """Note what was skipped in an evaluation; what a person should do about it, "" where nothing was or it was noted."""
        if evaluation.reused or evaluation.skipped:
            return ""
        evaluation.skipped = self.skipped(evaluation.calls)
        if not evaluation.skipped:
            return ""
        what = say("{skipped} of {most} blocks", skipped=evaluation.skipped, most=self.most)
        return say(
            "another extension skipped {what} at a step that was to be computed: it is a cache as well, remove it, or "
            "remove SyncCache",
            what=say("the model") if self._unknown else what,
        )


class Regimes:
    """Which parts of the conditioning hold at a sigma. ranges: (from, to) of each part that does not hold all the time, as
    sigmas, from >= to, both included.
    """

    def __init__(self, ranges: Sequence[tuple[float, float]] = ()):
        self._ranges = tuple(ranges)
        self._now: tuple[bool, ...] | None = None

    def at(self, sigma: float) -> tuple[bool, ...]:
        return tuple(end <= sigma <= start for start, end in self._ranges)

    def changed(self, sigma: float) -> bool:
        """Whether the evaluation at `sigma` has other conditioning than the one before it."""
        before, self._now = self._now, self.at(sigma)
        return before is not None and before != self._now
