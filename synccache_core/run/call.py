"""One forward pass of the model: captures residuals at a computed evaluation, adds forecasts at a reused one, and to some
of its rows at a LIVE one.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence

import torch

from ..decide.policy import LIVE, REUSE
from ..decide.probe import subsample
from ..model.audio import AudioCall, AudioOp
from ..model.grid import Grid
from ..model.layout import REFRESH, SPREAD
from ..model.live import LiveBlock, Rows
from ..model.view import State, View, ViewOf, plain
from ..reuse.live import beside
from .evaluation import IDLE, STORE, UNDECIDED, Evaluation


class Call(AudioCall):
    """Stands between the host and its blocks for one forward pass.

    keys: one branch key per chunk of the batch (conditional and unconditional may share a pass). grid: the video tokens.
    view: where they lie in the hidden state [B, L, C] of a block. mode: what is done, see evaluation.py. foreign: another
    extension altered the pass. ran: blocks that ran in it. length: L of the first block.
    The host asks `block` to run each block, and, where audio sits inside the block, `refresh` to run each audio operation.
    """

    def __init__(
        self, evaluation: Evaluation, keys: Sequence[Hashable], grid: Grid, view: ViewOf | None = None,
        mode: str = UNDECIDED, foreign: bool = False,
    ):
        run = evaluation.run
        self.evaluation, self.residuals, self.guard = evaluation, run.residuals, run.guard
        self.layout, self.live, self.report, self.listener = run.layout, run.live, run.report, run.listener
        self.keys, self.grid, self.mode, self.foreign = tuple(keys), grid, mode, foreign
        self.ran = self.length = 0
        self._handed = -1  # where bookkeeping failed in a group whose residual is in the state already: its last block
        self.view: ViewOf | None = view or (lambda block: View(grid.tokens))
        self._start: torch.Tensor | None = None
        self._merged: torch.Tensor | None = None
        self._forecasts: list[torch.Tensor] | None = None
        # Of rows that are not live: where the group that is open began, and where it will end.
        self._origin: torch.Tensor | None = None
        self._end: torch.Tensor | None = None
        self._sums: dict[tuple[Hashable, int], torch.Tensor] = {}
        self._beside: dict[tuple, tuple[Rows, Rows]] = {}
        self._audio: Mapping[int, AudioOp] = {}
        self._audio_args: tuple[tuple, dict] = ((), {})

    def block(
        self, index: int, hidden: State, compute: Callable[[State], State], rest: Callable[[State], State] | None = None,
        live: LiveBlock | None = None,
    ) -> State:
        """Return what block `index` gives for hidden [B, L, C], or what stands in for it. `compute` runs the block,
        `rest` all of it but the video, `live` some of its rows: where these are all but the video's, it is the rest.
        """
        if index <= self._handed:
            return hidden
        through = rest is None and live is not None and self.layout.audio == "beside"
        if index == 0 and self.mode != IDLE:
            self.guard.run(self._begin, hidden)
        if self.mode == STORE and index in self.layout.opens:
            self.guard.run(self._open, self.layout.opens[index], index, hidden)
        if self.mode == STORE and (self.live or through):
            self.guard.run(self._keep_depth, index, hidden)
        if self.mode == LIVE or self.mode == REUSE and through:
            return self._live(index, hidden, compute, live)
        if self.mode == REUSE:
            return self._stand_in(index, hidden, compute, rest)
        self.ran += 1
        out = compute(hidden)
        segment = self.layout.closes.get(index)
        if self.mode == UNDECIDED and segment == 0:
            self.guard.run(self._probe, index, out)
        elif self.mode == STORE and segment is not None:
            self.guard.run(self._close, segment, index, out)
        return out

    def behind(self, index: int, hidden: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """What goes on from behind block `index` where an extension makes change(hidden [B, L, C]) there, maybe in place.

        Where a residual stands in for blocks, what was changed between them is part of it; of LIVE rows it is not.
        `change` is called at every block all the same, since it may keep a state of its own from one to the next.
        """
        if self.mode not in (REUSE, LIVE) or index in self.layout.closes:
            return change(hidden)
        changed = change(plain(hidden).clone())
        if self.mode == REUSE and self.layout.audio != "beside":
            return hidden
        rows, out = self._rows(index, hidden)[0], plain(hidden).clone()
        return out.index_copy_(1, rows.index, changed.index_select(1, rows.index))

    # What adapters ask, see `AudioCall`.

    def refresh(self, index: int, compute: AudioOp, hidden: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        self._audio_args = (args, kwargs)
        segment = self.layout.refresh_segment(index)
        if self.mode == STORE and segment > 0:
            self.guard.run(self._close, segment, index, hidden)
        out = compute(hidden, *args, **kwargs)
        if self.mode == STORE and 0 < segment < self.layout.segments - 1:
            self.guard.run(self._open, segment + 1, index, out)
        return out

    def offer_audio(self, operations: Mapping[int, AudioOp]) -> None:
        self._audio = operations

    def skips(self, index: int) -> bool:
        return self.mode == REUSE and index > max(self.layout.opens)

    def remember(self, block: int, value: torch.Tensor) -> None:
        if self.mode == STORE:
            self.residuals.beside[(self.keys, block)] = value

    def recall(self, block: int) -> torch.Tensor | None:
        return self.residuals.beside.get((self.keys, block))

    def stop(self) -> None:
        """Compute the rest of the pass, if any, and keep nothing, such as what the view was told of the pass."""
        self.mode = IDLE
        self.view = None
        self._start = self._merged = self._forecasts = self._origin = self._end = None
        self._sums.clear()
        self._beside.clear()

    def _begin(self, hidden: State) -> None:
        tensor = self.view(0).tensor(hidden)
        self.length = tensor.shape[1]
        if self.mode == UNDECIDED and not self.evaluation.run.config.runs_probe:
            self.mode = self.evaluation.mode(self, tensor)

    def _probe(self, block: int, out: State) -> None:
        video = self.view(block).of(out)
        self.mode = self.evaluation.mode(self, video, subsample(video))

    def _open(self, segment: int, block: int, hidden: State) -> None:
        if self.listener is not None:
            self.listener.opened(self, segment, self.view(block).of(hidden))
        elif self._start is None:  # a frozen group goes on from where its first segment opened
            self.residuals.make_room(self.keys, self.residuals.group(segment).number, self.evaluation.tick.position)
            # A copy: hosts update a block's input in place (HunyuanVideo, LTX-2), and a view would make residuals zero.
            self._start = self.view(block).of(hidden).detach().clone()

    def _close(self, segment: int, block: int, out: State) -> None:
        if self.listener is not None:
            return self.listener.closed(self, segment, self.view(block).of(out))
        group = self.residuals.group(segment)
        if group.froze(segment):
            return
        end, start, self._start = self.view(block).of(out).detach(), self._start, None
        added = torch.sub(end, start, out=start) if end.dtype == start.dtype else end - start
        for key, part in zip(self.keys, added.chunk(len(self.keys))):
            held = self._sums.pop((key, group.number), None)
            # One chunk of a batch is copied, since a view would keep the whole batch alive.
            total = held.add_(part) if held is not None else (part.clone() if len(self.keys) > 1 else part)
            if segment == group.last:
                self.residuals.keep(key, group.number, self.evaluation.tick.position, total)
            else:
                self._sums[(key, group.number)] = total

    def _stand_in(self, index: int, hidden: State, compute: Callable, rest: Callable | None) -> State:
        for action, target in self.layout.reuse_steps.get(index, ()):
            if action == REFRESH:
                segment = self.layout.refresh_segment(target)
                if not self.residuals.group(segment).froze(segment):
                    args, kwargs = self._audio_args
                    hidden = self._audio[target](hidden, *args, **kwargs)
                continue
            merged = self._merged
            video = None if merged is None else self.view(index).of(hidden)
            added = self.guard.run(self._spread if action == SPREAD else self._add, target, index, hidden)
            if added is None and merged is None:  # bookkeeping failed: the rest of this pass is computed
                return compute(hidden)
            if added is None:  # but for this group; in place, since there may be no memory for more
                video.copy_(merged)
                self._handed = self.layout.segment_blocks[target][-1]
                added = hidden
            hidden = added
        return hidden if rest is None else rest(hidden)

    def _keep_depth(self, index: int, hidden: State) -> None:
        """What blocks have added to the rows that are not live since their group opened."""
        first, _ = self._group_at(index)
        if first is None:
            return
        view = self.view(index)
        _, rest = self._rows(index, hidden)
        held = rest.of(view.tensor(hidden).detach())
        if index == first:
            self._origin = held
            return
        for key, offset in zip(self.keys, (held - self._origin).chunk(len(self.keys))):
            self.residuals.depths.put(key, index, offset)

    def _group_at(self, index: int) -> tuple[int | None, int]:
        """(first block, number of blocks) of the group that a block belongs to; None where nothing is stored for it."""
        group = self.residuals.group(next(s for s, blocks in enumerate(self.layout.segment_blocks) if index in blocks))
        if group is None:
            return None, 0
        blocks = self.layout.segment_blocks[group.first : group.last + 1]
        return blocks[0][0], sum(map(len, blocks))

    def _live(self, index: int, hidden: State, compute: Callable, live: LiveBlock) -> State:
        ready = self.guard.run(self._before_live, index, hidden)
        if ready is None:  # bookkeeping failed: the rest of this pass is computed
            return compute(hidden)
        out, mine, rows, others, rest = ready
        self.view(index).tensor(out).index_copy_(1, rows.index, live(mine, rows, others, rest))
        return out

    def _before_live(self, index: int, hidden: State) -> tuple[State, torch.Tensor, Rows, torch.Tensor, Rows]:
        """What a reused pass hands on, to be written to; the live rows and what they hold; the rest, and its states here: as
        far from where the group opened as at the newest computed evaluation, or, where that is not held, on a line.
        """
        view = self.view(index)
        rows, rest = self._rows(index, hidden)
        added = [segment for _, segment in self.layout.reuse_steps.get(index, ())]
        put = self._spread if self.layout.audio == "beside" else self._add
        out = put(added[0], index, hidden) if added else hidden
        out = view.copied(hidden)[0] if out is hidden else out
        first, count = self._group_at(index)
        if index == first:
            self._origin = rest.of(view.tensor(hidden))
            self._end = rest.of(view.tensor(out)) if count > 1 else None
            if put == self._spread and count > 1:  # of which this is a share
                self._end = self._origin.lerp(self._end, count)
        return out, rows.of(view.tensor(hidden)), rows, self._others(index, (index - first) / count), rest

    def _others(self, index: int, share: float) -> torch.Tensor:
        """share: of its group's blocks that are through."""
        if not share:
            return self._origin
        parts = self._origin.chunk(len(self.keys))
        offsets = [self.residuals.depths.of(key, index, part) for key, part in zip(self.keys, parts)]
        if any(offset is None for offset in offsets):
            return torch.lerp(self._origin, self._end, share)
        return torch.cat(offsets).add_(self._origin)

    def _rows(self, block: int, hidden: State) -> tuple[Rows, Rows]:
        """(live, the rest)"""
        view = self.view(block)
        if self.live:
            return self.live.rows(self.grid, view, view.tensor(hidden))
        place = view, view.tensor(hidden).shape[1]
        if place not in self._beside:
            self._beside[place] = beside(view, view.tensor(hidden))
        return self._beside[place]

    def _add(self, segment: int, block: int, hidden: State) -> State:
        """Never in place: the host may hold what it gave us."""
        group = self.residuals.group(segment)
        if segment != group.first:
            return self._merge(segment == group.last, block, hidden)
        out, video = self.view(block).copied(hidden)
        for part, key in zip(video.chunk(len(self.keys)), self.keys):
            part += self.residuals.forecast(key, group.number, self.evaluation.tick.position, video.device)
        if group.froze(segment) and self.layout.audio != "inside":
            self._merged = video.clone()
        return out

    def _spread(self, segment: int, block: int, hidden: State) -> State:
        """What a block adds, if all of its group's add the same: so the sound's part of it sees a video of that depth."""
        group = self.residuals.group(segment)
        out, video = self.view(block).copied(hidden)
        if self._forecasts is None:
            at = group.number, self.evaluation.tick.position, video.device
            self._forecasts = [self.residuals.forecast(key, *at) for key in self.keys]
        share = 1.0 / sum(map(len, self.layout.segment_blocks[group.first : group.last + 1]))
        for part, added in zip(video.chunk(len(self.keys)), self._forecasts):
            part.add_(added, alpha=share)
        if block == self.layout.segment_blocks[group.last][-1]:
            self._forecasts = None
        return out

    def _merge(self, last: bool, block: int, hidden: State) -> State:
        """A later segment of a group. At the last of one that froze its audio, undo what the host injected meanwhile."""
        if self._merged is None or not last:
            return hidden
        out, video = self.view(block).copied(hidden)
        video.copy_(self._merged)
        self._merged = None
        return out
