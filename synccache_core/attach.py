"""Attach a Session to a plain torch DiT, for implementations outside ComfyUI (official Wan, diffsynth, your own)."""

import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch

from .config import Config
from .errors import BadInput, StateError
from .model.adapters import Adapter, Bound, find
from .model.grid import Grid
from .model.live import Given, Live, LiveBlock
from .model.overrides import override
from .model.samplers import Sampler
from .model.view import Pass, State
from .planning.plan import Plan
from .planning.planned import settings_of
from .planning.recorder import CalibrationSession
from .run.call import Call
from .run.session import Session


class _Attached:
    """Makes a session know its model's grid; `branch` names the forward passes."""

    def __init__(self, *args, grid: Grid, **kwargs):
        super().__init__(*args, **kwargs)
        self.grid = grid
        self.passing: Call | None = None
        self.branches: tuple[Hashable, ...] = ("only",)

    @contextmanager
    def branch(self, *names: Hashable) -> Iterator["_Attached"]:
        """Name the chunks of the batch of the calls inside: `branch("cond")`, or `branch("uncond", "cond")` batched."""
        before, self.branches = self.branches, names
        try:
            yield self
        finally:
            self.branches = before


class AttachedSession(_Attached, Session):
    """See `attach`."""


class AttachedCalibration(_Attached, CalibrationSession):
    """See `calibrate`."""


@contextmanager
def attach(
    model: torch.nn.Module,
    config: Config,
    sigmas: Sequence[float],
    grid: Grid,
    mask: torch.Tensor | None = None,
    adapter: Adapter | None = None,
    plan: Plan | None = None,
    sampler: str | Sampler = "euler",
    cfg: float = 1.0,
) -> Iterator[AttachedSession]:
    """Run `model` through SyncCache inside the `with` block; afterwards it is exactly as before.

    sigmas: the schedule, N + 1 falling values. grid: video tokens of the calls to come. mask: see grid.token_weights.
    Each block of `model.blocks` must take the hidden state [B, L, C] first and return the new one; a model without such
    blocks goes with `adapter=outputs_only(model)` and level "auto" or "output". plan: overrides what it
    decides of the config; one that takes fewer steps wants a loop, and sigmas, of just these: `plan.own_sigmas`. sampler:
    what your loop does with a velocity, or its name, see samplers.py. cfg: the scale of your guidance, 1 where there is
    none.

        with attach(dit, Config(target_speedup=3.0), sigmas, Grid(20, 30, 52)) as session:
            for sigma, after in pairwise(sigmas):
                x = x + (after - sigma) * session.predict(sigma, lambda: guided_velocity(dit, x, sigma))
        print(session.report.summary())

    Name the chunks of each forward pass where there are several: `with session.branch("cond"):` around it.
    """
    kind = sampler if isinstance(sampler, Sampler) else Sampler(sampler)
    bound, plain = Bound(adapter or find(model), model), plan is not None and plan.plain
    settings = settings_of(config, bound, grid, sigmas, kind, plan, mask=mask, guidance=cfg)
    if plain and len(sigmas) - 1 != len(plan.schedule):  # the loop is not ours to change
        raise BadInput(
            f"the plan takes {len(plan.schedule)} steps and reuses nothing, got sigmas of {len(sigmas) - 1} steps: sample "
            "over plan.own_sigmas, and give these to attach"
        )
    session = AttachedSession(
        settings.config, bound.layout, sigmas, bound.cost, mask, bound.adapter.title, sampler=kind, grid=grid, guidance=cfg
    )
    settings.tell(session.report)
    if plain:
        session.report.shorten(plan.evaluations, len(plan.schedule))
    with _attached(session, bound):
        yield session


@contextmanager
def calibrate(
    model: torch.nn.Module,
    sigmas: Sequence[float],
    grid: Grid,
    mask: torch.Tensor | None = None,
    adapter: Adapter | None = None,
    cfg: float = 1.0,
) -> Iterator[AttachedCalibration]:
    """Like `attach`, but everything is computed, outputs are what they would have been, and `session.recording()`, called
    inside the block once the loop is through, is what `planning.planner.Planner` plans from.
    """
    bound = Bound(adapter or find(model), model)
    session = AttachedCalibration(
        bound.layout, sigmas, bound.cost, mask, bound.adapter.title, grid=grid, adapter=bound.adapter.name, cfg=cfg
    )
    with _attached(session, bound):
        yield session


@contextmanager
def _attached(session: AttachedSession | AttachedCalibration, bound: Bound) -> Iterator[None]:
    model, adapter = bound.model, bound.adapter
    if "forward" in vars(model) and isinstance(vars(model)["forward"], _Forward):
        raise StateError("a SyncCache session is already attached to this model")
    with ExitStack() as stack:
        stack.push(lambda failed, *_: session.close(finished=failed is None))
        override(stack, model, "forward", _Forward(session, model, adapter))
        for index, block in enumerate(bound.blocks):
            made = _block_forward(session, index, block.module, adapter.rest, adapter.live(block.module))
            override(stack, block.module, "forward", made)
        yield


class _Forward:
    """Stands for `model.forward`: one session call per forward pass."""

    def __init__(self, session: AttachedSession | AttachedCalibration, model: torch.nn.Module, adapter: Adapter):
        self._session, self._model, self._adapter, self._forward = session, model, adapter, model.forward

    def __call__(self, *args, **kwargs):
        if self._session.layout.unknown:
            self._session.count_pass()
            return self._forward(*args, **kwargs)
        one = Pass(self._model, self._session.grid, self._forward, args, kwargs)
        call = self._session.call(self._session.branches, one.grid, view=partial(self._adapter.view, one))
        self._session.passing = call
        try:
            with self._adapter.listen(one, call):
                return self._forward(*args, **kwargs)
        finally:
            call.stop()


def _block_forward(
    session: AttachedSession | AttachedCalibration, index: int, module: torch.nn.Module, rest: Mapping | None,
    live: Live | None,
) -> Callable[..., State]:
    forward = module.forward

    def run_block(hidden: State, *args, **kwargs) -> State:
        def beside(state: State) -> State:
            options = {**(kwargs.get("transformer_options") or {}), **rest}
            return forward(state, *args, **{**kwargs, "transformer_options": options})

        def some(state: torch.Tensor, given: Given) -> torch.Tensor:
            return forward(state, **given)

        def block(state: State) -> State:
            return forward(state, *args, **kwargs)

        given = {**dict(zip(names, args)), **kwargs}
        part = LiveBlock(live, module, given, some, hidden.ndim == 2) if live else None
        return session.passing.block(index, hidden, block, beside if rest else None, part)

    names = list(inspect.signature(forward).parameters)[1:]
    return run_block
