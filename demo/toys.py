"""Toy DiTs of both kinds, small enough to reason about, with the habits of real hosts: in-place blocks and injectors, and
other tokens behind the video's, in front of them, in front of them in the later blocks only, or in a stream of their own.
"""

from functools import partial

import torch
from torch import nn

from synccache_core.contract.case import Case
from synccache_core.model.adapters import Adapter, in_a_row
from synccache_core.model.adapters.inside import by_attribute
from synccache_core.model.cost import parameter_cost
from synccache_core.model.grid import Grid
from synccache_core.model.layout import Layout
from synccache_core.model.view import Pass, View


class ToyBlock(nn.Module):
    """h + g * tanh(mix(h)) * (1 + sigma); tokens mix by their mean. With `audio`, adds it between mixing and the end.

    front: tokens before the video's.
    """

    def __init__(self, width: int, inplace: bool, audio: bool, front: int = 0):
        super().__init__()
        self.mix = nn.Linear(width, width)
        self.inplace = inplace
        self.has_audio = audio
        self.front = front

    def audio(self, hidden, audio, tokens):
        out, video = hidden.clone(), slice(self.front, self.front + tokens)
        out[:, video] += torch.sin(hidden[:, video]) * audio[:, None]
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

    Of x, the first `front` tokens and those behind the video's play the reference: they get no audio and are not part of the
    output. text: (block, count), tokens that stand in front of all from that block on, as in HunyuanVideo's single blocks.
    """

    def __init__(
        self, kind: str = "after", inplace: bool = False, blocks: int = 7, points=(0, 2, 4, 6), width: int = 8,
        front: int = 0, text: tuple[int, int] = (0, 0),
    ):
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.points = kind, tuple(points) if kind == "after" else tuple(range(blocks))
        self.front, (self.text_from, self.text) = front, text
        before = [front + (self.text if block >= self.text_from else 0) for block in range(blocks)]
        self.blocks = nn.ModuleList(ToyBlock(width, inplace, kind == "inside", count) for count in before)
        self.injections = 0
        self.tokens = 6

    def inject(self, hidden, audio, front):
        self.injections += 1
        video = slice(front, front + self.tokens)
        hidden[:, video] = hidden[:, video] + torch.sin(hidden[:, video]) * audio[:, None]
        return hidden

    def forward(self, x, sigma, audio):
        hidden = x.clone()
        for index, block in enumerate(self.blocks):
            if self.text and index == self.text_from:
                hidden = torch.cat([hidden.new_ones(len(x), self.text, x.shape[2]), hidden], dim=1)
            hidden = block(hidden, sigma, audio, self.tokens)
            if self.kind == "after" and index in self.points:
                hidden = self.inject(hidden, audio, block.front)
        return hidden[:, block.front : block.front + self.tokens]


class ToyTwoStreams(nn.Module):
    """A block on (video, sound), each [B, L, C], that hear each other: as LTX-2's does, it writes into both. With run_vx
    False in transformer_options, the sound's part only.
    """

    def __init__(self, width: int):
        super().__init__()
        self.video, self.sound = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, state, sigma, transformer_options=None):
        video, sound = state
        heard, seen = sound.mean(dim=1, keepdim=True), video.mean(dim=1, keepdim=True)
        if (transformer_options or {}).get("run_vx", True):
            video.add_(0.3 * torch.tanh(self.video(video) + heard) * (1 + sigma))
        return video, sound.add_(0.3 * torch.tanh(self.sound(sound) + seen) * (1 + sigma))


class ToyAudioVideo(nn.Module):
    """x [B, 8, C], of which six tokens are the video's, and audio [B, C], which the other two begin with -> x."""

    def __init__(self, blocks: int = 7, width: int = 8):
        super().__init__()
        torch.manual_seed(0)
        self.transformer_blocks = nn.ModuleList(ToyTwoStreams(width) for _ in range(blocks))

    def forward(self, x, sigma, audio):
        state = x[:, :6].clone(), x[:, 6:] + audio[:, None]
        for block in self.transformer_blocks:
            state = block(state, sigma)
        return torch.cat(state, dim=1)


def toy_audio_video() -> Adapter:
    layout = Layout(7, (0, 2, 4), "beside")
    return Adapter(
        name="toy_beside",
        title="Toy DiT, audio beside",
        classes=("ToyAudioVideo",),
        layout=lambda model: layout,
        grid=lambda latent: Grid(1, 2, 3),
        cost=lambda model, grid, tokens, text=None: parameter_cost(layout, 100, 0, 1),
        width=lambda model: model.transformer_blocks[0].video.out_features,
        blocks=lambda model: in_a_row(model.transformer_blocks),
        view=lambda one, block: View(one.grid.tokens, part=0),
        rest={"run_vx": False},
    )


def toy_adapter(kind: str = "after") -> Adapter:
    def layout(model):
        return Layout(len(model.blocks), model.points, kind)

    def view(one: Pass, block: int) -> View:
        behind = one.arguments["x"].shape[1] - one.model.front - one.grid.tokens
        return View(one.grid.tokens, one.model.blocks[block].front, behind)

    return Adapter(
        name=f"toy_{kind}",
        title=f"Toy DiT, audio {kind}",
        classes=("ToyDiT",),
        layout=layout,
        grid=lambda latent: Grid(1, 2, 3),
        cost=lambda model, grid, tokens, text=None: parameter_cost(layout(model), 100, 2, 1),
        width=lambda model: model.blocks[0].mix.out_features,
        view=view,
        **({"listen": by_attribute(lambda model, index: (model.blocks[index], "audio"))} if kind == "inside" else {}),
    )


def toy_case(kind: str = "after", inplace: bool = False, front: int = 0, text: tuple[int, int] = (0, 0)) -> Case:
    """Six tokens of video, two behind them, `front` in front of them, and, see `ToyDiT`, text."""
    make = partial(ToyDiT, kind, inplace, front=front, text=text)
    return Case(make, toy_adapter(kind), Grid(1, 2, 3), (1, 8 + front, 8), (1, 8))


def toy_audio_video_case() -> Case:
    return Case(ToyAudioVideo, toy_audio_video(), Grid(1, 2, 3), (1, 8, 8), (1, 8), video=lambda output: output[:, :6])
