"""The host's VAE over a whole clip at once, for training.

The host feeds its causal VAE two frames at a time to save memory.  Feeding the first frame and then PIECE
at a time gives the same result with an eighth of the calls, which is what narrow layers on a CPU spend their time on.
"""

from __future__ import annotations

import torch

PIECE = 16  # frames at once: more only push each other out of the processor's cache


def causal(layer: torch.nn.Module, x: torch.Tensor, caches: list[object], index: list[int]) -> torch.Tensor:
    """Run a causal convolution after the frames it saw last, and remember the new ones."""
    place, last = index[0], x[:, :, -2:]
    x = layer(x, caches[place])
    caches[place] = last
    index[0] += 1
    return x


def encode(model: torch.nn.Module, video: torch.Tensor) -> torch.Tensor:
    """Video [B, 3, 1 + 4k, H, W] in -1..1 -> latents [B, 16, 1 + k, H/8, W/8]."""
    from comfy.ldm.wan.vae import count_cache_layers

    if video.shape[2] == 1:
        return model.encode(video)
    caches = [None] * count_cache_layers(model.encoder)
    cuts = list(range(1, video.shape[2], PIECE))
    parts = [model.encoder(part, feat_cache=caches, feat_idx=[0], final=True) for part in video.tensor_split(cuts, dim=2)]
    return model.conv1(torch.cat(parts, dim=2)).chunk(2, dim=1)[0]


def decode_part(decoder: torch.nn.Module, x: torch.Tensor, caches: list[object]) -> torch.Tensor:
    """Latents [B, 16, T, h, w] -> frames, continuing from what the caches hold."""
    index = [0]
    x = causal(decoder.conv1, x, caches, index)
    for layer in [*decoder.middle, *decoder.upsamples]:
        x = layer(x, caches, index)
    norm, activation, convolution = decoder.head
    return causal(convolution, activation(norm(x)), caches, index)


def decode(model: torch.nn.Module, latent: torch.Tensor) -> torch.Tensor:
    """Latents [B, 16, 1 + k, h, w] -> video [B, 3, 1 + 4k, 8h, 8w]."""
    from comfy.ldm.wan.vae import count_cache_layers

    if latent.shape[2] == 1:
        return model.decode(latent)
    caches = [None] * count_cache_layers(model.decoder)
    return torch.cat([decode_part(model.decoder, part, caches)
                      for part in model.conv2(latent).tensor_split([1], dim=2)], dim=2)
