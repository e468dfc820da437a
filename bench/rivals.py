"""Published whole-step caches, from their formulas, for one sampling run of a Wan-S2V transformer.

Notation: x latent, v velocity, h tokens into block 0, p tokens after it, y tokens after the last block and its audio,
R = y - h. |.| is the mean of absolute values, so that |a - b| / |b| is the relative L1 change. What all of them share here:

* cond decides, uncond follows: decisions that differ multiply the error by the guidance;
* `warm` steps at the start and the last step are computed, except where the paper fixes it otherwise. Papers ask for 10 to
  20 % of the steps, which would use up 8 computed ones: max(2, computed // 4) for all, as in our own online mode;
* what is reused is what the paper reuses, audio included: it stands still on a skipped step.

No published polynomial or list of ratios is for this model: `fit.py` measures them, and sets thresholds, on clips of
their own. Costs: a skipped step spends the embeddings and the head, DiCache one block more, EasyCache nothing; element-wise
work (TeaCache's modulated input, distances) is not counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
import torch

from synccache_core.model.cost import CostModel

Make = tuple[str, dict]  # name in CACHES, keyword arguments: what travels between processes


@dataclass
class Entry:
    """A pass at the input of block 0. tokens [1, L, C]; time: projected time embedding [1, 6, C], e0 of Wan."""

    tokens: torch.Tensor
    time: torch.Tensor
    modulated: Callable[[], torch.Tensor]


class Cache:
    """Per evaluation: `step`, then per branch `turn`, `latent`, `enter`, `probe` (where depth > 0), `leave`, `output`.

    What `latent`, `enter` or `probe` returns stands for all that would follow: a velocity, or y. None: go on. Subclasses say
    when (`skip`, asked once per step) and what (`reuse`).
    """

    depth = 0  # blocks that are computed on every step
    reads = "enter"  # at which of latent, enter, probe it decides

    def __init__(self, steps: int, warm: int = 1, last: bool = True):
        self.index, self.skipped = -1, []
        self.branch, self.anchor = "cond", {}
        self._steps, self._warm, self._last = steps, warm, last

    @property
    def forced(self) -> bool:
        return self.index < self._warm or (self._last and self.index == self._steps - 1)

    @property
    def computed(self) -> int:
        return len(self.skipped) - sum(map(bool, self.skipped))

    def spent(self, cost: CostModel) -> float:
        """Cost of the run in full steps."""
        share = 0.0 if self.reads == "latent" else (self.depth * cost.block + cost.other) / cost.full
        return self.computed + (len(self.skipped) - self.computed) * share

    def step(self) -> None:
        self.index += 1
        self.skipped.append(None)

    def turn(self, branch: str) -> None:
        self.branch = branch

    def latent(self, x: torch.Tensor) -> torch.Tensor | None:
        return None

    def enter(self, entry: Entry) -> torch.Tensor | None:
        return self._ask(entry.tokens, entry) if self.reads == "enter" else None

    def probe(self, tokens: torch.Tensor, probe: torch.Tensor) -> torch.Tensor | None:
        return self._ask(tokens, probe) if self.reads == "probe" else None

    def leave(self, tokens: torch.Tensor, y: torch.Tensor) -> None:
        """A computed pass: R is what most methods reuse."""
        self.anchor[self.branch] = y - tokens

    def output(self, x: torch.Tensor, v: torch.Tensor) -> None:
        """The velocity of a computed pass."""

    def skip(self, given) -> bool:
        raise NotImplementedError

    def reuse(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens + self.anchor[self.branch]

    def _ask(self, tokens: torch.Tensor, given) -> torch.Tensor | None:
        if self.skipped[-1] is None:
            self.skipped[-1] = self.skip(given) and not self.forced
        return self.reuse(tokens) if self.skipped[-1] else None


class Scheduled(Cache):
    """R of the last computed step, at given steps.

    FORA (arXiv 2407.01425) at a fixed interval, with the residual of all blocks instead of the outputs of every attention
    and MLP; LeMiCa (arXiv 2511.00090) along `fit.lexicographic_path`.
    """

    def __init__(self, steps: int, schedule: Sequence[int]):
        super().__init__(steps, warm=1, last=False)
        self._schedule = set(schedule)

    def skip(self, entry: Entry) -> bool:
        return self.index not in self._schedule


class TaylorSeer(Scheduled):
    """TaylorSeer (arXiv 2503.06923), Lite: only the last feature y is forecast, F(t + k) = sum_i k^i / i! D_i, with
    D_0 = F and D_i = (D_{i-1} - its value at the computed step before) / (steps between the two).
    """

    def __init__(self, steps: int, schedule: Sequence[int], order: int):
        super().__init__(steps, schedule)
        self._order, self._at = order, {}

    def leave(self, tokens: torch.Tensor, y: torch.Tensor) -> None:
        old, found = self.anchor.get(self.branch, []), [y.clone()]
        for lower in old[: self._order]:
            found.append((found[-1] - lower) / (self.index - self._at[self.branch]))
        self.anchor[self.branch], self._at[self.branch] = found, self.index

    def reuse(self, tokens: torch.Tensor) -> torch.Tensor:
        ahead = self.index - self._at[self.branch]
        return sum(term * (ahead**i / factorial(i)) for i, term in enumerate(self.anchor[self.branch]))


class Accumulating(Cache):
    """Skips while a sum of changes since the last computed step stays below a threshold."""

    def __init__(self, steps: int, warm: int, threshold: float):
        super().__init__(steps, warm)
        self._threshold, self._sum = threshold, 0.0

    def stays_below(self, change: float) -> bool:
        self._sum = 0.0 if self.forced else self._sum + change
        if not self.forced and self._sum < self._threshold:
            return True
        self._sum = 0.0
        return False


class TeaCache(Accumulating):
    """TeaCache (arXiv 2411.19108; its Wan2.1 script): E += p(|e_t - e_{t-1}| / |e_{t-1}|), R while E < threshold.

    e: "time", the projected time embedding, as for Wan, where decisions are the same for every input; or "modulated", block
    0's modulated input, as in the paper. polynomial: p, highest power first, fitted here; below 0 it counts as 0.
    """

    def __init__(self, steps: int, warm: int, threshold: float, polynomial: Sequence[float], of: str):
        super().__init__(steps, warm, threshold)
        self._polynomial, self._of, self._before = polynomial, of, None

    def skip(self, entry: Entry) -> bool:
        now = entry.time if self._of == "time" else entry.modulated()
        change = 0.0 if self._before is None else relative(now, self._before)
        self._before = now.clone()
        return self.stays_below(max(0.0, float(np.polyval(self._polynomial, change))))


class MagCache(Cache):
    """MagCache (arXiv 2506.09045; its Wan2.1 script): G *= g_t, err += |1 - G|, R while err < threshold and at most
    `longest` skips in a row, with g_t = mean over tokens of |R_t|_2 / |R_{t-1}|_2, measured once, so that the steps are
    the same for every input.

    ratios: g_0 = 1, g_1, ... `longest` is 2 to 6 there, which does not reach a quarter of the steps: raised where needed.
    """

    def __init__(self, steps: int, warm: int, threshold: float, ratios: Sequence[float], longest: int):
        super().__init__(steps, warm)
        self._ratios, self._threshold, self._longest = ratios, threshold, longest
        self._restart()

    def _restart(self) -> None:
        self._product, self._error, self._run = 1.0, 0.0, 0

    def skip(self, entry: Entry) -> bool:
        self._product, self._run = self._product * self._ratios[self.index], self._run + 1
        self._error += abs(1 - self._product)
        below = self._error < self._threshold and self._run <= self._longest
        if below and not self.forced:
            return True
        self._restart()
        return False


class DiCache(Accumulating):
    """DiCache (arXiv 2508.17356; its Wan2.1 and FLUX scripts): block 0 is the probe, on every step and branch; E += d_t with
    d = |p_t - p_{t-1}| / |p_{t-1}| =: d_p, or |d_p - d_h| where `minus`. A miss goes on from the probe.

    Trajectory alignment, with P = p - h and the last two computed steps -2, -1, per branch:
    y = h + R_-2 + g (R_-1 - R_-2), g = |P_t - P_-2| / |P_-1 - P_-2| within 1..2 (Wan); h + R_-1 with one of them.
    """

    depth, reads = 1, "probe"
    MOST = 2.0

    def __init__(self, steps: int, warm: int, threshold: float, minus: bool = False):
        super().__init__(steps, warm, threshold)
        self._minus, self._before, self._now = minus, None, {}

    def probe(self, tokens: torch.Tensor, probe: torch.Tensor) -> torch.Tensor | None:
        self._now[self.branch] = probe - tokens
        return self._ask(tokens, (tokens, probe))

    def skip(self, given: tuple[torch.Tensor, torch.Tensor]) -> bool:
        change = 0.0
        if self._before is not None:
            inner, outer = (relative(now, before) for now, before in zip(given, self._before))
            change = abs(outer - inner) if self._minus else outer
        self._before = tuple(each.clone() for each in given)
        return self.stays_below(change)

    def leave(self, tokens: torch.Tensor, y: torch.Tensor) -> None:
        window = self.anchor.setdefault(self.branch, [])
        window.append((y - tokens, self._now[self.branch]))
        del window[:-2]

    def reuse(self, tokens: torch.Tensor) -> torch.Tensor:
        window = self.anchor[self.branch]
        if len(window) < 2:
            return tokens + window[-1][0]
        (far, probe_far), (near, probe_near) = window
        ratio = size(self._now[self.branch] - probe_far) / max(size(probe_near - probe_far), 1e-12)
        return tokens + far + min(max(ratio, 1.0), self.MOST) * (near - far)


class EasyCache(Accumulating):
    """EasyCache (arXiv 2507.02860; its Wan scripts): E += k |x_t - x_{t-1}| / |v_s|, with s the last computed step and
    k = |v_s - v_r| / |x_s - x_r| of the last two. Reuse: v = x + (v_s - x_s), of each branch. Until k is known: compute.
    """

    reads = "latent"

    def __init__(self, steps: int, warm: int, threshold: float):
        super().__init__(steps, warm, threshold)
        self._rate, self._x = None, None
        self._at: tuple[torch.Tensor, torch.Tensor] | None = None  # x and v of cond at the last computed step

    def latent(self, x: torch.Tensor) -> torch.Tensor | None:
        return self._ask(x, x)

    def skip(self, x: torch.Tensor) -> bool:
        before, self._x = self._x, x.clone()
        if self._rate is None:
            return False
        return self.stays_below(self._rate * size(x - before) / size(self._at[1]))

    def output(self, x: torch.Tensor, v: torch.Tensor) -> None:
        self.anchor[self.branch] = v - x
        if self.branch == "cond":
            if self._at is not None:
                self._rate = size(v - self._at[1]) / max(size(x - self._at[0]), 1e-12)
            self._at = (x.clone(), v.clone())


CACHES: dict[str, type[Cache]] = {
    "scheduled": Scheduled, "taylorseer": TaylorSeer, "teacache": TeaCache, "magcache": MagCache, "dicache": DiCache,
    "easycache": EasyCache,
}  # fmt: skip


def make(spec: Make, steps: int) -> Cache:
    return CACHES[spec[0]](steps, **spec[1])


def size(value: torch.Tensor) -> float:
    return float(value.abs().mean())


def relative(now: torch.Tensor, before: torch.Tensor) -> float:
    return size(now - before) / max(size(before), 1e-12)
