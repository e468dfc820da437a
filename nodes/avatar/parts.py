"""The 94 tensors that HunyuanVideo-Avatar has beyond HunyuanVideo, as small modules named as in the checkpoint.

Facts of the model: Chen et al., HunyuanVideo-Avatar, arXiv 2505.20156, and the names and shapes of its checkpoint.
"""

import torch
import torch.nn.functional as F
from comfy.ldm.flux.layers import timestep_embedding
from torch import nn

SINUSOIDS = 256
TOKENS_PER_FRAME = 4  # audio tokens that one video frame becomes


class NumberEmbedder(nn.Module):
    """Numbers such as frames per second or strengths of motion, by sinusoids and two linear layers."""

    def __init__(self, width: int, operations, **settings):
        super().__init__()
        self.mlp = nn.Sequential(
            operations.Linear(SINUSOIDS, width, **settings), nn.SiLU(), operations.Linear(width, width, **settings)
        )

    def forward(self, numbers: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """[B, n] -> [B, n * width], in `dtype`."""
        waves = timestep_embedding(numbers.flatten().float(), SINUSOIDS, time_factor=1.0)
        return self.mlp(waves.to(dtype)).reshape(len(numbers), -1)


class AudioProjection(nn.Module):
    """What whisper heard around each video frame -> audio tokens of the transformer's width."""

    def __init__(self, heard: int, hidden: int, width: int, operations, **settings):
        super().__init__()
        self.proj1 = operations.Linear(heard, hidden, **settings)
        self.proj2 = operations.Linear(hidden, hidden, **settings)
        self.proj3 = operations.Linear(hidden, TOKENS_PER_FRAME * width, **settings)
        self.norm = operations.LayerNorm(width, **settings)

    def forward(self, heard: torch.Tensor) -> torch.Tensor:
        """[..., frames, heard] -> [..., frames * TOKENS_PER_FRAME, width]."""
        hidden = F.relu(self.proj2(F.relu(self.proj1(heard))))
        tokens = self.proj3(hidden)
        return self.norm(tokens.reshape(*heard.shape[:-2], heard.shape[-2] * TOKENS_PER_FRAME, -1))


class AudioAdapter(nn.Module):
    """Cross-attention with one wide head: the video tokens of each latent frame ask the audio tokens of that frame."""

    def __init__(self, width: int, inner: int, operations, **settings):
        super().__init__()
        self.norm1 = operations.LayerNorm(width, **settings)
        self.norm2 = operations.LayerNorm(width, **settings)
        self.to_q = operations.Linear(width, inner, bias=False, **settings)
        self.to_kv = operations.Linear(width, 2 * inner, bias=False, **settings)
        self.to_out = operations.Linear(inner, width, bias=False, **settings)

    def forward(self, audio: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
        """audio [B, T, m, C], video [B, T, n, C] -> what the audio adds to the video, [B, T, n, C].

        Written out instead of asking the host's attention: few of its kernels take a head this wide, and m is 16.
        """
        query = self.to_q(self.norm2(video))
        key, value = self.to_kv(self.norm1(audio)).chunk(2, dim=-1)
        scale = query.shape[-1] ** -0.25
        weights = ((query * scale) @ (key * scale).transpose(-1, -2)).float().softmax(dim=-1)
        return self.to_out(weights.to(value.dtype) @ value)
