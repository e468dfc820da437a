"""Toy DiTs of both kinds, small enough to reason about, with the habits of real hosts: in-place blocks and injectors."""

import torch
from torch import nn

from .adapters import Adapter
from .cost import parameter_cost
from .grid import Grid
from .layout import Layout


class ToyBlock(nn.Module):
    """h + g * tanh(mix(h)) * (1 + sigma); tokens mix by their mean. With `audio`, adds it between mixing and the end."""

    def __init__(self, width: int, inplace: bool, audio: bool):
        super().__init__()
        self.mix = nn.Linear(width, width)
        self.inplace = inplace
        self.has_audio = audio

    def audio(self, hidden, audio, tokens):
        out = hidden.clone()
        out[:, :tokens] += torch.sin(hidden[:, :tokens]) * audio[:, None]
        return out

    def forward(self, hidden, sigma, audio, tokens):
        update = 0.3 * torch.tanh(self.mix(hidden) + hidden.mean(dim=1, keepdim=True)) * (1 + sigma)
        hidden = hidden.add_(update) if self.inplace else hidden + update
        if self.has_audio:
            hidden = self.audio(hidden, audio, tokens)
            hidden = hidden + 0.1 * torch.tanh(hidden)
        return hidden


class ToyDiT(nn.Module):
    """[B, L, C] -> [B, tokens, C]. kind "after": an in-place injector after the blocks in `points`; "inside": in the block.

    The last `extra` tokens play the reference: they get no audio and are not part of the output.
    """

    def __init__(self, kind: str = "after", inplace: bool = False, blocks: int = 7, points=(0, 2, 4, 6), width: int = 8):
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.points = kind, tuple(points) if kind == "after" else tuple(range(blocks))
        self.blocks = nn.ModuleList(ToyBlock(width, inplace, kind == "inside") for _ in range(blocks))
        self.injections = 0
        self.tokens = 6

    def inject(self, hidden, audio):
        self.injections += 1
        hidden[:, : self.tokens] = hidden[:, : self.tokens] + torch.sin(hidden[:, : self.tokens]) * audio[:, None]
        return hidden

    def forward(self, x, sigma, audio):
        hidden = x.clone()
        for index, block in enumerate(self.blocks):
            hidden = block(hidden, sigma, audio, self.tokens)
            if self.kind == "after" and index in self.points:
                hidden = self.inject(hidden, audio)
        return hidden[:, : self.tokens]


def toy_adapter(kind: str = "after") -> Adapter:
    def layout(model):
        return Layout(len(model.blocks), model.points, kind)

    return Adapter(
        name=f"toy_{kind}",
        title=f"Toy DiT, audio {kind}",
        classes=("ToyDiT",),
        layout=layout,
        grid=lambda latent: Grid(1, 2, 3),
        cost=lambda model, grid, tokens, text=None: parameter_cost(layout(model), 100, 2, 1),
        width=lambda model: model.blocks[0].mix.out_features,
        audio_op=(lambda model, index: (model.blocks[index], "audio")) if kind == "inside" else None,
    )
