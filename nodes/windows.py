"""Context windows: ComfyUI sends a long video through the model in pieces, which it may lay out anew at every step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..synccache_core import Config
from ..synccache_core.config import OUTPUT, RESIDUAL
from ..synccache_core.model.grid import Grid
from ..synccache_core.sentences import say

STAYING = ("standard_static", "batched")  # schedules of the host that give the same windows at every step
MOVING = ("standard_uniform", "looped_uniform")
OUTPUTS = say(
    "context windows move from step to step, so a residual fits no later one: outputs are reused; with context_schedule "
    "standard_static residuals can be"
)
COMPUTED = say("context windows move from step to step: their passes were computed; set context_schedule to standard_static")
WHOLE = say("live has no effect: {reason}", reason=say("context windows cut the video"))


@dataclass(frozen=True)
class Windows:
    """Of one run. cut: whether there are any. moving: whether a step's are others than the step's before. share: latent
    frames of all windows of a step over those of the video."""

    cut: bool = False
    moving: bool = False
    share: float = 1.0

    @classmethod
    def of(cls, model_options: dict, shape: Sequence[int]) -> "Windows":
        """shape: of the video's latent. Windows of an extension of its own are taken to stay."""
        handler = model_options.get("context_handler")
        if handler is None:
            return cls()
        total = shape[getattr(handler, "dim", 2)]
        if total <= getattr(handler, "context_length", 0):
            return cls()
        schedule = getattr(handler, "context_schedule", None)
        name = getattr(schedule, "name", "")
        windows = schedule.func(total, handler, model_options) if name in STAYING else ()
        return cls(True, name in MOVING, max(1.0, sum(map(len, windows)) / total))

    def fit(self, config: Config) -> tuple[Config, list[str]]:
        """The config, without what windows do not allow, and what a person should know. config: its level is known."""
        said = []
        if self.cut and config.live and not config.off:
            config, said = replace(config, live=False), [WHOLE]
        if self.moving and config.level == RESIDUAL and not config.off and not config.probe_decides:
            config, said = replace(config, level=OUTPUT, groups=None), [*said, OUTPUTS]
        return config, said


def windowed(grid: Grid, window) -> Grid:
    """The grid of a pass over a window, None = over all: which latent frames of the film its tokens are of."""
    if window is None or getattr(window, "dim", 2) != 2:
        return grid
    anchor = getattr(window, "causal_anchor_index", None)  # a frame before the window, which hosts from 0.33 on put there
    frames = [*([] if anchor is None else [anchor]), *window.index_list]
    frames += frames[-1:] * (grid.frames - len(frames))  # what else is in the pass, such as guides, is no frame of the film
    return replace(grid, window=tuple(frames[: grid.frames]), whole=window.total_frames)
