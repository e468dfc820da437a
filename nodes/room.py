"""What a run may reuse and will hold, before it begins: of the model, the latent's shape and the settings."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod

import comfy.model_management
import torch

from ..synccache_core import Bound, Config, Sampler
from ..synccache_core.config import OUTPUT, RESIDUAL
from ..synccache_core.model.cost import cache_bytes
from ..synccache_core.model.grid import Grid
from ..synccache_core.planning.planned import leveled
from ..synccache_core.reuse.depths import depth_bytes
from ..synccache_core.reuse.residuals import wanted_groups
from ..synccache_core.sentences import say
from .guider import served
from .hooks import BlockHook
from .windows import COMPUTED, Windows

MANY = 1000  # evaluations, where those of the run are not known yet: as good as without rounding
# What runs in the place of a block may have a state of its own for every row, as MiniMax-H3's ControlNet has; what runs in
# the place of its attention may not ask for the keys of other rows, as KJNodes' memory efficient ones do not.
OTHERS = say("another extension runs in the place of blocks or their attention")
WHOLE = say("live has no effect: {reason}", reason=OTHERS)
OUTPUTS = say("{reason}, and takes all rows or none: outputs are reused", reason=OTHERS)
PASSES = say("{reason}, and takes all rows or none: their passes were computed", reason=OTHERS)


def video_of(shapes: Sequence):
    """The shape of the video's latent. shapes: of the noise, and of the latents that it holds where these are several."""
    return (shapes[1:] or shapes)[0]


def grid_of(bound: Bound, shape: Sequence[int]) -> Grid:
    """The tokens of a video's latent of this shape."""
    return bound.adapter.grid(torch.empty(*shape, device="meta"))


def allowed(
    config: Config, bound: Bound, model_options: dict, shape: Sequence[int], patches: Iterable[str]
) -> tuple[Config, list[str]]:
    """The config, without what windows and other extensions on the model do not allow, and what a person should know.
    config: its level is known. shape: of the video's latent. patches: names of what is replaced in the model.
    """
    config, said = Windows.of(model_options, shape).fit(config)
    if config.off or not replaced(model_options, bound, patches):
        return config, said
    if config.live:
        config, said = replace(config, live=False), [*said, WHOLE]
    if bound.runs_beside and config.level == RESIDUAL and not config.probe_decides:
        config, said = replace(config, level=OUTPUT, groups=None), [*said, OUTPUTS]
    return config, said


def replaced(model_options: dict, bound: Bound, patches: Iterable[str] = ()) -> bool:
    """Whether another extension runs in the place of a block, or of its forward or attention. patches: names of the host's
    object patches.
    """
    found = model_options.get("transformer_options", {}).get("patches_replace", {}).get("dit", {})
    if any(not isinstance(found.get(block.place), (BlockHook, type(None))) for block in bound.blocks):
        return True
    owners = set()
    for module, live in ((block.module, bound.adapter.live(block.module)) for block in bound.blocks):
        owners |= {module, getattr(module, live.attention)} if live else {module}
    names = (name for name, module in bound.model.named_modules() if module in owners)
    return not {f"diffusion_model.{name}.forward" for name in names}.isdisjoint(patches)


def barred(config: Config, bound: Bound, model_options: dict, shape: Sequence[int], patches: Iterable[str]) -> str:
    """Why no pass can reuse residuals, "" where they can or need not. config: as `allowed` leaves it. patches: as there."""
    if config.level != RESIDUAL or config.off:
        return ""
    if Windows.of(model_options, shape).moving:
        return COMPUTED
    return PASSES if bound.runs_beside and replaced(model_options, bound, patches) else ""


def residual_bytes(
    model, noise_shape, config: Config, sampler: Sampler, noise: int = 0, mask: torch.Tensor | None = None
) -> int:
    """Bytes of all that is stored, conditional and unconditional branch together, for a video's latent [B, C, T, H, W].

    noise: numbers in all that is sampled together, 0 = in this latent. mask: human mask.
    """
    bound = served(model)
    grid = grid_of(bound, noise_shape)
    windows = Windows.of(model.model_options, noise_shape)
    config = leveled(config, bound, grid, MANY, sampler, mask=mask)[0]
    config, _ = allowed(config, bound, model.model_options, noise_shape, model.object_patches)
    size = comfy.model_management.dtype_size(model.model.get_dtype_inference())
    groups = wanted_groups(config, bound.layout)
    one = round(windows.share * 2 * noise_shape[0] * grid.tokens * bound.width * size)
    held = sampler.held_for_correction if config.correction else 0
    live, order, numbers = bool(config.live), config.forecast_order, noise or prod(noise_shape)
    wanted = cache_bytes(one, 4 * numbers, config.level, len(groups), order, held, live)
    if live or config.level == RESIDUAL and bound.runs_beside:
        wanted += depth_bytes(bound.layout, groups, one // size, size)
    if config.memory_budget is None:
        return wanted
    # What correction holds beside residuals is no part of the budget.
    apart = cache_bytes(0, 4 * numbers, RESIDUAL, 0, order, held) if config.level == RESIDUAL else 0
    return min(wanted, config.memory_budget + apart)
