"""Held-out clips of either world, ready to be sampled many times without ComfyUI."""

from functools import lru_cache, partial

import torch
from torch.nn.functional import conv2d

from .scene import Settings
from .standalone import Standalone
from .worlds import WORLDS


@lru_cache(maxsize=4)
def stage(number: int, settings: Settings, world: str = "tiny") -> Standalone:
    """A held-out scene, ready to be sampled in this process on one thread."""
    torch.set_num_threads(1)
    made = Standalone(WORLDS[world].scene(number), settings, WORLDS[world].dit, WORLDS[world].vae)
    quicken(made.talker.vae)
    made.warm_up()
    return made


def quicken(vae: torch.nn.Module) -> None:
    """Decoding many times as quick, the same but for rounding: the Tiny Talker's VAE looks at the newest slice only, and a
    norm over channels, and a convolution of few, are slow where they are far apart in memory.
    """
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanRMS_norm

    for module in vae.modules():
        spatial = getattr(module, "_padding", None)  # diffusers' causal convolutions: (w, w, h, h, 2 t, 0)
        if spatial and module.kernel_size[0] == 3 and module.stride[0] == 1 and not module.weight[:, :, :2].any():
            weight = module.weight[:, :, -1].contiguous(memory_format=torch.channels_last)
            module.forward = partial(_newest_slice, weight, module.bias, (spatial[2], spatial[0]))
        if isinstance(module, WanRMS_norm) and module.channel_first:
            module.forward = partial(_root_mean_square, module)


def _newest_slice(
    weight: torch.Tensor, bias: torch.Tensor, padding: tuple[int, int], x: torch.Tensor, cache_x=None
) -> torch.Tensor:
    frames = x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    made = conv2d(frames, weight, bias, padding=padding)
    return made.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)


def _root_mean_square(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    share = module.scale * x.square().sum(1, keepdim=True).clamp_min(1e-24).rsqrt()
    return x * share * module.gamma + module.bias
