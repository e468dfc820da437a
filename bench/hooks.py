"""A whole-step cache on diffsynth's Wan-S2V transformer, and what a cache sees of an uncached run. Nothing stays on the
model."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import torch

from demo import sampling, thirdparty
from demo.sampling import integrate
from demo.standalone import Standalone
from synccache_core.model.samplers import Sampler, response

from .rivals import Cache, Entry, relative
from .settings import Setting

DEGREE = 4  # of TeaCache's polynomial
BRANCHES = ("cond", "uncond")  # whoever comes first decides


class Pass:
    """One forward pass: whether the rest of it is left out, and what entered block 0."""

    def __init__(self):
        self.left_out, self.tokens = False, None


@contextmanager
def hooked(dit: torch.nn.Module, cache: Cache):
    """Inside, every forward pass of `dit` asks `cache` at block 0, and after its probe, what stands for its blocks.

    Audio comes in after a block, through the model's own method, which is left out with them.
    """
    state, last = Pass(), len(dit.blocks) - 1

    def block(index: int, forward: Callable, hidden: torch.Tensor, context, t_mod: torch.Tensor, *rest) -> torch.Tensor:
        if index == 0:
            state.left_out, state.tokens = False, hidden
            instead = cache.enter(entry_of(dit.blocks[0], hidden, t_mod))
        if index == 0 and instead is not None or state.left_out:
            state.left_out = True
            return hidden if index else instead
        out = forward(hidden, context, t_mod, *rest)
        if index == cache.depth - 1:
            instead = cache.probe(state.tokens, out.clone())  # audio is written into what a block returned
            state.left_out = instead is not None
            return instead if state.left_out else out
        return out

    def audio(original: Callable, index: int, hidden: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        if state.left_out:
            return hidden
        out = original(index, hidden, *args, **kwargs)
        if index == last:
            cache.leave(state.tokens, out)
        return out

    with ExitStack() as stack:
        for index, each in enumerate(dit.blocks):
            replace(stack, each, "forward", partial(block, index, each.forward))
        replace(stack, dit, "after_transformer_block", partial(audio, dit.after_transformer_block))
        yield


def replace(stack: ExitStack, owner: torch.nn.Module, name: str, value: Callable) -> None:
    """Until the stack closes; the class's own method is back afterwards."""
    if name in vars(owner):
        raise ValueError(f"{type(owner).__name__}.{name} is replaced already")
    setattr(owner, name, value)
    stack.callback(vars(owner).pop, name)


def entry_of(block: torch.nn.Module, hidden: torch.Tensor, t_mod: torch.Tensor) -> Entry:
    """t_mod [1, 6, 2, C]: of the video's tokens and of the reference's, which is at time 0 and does not change."""
    time = t_mod[:, :, 0]

    def modulated() -> torch.Tensor:
        shift, scale = (block.modulation + time)[:, :2].chunk(2, dim=1)
        return block.norm1(hidden) * (1 + scale) + shift

    return Entry(hidden, time, modulated)


def branch_velocity(on: Standalone, cache: Cache, branch: str, x: torch.Tensor, sigma: float) -> torch.Tensor:
    """x [1, 16, T, h, w] -> the branch's velocity, or what the cache has instead."""
    cache.turn(branch)
    instead = cache.latent(x)
    if instead is not None:
        return instead
    inputs = on.conditional if branch == "cond" else on.unconditional
    v = thirdparty.velocity(on.talker.dit, x, sigma, **inputs)
    if not cache.skipped[-1]:
        cache.output(x, v)
    return v


def guided(on: Standalone, cache: Cache, x: torch.Tensor, sigma: float) -> torch.Tensor:
    """The velocity after guidance at one evaluation."""
    cache.step()
    cond, uncond = (branch_velocity(on, cache, branch, x, sigma) for branch in BRANCHES)
    return sampling.guided(uncond, cond, on.settings.guidance)


@torch.inference_mode()
def sample_with(on: Standalone, cache: Cache, sampler: str, sigmas: Sequence[float]) -> torch.Tensor:
    """The latent of a run with the cache."""
    with hooked(on.talker.dit, cache):
        return integrate(sampler, on.noise(), sigmas, partial(guided, on, cache))


def sampler_of(name: str, sigmas: Sequence[float]) -> Sampler:
    """What SyncCache knows of `integrate`."""
    bare = Sampler(name)
    if not bare.multistep:
        return bare
    return Sampler(name, response=response(lambda velocity, x: integrate(name, x, sigmas, velocity), len(sigmas) - 1))


@dataclass
class Trace:
    """The conditional branch of an uncached run of T steps: tokens, modulated, probe and y [T, 1, L, C], time [T, 1, 6, C],
    x and v [T, 1, 16, t, h, w].
    """

    x: torch.Tensor
    tokens: torch.Tensor
    time: torch.Tensor
    modulated: torch.Tensor
    probe: torch.Tensor
    y: torch.Tensor
    v: torch.Tensor


class Watch(Cache):
    """Computes everything and keeps what a Trace holds."""

    depth, reads = 1, "nothing"

    def __init__(self, steps: int):
        super().__init__(steps)
        self.seen = {field.name: [] for field in fields(Trace)}

    def _keep(self, **values: torch.Tensor) -> None:
        for name, value in values.items() if self.branch == "cond" else ():
            self.seen[name].append(value.clone())

    def latent(self, x: torch.Tensor) -> None:
        self._keep(x=x)

    def enter(self, entry: Entry) -> None:
        self._keep(tokens=entry.tokens, time=entry.time, modulated=entry.modulated())

    def probe(self, tokens: torch.Tensor, probe: torch.Tensor) -> None:
        self._keep(probe=probe)

    def leave(self, tokens: torch.Tensor, y: torch.Tensor) -> None:
        self._keep(y=y)

    def output(self, x: torch.Tensor, v: torch.Tensor) -> None:
        self._keep(v=v)


def trace(job: tuple[Setting, int]) -> Trace:
    """job: setting, number of a clip."""
    setting, number = job
    watch = Watch(setting.steps)
    sample_with(setting.stage(number), watch, setting.sampler, setting.sigmas)
    return Trace(**{name: torch.stack(values) for name, values in watch.seen.items()})


def simulate(cache: Cache, run: Trace) -> int:
    """How many steps it would compute if skipping changed nothing."""
    for step in range(len(run.x)):
        cache.step()
        entry = Entry(run.tokens[step], run.time[step], lambda step=step: run.modulated[step])
        instead = cache.latent(run.x[step])
        instead = cache.enter(entry) if instead is None else instead
        if instead is None and cache.depth:
            instead = cache.probe(run.tokens[step], run.probe[step])
        if instead is None:
            cache.leave(run.tokens[step], run.y[step])
            cache.output(run.x[step], run.v[step])
    return cache.computed


def polynomial_fit(runs: Sequence[Trace], of: str) -> tuple[float, ...]:
    """TeaCache's p: from the indicator's relative change to that of the model's output, over all clips and steps."""
    pairs = [(relative(getattr(run, of)[t], getattr(run, of)[t - 1]), relative(run.v[t], run.v[t - 1]))
             for run in runs for t in range(1, len(run.x))]  # fmt: skip
    return tuple(float(c) for c in np.polyfit(*zip(*pairs), DEGREE))


def magnitudes(runs: Sequence[Trace]) -> tuple[float, ...]:
    """MagCache's ratios, with 1 for the first step: means over tokens and clips."""
    found = []
    for run in runs:
        norms = (run.y - run.tokens).norm(dim=-1)[:, 0]
        found.append((norms[1:] / norms[:-1]).mean(1))
    return (1.0, *torch.stack(found).mean(0).tolist())
