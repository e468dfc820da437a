"""What a run will reuse and hold, before it begins: of the model, the latent's shape and the settings."""

from math import prod

import comfy.model_management
import torch

from ..synccache_core import Config, Sampler
from ..synccache_core.decide.policy import level_for
from ..synccache_core.model.cost import cache_bytes
from ..synccache_core.reuse.depths import depth_bytes
from ..synccache_core.reuse.live import live_for
from ..synccache_core.reuse.residuals import wanted_groups
from .guider import diffusion_model, served

MANY = 1000  # evaluations, where those of the run are not known yet: as good as without rounding


def leveled(
    model, noise_shape, config: Config, sampler: Sampler, steps: int = MANY, text: int | None = None
) -> Config:
    """The config with its level, for a latent of this shape and a prompt of `text` tokens, None = not known."""
    dit, adapter = diffusion_model(model), served(model)
    grid, (config, _) = adapter.grid(torch.empty(*noise_shape, device="meta")), live_for(config, adapter, dit)
    return level_for(config, adapter.cost(dit, grid, grid.tokens, text), steps, sampler)


def residual_bytes(model, noise_shape, config: Config, sampler: Sampler) -> int:
    """Bytes of all that is stored, conditional and unconditional branch together, for a latent [B, C, T, H, W]."""
    dit = diffusion_model(model)
    adapter, config = served(model), leveled(model, noise_shape, config, sampler)
    tokens = adapter.grid(torch.empty(*noise_shape, device="meta")).tokens
    size = comfy.model_management.dtype_size(model.model.get_dtype_inference())
    layout = adapter.layout(dit)
    groups = wanted_groups(config, layout)
    one = 2 * noise_shape[0] * tokens * adapter.width(dit) * size
    held = sampler.corrected if config.correction else 0
    live, order = bool(config.live), config.forecast_order
    wanted = cache_bytes(one, 4 * prod(noise_shape), config.level, len(groups), order, held, live)
    wanted += depth_bytes(layout, groups, one // size) * live
    return min(wanted, config.memory_budget) if config.memory_budget is not None else wanted
