"""Blocks, audio refresh points and the segments between them.

A *segment* is the run of computation that ends at an audio refresh (and the tail after the last one). Segment 0 is the
probe: it is always computed. The residual of segment s is what it added to the hidden state, without audio:
R_s = u_s - z_{s-1} (the inter-block residual of SyncCache, arXiv 2606.30849; the formula is ours).

The kinds of model differ only in where audio enters:

* ``after``: the host refreshes audio between two blocks (Wan2.2-S2V, WanDancer). Segments are runs of whole blocks.
* ``inside``: audio attention sits inside a block (HuMo, InfiniteTalk). Segments run from behind the audio of one block to
  just before the audio of the next.
* ``beside``: audio has tokens of its own, and a block's part for them is computed at every step (LTX-2). Segments are runs
  of whole blocks, cut where the adapter likes.
* ``none``: there is no audio (HunyuanVideo). The same, and skipped blocks are not called at all.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ..errors import BadConfig

PAPER_RATIO = 0.4  # of all tables of the paper
AUDIO = ("after", "inside", "beside", "none")
ADD, SPREAD, REFRESH = "add", "spread", "refresh"


@dataclass(frozen=True)
class Layout:
    """Where a model's blocks refresh audio.

    blocks: number of heavy blocks N, 0 where nothing is known of a model's inside. refresh: rising indices a_1 < ... < a_M
    of the blocks after (or inside) which audio is refreshed, or with which a segment ends. audio: the kind, see above.
    """

    blocks: int
    refresh: tuple[int, ...]
    audio: Literal["after", "inside", "beside", "none"] = "after"

    def __post_init__(self):
        if self.unknown and not self.refresh:
            return
        rising = list(self.refresh) == sorted(set(self.refresh))
        if not self.refresh or not rising or self.refresh[0] < 0 or self.refresh[-1] >= self.blocks:
            raise BadConfig(f"refresh points must rise within 0..{self.blocks - 1}, got {list(self.refresh)}")

    @property
    def unknown(self) -> bool:
        """Whether there is nothing to reuse but the whole result of the model."""
        return self.blocks == 0

    @property
    def refreshes(self) -> int:
        """Audio refreshes of a call."""
        return len(self.refresh) if self.audio in ("after", "inside") else 0

    @property
    def probe_blocks(self) -> int:
        """Blocks of segment 0, computed at every step."""
        return 0 if self.unknown else self.refresh[0] + 1

    @cached_property
    def segments(self) -> int:
        """Number of segments, the probe included."""
        if self.unknown:
            return 0
        tail = self.probe_blocks < self.blocks if self.audio == "inside" else self.refresh[-1] < self.blocks - 1
        return len(self.refresh) + tail

    @cached_property
    def opens(self) -> dict[int, int]:
        """Block -> segment that opens at the input of that block; where audio is inside, later ones open behind it."""
        starts = [0, *(i + 1 for i in self.refresh)][: 2 if self.audio == "inside" else None]
        return {block: s for s, block in enumerate(starts) if block < self.blocks}

    @cached_property
    def closes(self) -> dict[int, int]:
        """Block -> segment that closes at the output of that block (segment 0 is the probe)."""
        if self.audio == "inside":
            tail = {self.blocks - 1: self.segments - 1} if self.probe_blocks < self.blocks else {}
            return {self.refresh[0]: 0, **tail}
        ends = [*self.refresh, self.blocks - 1][: self.segments]
        return {block: s for s, block in enumerate(ends)}

    @cached_property
    def segment_blocks(self) -> tuple[range, ...]:
        """The blocks of each segment, where segments are runs of whole blocks."""
        starts = sorted(self.opens)
        return tuple(range(first, end) for first, end in zip(starts, [*starts[1:], self.blocks]))

    def refresh_segment(self, block: int) -> int:
        """For audio inside: the segment that closes before the refresh in `block`; the next one opens behind it."""
        return self.refresh.index(block)

    @cached_property
    def reuse_steps(self) -> dict[int, tuple[tuple[str, int], ...]]:
        """What stands in for each skipped block: ("add", segment), or, for audio beside, ("spread", segment), a
        share of it for each of its blocks; and, for audio inside, ("refresh", block)."""
        if self.audio == "beside":
            return {block: ((SPREAD, s),) for s, blocks in enumerate(self.segment_blocks) for block in blocks}
        if self.audio != "inside":
            return {block: ((ADD, s),) for block, s in self.opens.items()}
        steps = {block: ((ADD, s), (REFRESH, block)) for s, block in enumerate(self.refresh) if s > 0}
        last = self.blocks - 1
        if self.probe_blocks < self.blocks:
            steps[last] = steps.get(last, ()) + ((ADD, self.segments - 1),)
        return steps

    @property
    def usual_ratio(self) -> float:
        """Cache ratio where nobody asks for one: the paper's where every block has a residual of its own,
        as many as weights of some models; else all."""
        return PAPER_RATIO if self.audio == "inside" else 1.0

    def storable(self) -> int:
        """Segments that groups divide: all but the probe."""
        return max(0, self.segments - 1)


def groups_for_ratio(layout: Layout, cache_ratio: float | None) -> int:
    """K = round(rho * M), at least 1, at most the segments that have a residual at all. cache_ratio: None = usual."""
    cache_ratio = layout.usual_ratio if cache_ratio is None else cache_ratio
    return max(1, min(layout.storable(), int(cache_ratio * len(layout.refresh) + 0.5)))


def even_groups(layout: Layout, count: int) -> tuple[tuple[int, ...], ...]:
    """Cut segments 1..S-1 into `count` contiguous groups whose sizes differ by at most one.

    A group keeps one stored residual, added where its first segment opens: the sum of its segments' residuals, or, where
    the audio inside is frozen, all that happened from its start to its end.
    """
    total = layout.storable()
    bounds = [1 + (total * k) // count for k in range(count + 1)] if count else [1]
    return tuple(tuple(range(a, b)) for a, b in zip(bounds, bounds[1:]))
