"""Keep the VAE's memory short: only its temporal down-sampling looks back in time.

Every causal 3x3x3 convolution is trained through its newest time slice alone, as a 2D convolution, and the older
slices stay zero; the host's class runs the result unchanged.  The latent of four frames then depends on those frames
and the few before them, whatever the length of the clip, and training costs a third.
"""

from __future__ import annotations

from functools import partial

import torch

OLD_SLICES = 2


def newest_slice(module: torch.nn.Module, x: torch.Tensor, cache_x: object = None, cache_list: list | None = None,
                 cache_idx: int | None = None) -> torch.Tensor:
    """A causal convolution [B, C, F, H, W] whose older slices are zero, frame by frame; caches are left alone."""
    frames = x.transpose(1, 2).flatten(0, 1)
    made = torch.nn.functional.conv2d(frames, module.weight[:, :, -1], module.bias, padding=module.padding[1:])
    return made.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)


def flatten_time(model: torch.nn.Module) -> torch.nn.Module:
    """Zero the older slices of a WanVAE in place and make it run frame by frame (same results, faster)."""
    for name, module in model.named_modules():
        down_sampling = name.startswith("encoder") and name.endswith("time_conv")
        if isinstance(module, torch.nn.Conv3d) and module.kernel_size[0] == 1 + OLD_SLICES and not down_sampling:
            module.weight.data[:, :, :OLD_SLICES] = 0
            module.forward = partial(newest_slice, module)
    return model
