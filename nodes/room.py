"""What a run will reuse and hold, before it begins: of the model, the latent's shape and the settings."""

from collections.abc import Sequence
from math import prod

import comfy.model_management
import torch

from ..synccache_core import Config, Sampler
from ..synccache_core.config import RESIDUAL
from ..synccache_core.decide.policy import level_for
from ..synccache_core.model.cost import cache_bytes
from ..synccache_core.reuse.depths import depth_bytes
from ..synccache_core.reuse.live import live_for
from ..synccache_core.reuse.residuals import wanted_groups
from .guider import diffusion_model, served

MANY = 1000  # evaluations, where those of the run are not known yet: as good as without rounding


def video_of(shapes: Sequence):
    """The shape of the video's latent. shapes: of the noise, and of the latents that it holds where these are several."""
    return (shapes[1:] or shapes)[0]


def leveled(
    model, noise_shape, config: Config, sampler: Sampler, steps: int = MANY, text: int | None = None
) -> Config:
    """The config with its level, for a video's latent of this shape and a prompt of `text` tokens, None = not known."""
    dit, adapter = diffusion_model(model), served(model)
    grid, (config, _) = adapter.grid(torch.empty(*noise_shape, device="meta")), live_for(config, adapter, dit)
    return level_for(config, adapter.cost(dit, grid, grid.tokens, text), steps, sampler)


def residual_bytes(model, noise_shape, config: Config, sampler: Sampler, noise: int = 0) -> int:
    """Bytes of all that is stored, conditional and unconditional branch together, for a video's latent [B, C, T, H, W].

    noise: numbers in all that is sampled together, 0 = in this latent.
    """
    dit = diffusion_model(model)
    adapter, config = served(model), leveled(model, noise_shape, config, sampler)
    tokens = adapter.grid(torch.empty(*noise_shape, device="meta")).tokens
    size = comfy.model_management.dtype_size(model.model.get_dtype_inference())
    layout = adapter.layout(dit)
    groups = wanted_groups(config, layout)
    one = 2 * noise_shape[0] * tokens * adapter.width(dit) * size
    held = sampler.held_for_correction if config.correction else 0
    live, order, numbers = bool(config.live), config.forecast_order, noise or prod(noise_shape)
    wanted = cache_bytes(one, 4 * numbers, config.level, len(groups), order, held, live)
    if live or config.level == RESIDUAL and adapter.through(dit):
        wanted += depth_bytes(layout, groups, one // size, size)
    return min(wanted, config.memory_budget) if config.memory_budget is not None else wanted
