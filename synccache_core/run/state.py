"""What a run holds from its first evaluation to its last, for all that work on one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from ..config import Config
from ..decide.clock import Clock
from ..decide.history import ProbeHistory
from ..model.cost import CostModel
from ..model.grid import Grid
from ..model.layout import Layout
from ..report.report import RunReport
from ..reuse.live import LiveRows
from ..reuse.outputs import Outputs
from ..reuse.residuals import Residuals
from .guard import Guard
from .steps import Steps

if TYPE_CHECKING:
    from .call import Call
    from .evaluation import Evaluation

CostOf = Callable[[Grid, int], CostModel]


class Listener(Protocol):
    """Is told of a run that is computed throughout, instead of anything being stored or reused.

    opened, closed: a segment begins and ends, with the video [B, tokens, C] at its input and output, which share the host's
    memory. evaluated: an evaluation gave `out` for the sampler's x, or a velocity where x is None.
    """

    def opened(self, call: "Call", segment: int, video: torch.Tensor) -> None: ...

    def closed(self, call: "Call", segment: int, video: torch.Tensor) -> None: ...

    def evaluated(self, evaluation: "Evaluation", out: torch.Tensor, x: torch.Tensor | None) -> None: ...


@dataclass
class RunState:
    """idle: nothing is looked at. cost_of: (grid, tokens) -> CostModel of the model at that size. streak, stale: evaluations
    since the last computed one, and since the last that was LIVE at least. odd_branch: the evaluation before this one had a
    branch of which nothing was stored.
    """

    config: Config
    layout: Layout
    clock: Clock
    report: RunReport
    residuals: Residuals
    outputs: Outputs | None
    live: LiveRows | None
    history: ProbeHistory
    steps: Steps
    guard: Guard
    cost_of: CostOf
    idle: bool = False
    listener: Listener | None = None
    streak: int = 0
    stale: int = 0
    odd_branch: bool = False

    def price(self, grid: Grid, tokens: int, steps: int) -> None:
        """First sight of a size, of a run of `steps` evaluations: what a step costs."""
        rows = self.live.share(grid, tokens) if self.live and self.live.any else 0.0
        self.report.tokens = tokens
        self.steps.price(self.cost_of(grid, tokens), rows, steps)
